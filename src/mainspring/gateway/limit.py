"""How often: which limit counts a call, and what its caller is told of it."""

import math
from collections.abc import Awaitable, Coroutine, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec

from mainspring.gateway.identify import CachedIdentity
from mainspring.kernel.errors import RateLimited
from mainspring.kernel.masking import Secret
from mainspring.kernel.policy import Rate, RateClass
from mainspring.ports.database import StartError
from mainspring.ports.limits import LimitVerdict, RateLimits

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
    url: Annotated[str, Secret] = "memory:"
    fail: Literal["open", "closed"] = "open"

    def __post_init__(self) -> None:
        for rate in (self.default, self.anonymous, self.login, *self.own.values()):
            Rate.parse(rate)


class Refused(RateLimited):
    """A limit refused the call; ``limit_lines`` tell the caller where it is."""

    def __init__(self, policy: str, retry_after_s: float, limit_lines: bytes) -> None:
        super().__init__(
            f"more calls than the limit {policy!r} allows: wait, and call again",
            retry_after_s=retry_after_s,
            extra={"policy": policy},
        )
        self.policy = policy
        self.limit_lines = limit_lines


class Policy:
    """One limit, and the header lines that tell of it (draft-ietf-httpapi-ratelimit-headers)."""

    __slots__ = ("_limit", "_lines", "_told", "_verdict", "name")

    def __init__(self, name: str, rate: str, limits: RateLimits) -> None:
        self.name = name
        parsed = Rate.parse(rate)
        self._limit = limits.limit(name, parsed)
        self._lines = (b'ratelimit-policy: "%b";q=%d;w=%d\r\nratelimit: "%b";r=%%d;t=%%d\r\n') % (
            name.encode(),
            parsed.count,
            math.ceil(parsed.window_s),
            name.encode(),
        )
        self._verdict: LimitVerdict | None = None
        self._told = b""

    def take(self, key: str) -> bytes | Coroutine[Any, Any, bytes]:
        """Count one call, and return the header lines of its answer. Raises Refused.

        They are here at once, unless the port has to ask somebody; who is refused counts nothing.
        """
        found = self._limit.take(key)
        if isinstance(found, LimitVerdict):
            return self._judge(found)
        return self._ask(found)

    async def _ask(self, asking: Awaitable[LimitVerdict]) -> bytes:
        return self._judge(await asking)

    def _judge(self, verdict: LimitVerdict) -> bytes:
        if self._verdict is not verdict:
            told = self._lines % (verdict.left, math.ceil(verdict.wait_s))
            if not verdict.counted:
                raise Refused(self.name, verdict.wait_s, told)
            self._verdict, self._told = verdict, told
        return self._told

    def give_back(self, key: str) -> None:
        """Uncount one call that turned out to belong to another policy."""
        self._limit.give_back(key)


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
    ) -> bytes | Coroutine[Any, Any, bytes]:
        """Count a call against its policy, as ``Policy.take`` does: ``network``, or who calls."""
        if rate is RateClass.UNLIMITED:
            return b""
        if rate is RateClass.LOGIN:
            return self.login.take(network)
        if known.caller.id is None:
            policy, who = self.anonymous, network
        else:
            policy, who = self.default, known.limit_key
        if rate is not RateClass.DEFAULT:
            policy = self._own[rate.name]
        return policy.take(who)


async def awaited(told: bytes | Awaitable[bytes]) -> bytes:
    """Return what a limit tells, which may be here already."""
    return told if isinstance(told, bytes) else await told
