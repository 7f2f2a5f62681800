"""How often: which limit counts a call, and what its caller is told of it."""

import math
from collections.abc import Coroutine, Mapping
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from mainspring.gateway.identify import CachedIdentity
from mainspring.kernel.errors import RateLimited
from mainspring.kernel.policy import Rate, RateClass
from mainspring.ports.database import StartError
from mainspring.ports.limits import LimitVerdict, RateLimits

Headers = tuple[tuple[bytes, bytes], ...]
NO_CLASSES: Mapping[str, RateClass] = MappingProxyType({})


class LimitSettings(msgspec.Struct, frozen=True):
    """``[limits]``: how often a caller, an address, and a log-in may call, as ``N/s|m|h``.

    ``own`` are the rate classes that services declare.
    """

    default: str = "20000/s"
    anonymous: str = "200/s"
    login: str = "30/m"
    own: dict[str, str] = msgspec.field(default_factory=dict)
    keys_max: Annotated[int, msgspec.Meta(ge=1_024, le=1 << 24)] = 65_536

    def __post_init__(self) -> None:
        for rate in (self.default, self.anonymous, self.login, *self.own.values()):
            Rate.parse(rate)


class Refused(RateLimited):
    """A limit refused the call; ``rate_limit_headers`` tell the caller where it is."""

    def __init__(self, policy: str, retry_after_s: float, rate_limit_headers: Headers) -> None:
        super().__init__(
            f"more calls than the limit {policy!r} allows: wait, and call again",
            retry_after_s=retry_after_s,
            extra={"policy": policy},
        )
        self.policy = policy
        self.rate_limit_headers = rate_limit_headers


class Policy:
    """One limit, and the headers that tell of it (draft-ietf-httpapi-ratelimit-headers)."""

    __slots__ = ("_limit", "_policy", "_telling", "_told", "name")

    def __init__(self, name: str, rate: str, limits: RateLimits) -> None:
        self.name = name
        parsed = Rate.parse(rate)
        self._limit = limits.limit(name, parsed)
        self._policy = (
            b"ratelimit-policy",
            b'"%b";q=%d;w=%d' % (name.encode(), parsed.count, math.ceil(parsed.window_s)),
        )
        self._told: LimitVerdict | None = None
        self._telling: Headers = ()

    async def take(self, key: str) -> Headers:
        """Count one call. Raises Refused, which counts nothing.

        Suspends only where the port has to ask somebody.
        """
        found = self._limit.take(key)
        verdict = found if isinstance(found, LimitVerdict) else await found
        if not verdict.counted:
            raise Refused(self.name, verdict.wait_s, self._headers(verdict))
        if self._told is not verdict:
            self._told, self._telling = verdict, self._headers(verdict)
        return self._telling

    def give_back(self, key: str) -> None:
        """Uncount one call that turned out to belong to another policy."""
        self._limit.give_back(key)

    def _headers(self, verdict: LimitVerdict) -> Headers:
        told = self.name.encode(), verdict.left, math.ceil(verdict.wait_s)
        return (self._policy, (b"ratelimit", b'"%b";r=%d;t=%d' % told))


class Limits:
    """The policies: a known caller by who it is, anyone else and each log-in by address.

    ``classes`` are those that services declare, each a policy of its own. Raises StartError for a
    setting of another.
    """

    __slots__ = ("_own", "anonymous", "default", "login")

    def __init__(
        self,
        settings: LimitSettings,
        limits: RateLimits,
        classes: Mapping[str, RateClass] = NO_CLASSES,
    ) -> None:
        if unknown := sorted(settings.own.keys() - classes.keys()):
            raise StartError(
                f"[limits] own: no service declares the rate class {unknown[0]!r}; there are "
                f"{', '.join(sorted(classes)) or 'none'}"
            )
        self._own = {
            name: Policy(name, settings.own.get(name, rate_class.rate), limits)
            for name, rate_class in classes.items()
        }
        self.default = Policy("default", settings.default, limits)
        self.anonymous = Policy("anonymous", settings.anonymous, limits)
        self.login = Policy("login", settings.login, limits)

    def take(
        self, rate: RateClass, known: CachedIdentity, network: str
    ) -> Coroutine[Any, Any, Headers]:
        """Count a call against its policy, as ``Policy.take`` does; ``network`` is its address's.

        No coroutine of its own: it would be one more for every call.
        """
        if rate is RateClass.UNLIMITED:
            return _uncounted()
        if rate is RateClass.LOGIN:
            return self.login.take(network)
        if known.caller.id is None:
            policy, who = self.anonymous, network
        else:
            policy, who = self.default, known.limit_key
        if rate is not RateClass.DEFAULT:
            policy = self._own[rate.name]
        return policy.take(who)


async def _uncounted() -> Headers:
    return ()
