"""How often: GCRA (the leaky bucket as a meter) per caller and per address, in process.

Exact within one process; N processes together allow up to N times the rate.
"""

import math

from mainspring.gateway.identify import CachedIdentity
from mainspring.gateway.settings import LimitSettings
from mainspring.kernel.errors import RateLimited
from mainspring.kernel.policy import Rate, RateClass

SHARED_SLOTS = 1_024  # what keys share once a table is full of busy ones

Headers = tuple[tuple[bytes, bytes], ...]


class Refused(RateLimited):
    """A limit refused the call; ``standing`` holds the headers that tell the caller where it is."""

    def __init__(self, policy: str, retry_after_s: float, rate_limit_headers: Headers) -> None:
        super().__init__(
            f"the limit {policy!r} refused the call",
            retry_after_s=retry_after_s,
            extra={"policy": policy},
        )
        self.policy = policy
        self.rate_limit_headers = rate_limit_headers


class GcraLimiter:
    """One policy's table: for each key the moment at which its bucket will be empty again.

    The table is two generations, ``keys_max`` together and half as many again at worst. An entry
    reaches at most one window ahead, so a generation that is no longer written to is dropped whole
    after a window: nobody's state goes before it has lapsed. While both are full of busy keys, new
    ones share ``SHARED_SLOTS`` buckets, so flooding the table with addresses resets nobody.
    """

    __slots__ = (
        "_interval", "_keys_max", "_old", "_rotated_s", "_shared", "_telling", "_told",
        "_window", "_young", "name", "policy",
    )  # fmt: skip

    def __init__(self, name: str, rate: Rate, *, keys_max: int) -> None:
        self.name = name
        self._window = rate.window_s
        self._interval = rate.window_s / rate.count
        self._keys_max = keys_max // 2
        self._young: dict[str, float] = {}
        self._old: dict[str, float] = {}
        self._rotated_s = -math.inf
        self._shared: dict[int, float] = {}
        self._told: tuple[int, int] | None = None
        self._telling: Headers = ()
        self.policy = (
            b"ratelimit-policy",
            b'"%b";q=%d;w=%d' % (name.encode(), rate.count, math.ceil(rate.window_s)),
        )

    def take(self, key: str, now_s: float) -> Headers:
        """Count one call. Returns the headers that say so; raises Refused and counts nothing."""
        tat = self._young.get(key)
        if tat is None:
            tat = self._old.pop(key, None)
            if tat is None:
                if len(self._young) >= self._keys_max and not self._rotate(now_s):
                    return self._take_shared(key, now_s)
                if self._shared:
                    tat = self._shared.get(hash(key) % SHARED_SLOTS)
            if tat is not None:
                self._young[key] = tat
        start_s = tat if tat is not None and tat > now_s else now_s
        ahead_s = start_s + self._interval - now_s
        if ahead_s > self._window * 1.000_000_001:
            raise self._refusal(ahead_s)
        self._young[key] = now_s + ahead_s
        return self._standing(ahead_s)

    def give_back(self, key: str) -> None:
        """Uncount one call that turned out to belong to another policy."""
        if key in self._young:
            self._young[key] -= self._interval

    def _rotate(self, now_s: float) -> bool:
        """Drop the old generation when every entry in it has lapsed. Returns whether it did."""
        if now_s - self._rotated_s < self._window:
            return False
        self._old, self._young = self._young, {}
        self._rotated_s = now_s
        self._shared = {slot: tat for slot, tat in self._shared.items() if tat > now_s}
        return True

    def _take_shared(self, key: str, now_s: float) -> Headers:
        slot = hash(key) % SHARED_SLOTS
        start_s = max(self._shared.get(slot, 0.0), now_s)
        ahead_s = start_s + self._interval - now_s
        if ahead_s > self._window:
            raise self._refusal(ahead_s)
        self._shared[slot] = start_s + self._interval
        return self._standing(ahead_s)

    def _standing(self, ahead_s: float) -> Headers:
        """Write ``RateLimit-Policy`` and ``RateLimit`` (draft-ietf-httpapi-ratelimit-headers)."""
        left = int((self._window - ahead_s) / self._interval + 1e-6)
        reset_s = math.ceil(ahead_s)
        if self._told != (left, reset_s):
            # Calls that come one by one are all told the same.
            self._told = (left, reset_s)
            told = b'"%b";r=%d;t=%d' % (self.name.encode(), left, reset_s)
            self._telling = (self.policy, (b"ratelimit", told))
        return self._telling

    def _refusal(self, ahead_s: float) -> Refused:
        wait_s = ahead_s - self._window
        rate_limit_headers = (
            self.policy,
            (b"ratelimit", b'"%b";r=0;t=%d' % (self.name.encode(), math.ceil(wait_s))),
        )
        return Refused(self.name, wait_s, rate_limit_headers)

    def __len__(self) -> int:
        return len(self._young) + len(self._old) + len(self._shared)


class Limits:
    """The policies: a known caller by who it is, anyone else and each log-in by address."""

    __slots__ = ("anonymous", "default", "login")

    def __init__(self, settings: LimitSettings) -> None:
        keys = settings.keys_max
        self.default = GcraLimiter("default", Rate.parse(settings.default), keys_max=keys)
        self.anonymous = GcraLimiter("anonymous", Rate.parse(settings.anonymous), keys_max=keys)
        self.login = GcraLimiter("login", Rate.parse(settings.login), keys_max=keys)

    def take(self, rate: RateClass, known: CachedIdentity, network: str, now_s: float) -> Headers:
        """Count a call against its policy; ``network`` is where it comes from. Raises Refused."""
        if rate is RateClass.UNLIMITED:
            return ()
        if rate is RateClass.LOGIN:
            return self.login.take(network, now_s)
        if known.caller.id is None:
            return self.anonymous.take(network, now_s)
        return self.default.take(known.limit_key, now_s)
