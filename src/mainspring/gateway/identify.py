"""Who is calling: credentials looked up once, remembered, and dropped when they are revoked."""

import asyncio
import re
from hashlib import blake2b
from ipaddress import ip_address, ip_network

from mainspring.kernel.authority import Authenticator, Identity
from mainspring.kernel.call import ANONYMOUS, Caller
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import Unauthenticated, Unavailable
from mainspring.kernel.lru_cache import LruCache
from mainspring.kernel.pool import Pool

IDENTITIES_BYTES_MAX = 64 << 20  # of what is remembered, by ``CachedIdentity.size_bytes``
CREDENTIALS_SHARE = 256  # remembered of one caller
REMEMBERED_MS = 60_000  # until a credential is looked up again, whatever was heard of it
LOOKUPS_MAX = 1_024  # credentials being looked up at once
LOOKUPS_SHARE = 256  # of them by one address
CREDENTIAL_BYTES_MAX = 8_192
LOOKUP_ATTEMPTS_MAX = 4  # of one credential that keeps being revoked and renewed meanwhile

_B64TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1
_BASE64URL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_BAD_TOKEN = {"WWW-Authenticate": 'Bearer realm="mainspring", error="invalid_token"'}


class CachedIdentity:
    """A remembered identity. Once it is ``dropped`` it must be looked up again.

    ``size_bytes`` is about what remembering it takes, ``expires_ms`` when the credential ends.
    """

    __slots__ = (
        "caller", "dropped", "expires_ms", "limit_key", "places", "size_bytes", "tags", "until_ms",
    )  # fmt: skip

    def __init__(
        self,
        caller: Caller,
        until_ms: int,
        tags: tuple[str, ...],
        expires_ms: int | None = None,
        places: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        self.caller = caller
        self.expires_ms = expires_ms
        self.until_ms = until_ms
        self.tags = tags
        self.dropped = False
        self.limit_key = f"{caller.tenant}/{caller.impersonator or caller.actor}"
        # Of each, one network has to hold the address that a call comes from.
        self.places = tuple(tuple(map(ip_network, place)) for place in places)
        self.size_bytes = 1_024 + sum(len(t) + 100 for t in (*caller.scopes, *tags))
        self.size_bytes += sum(300 * len(place) for place in places)

    def reaches(self, address: str) -> bool:
        """Tell whether it is good from an address."""
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return not self.places
        here = getattr(parsed, "ipv4_mapped", None) or parsed
        return all(any(here in network for network in place) for place in self.places)


class _Lookup:
    """A lookup in flight, and the tags that were forgotten while it ran."""

    __slots__ = ("forgotten", "task")

    def __init__(self) -> None:
        self.forgotten: set[str] = set()
        self.task: asyncio.Task[CachedIdentity] | None = None


class Identities:
    """A bounded memory of credentials, by a hash of what was verified, however it was spelled.

    It is bounded in bytes, and one caller has a share of it: who brings more credentials than that
    pushes out its own. ``silence_max_s`` is for revocations that other processes announce: nothing
    is recalled from memory unless all that was committed up to so long ago was ``heard``.
    """

    __slots__ = (
        "_asking",
        "_authenticator",
        "_by_caller",
        "_by_tag",
        "_clock",
        "_heard_s",
        "_known",
        "_lookups",
        "_silence_max_s",
    )  # fmt: skip

    def __init__(
        self,
        authenticator: Authenticator,
        clock: Clock,
        *,
        bytes_max: int = IDENTITIES_BYTES_MAX,
        silence_max_s: float | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._asking = Pool("log-ins being checked", LOOKUPS_MAX, LOOKUPS_SHARE)
        self._silence_max_s = silence_max_s
        self._heard_s = clock.monotonic_s()
        self._known: LruCache[bytes, CachedIdentity] = LruCache(
            bytes_max, size_of=lambda known: known.size_bytes, dropped=self._drop
        )
        self._by_tag: dict[str, set[bytes]] = {}
        self._by_caller: dict[str, dict[bytes, None]] = {}  # the next to go first
        self._lookups: dict[bytes, _Lookup] = {}

    def recall(self, header: bytes, now_ms: int) -> CachedIdentity | None:
        """Return what is remembered and still holds."""
        key = _key(_token(header))
        known = self._known.get(key)
        return known if known is not None and self.holds(known, now_ms) else None

    def holds(self, known: CachedIdentity, now_ms: int) -> bool:
        """Tell whether what was remembered still holds, as far as this process can know."""
        # What holds for longer than anything is remembered is of a clock that was set back since.
        if known.dropped or not 0 < known.until_ms - now_ms <= REMEMBERED_MS:
            return False
        if self._silence_max_s is None:
            return True
        return self._clock.monotonic_s() - self._heard_s <= self._silence_max_s

    async def look_up(self, header: bytes, holder: str) -> CachedIdentity:
        """Ask the authenticator, together with everyone who asks for the same credential.

        Refusals are not remembered. ``holder`` is whose share of those who ask this takes. Raises
        Unauthenticated, and Unavailable or RateLimited when too many are asking.
        """
        credential = read_credential(header)
        key = _key(credential.encode())
        lookup = self._lookups.get(key)
        if lookup is None:
            self._asking.take(holder)
            lookup = self._lookups[key] = _Lookup()
            lookup.task = asyncio.create_task(self._ask(key, credential, lookup))
            lookup.task.add_done_callback(lambda _: self._asking.give_back(holder))
        assert lookup.task is not None  # set above, before anyone else can run
        # Shielded: one asker that gives up must not take the answer from the others.
        return await asyncio.shield(lookup.task)

    async def _ask(self, key: bytes, credential: str, lookup: _Lookup) -> CachedIdentity:
        try:
            for _ in range(LOOKUP_ATTEMPTS_MAX):
                lookup.forgotten.clear()
                now_ms = self._clock.now_ms()
                identity = await self._authenticator.authenticate(credential, now_ms)
                if not lookup.forgotten.isdisjoint(identity.tags) or "*" in lookup.forgotten:
                    continue  # revoked while we asked: the answer may be from before
                return self._remember(key, identity, now_ms)
            raise Unavailable(
                "this key or token is being changed just now: try again", retry_after_s=1
            )
        except Unauthenticated as failure:
            failure.headers = {**_BAD_TOKEN, **failure.headers}
            raise
        finally:
            del self._lookups[key]

    def _remember(self, key: bytes, identity: Identity, now_ms: int) -> CachedIdentity:
        until_ms = now_ms + REMEMBERED_MS
        if identity.expires_ms is not None:
            until_ms = min(until_ms, identity.expires_ms)
            if until_ms <= now_ms:
                raise Unauthenticated("this key or token has expired")
        self._known.pop(key)
        known = CachedIdentity(
            identity.caller, until_ms, identity.tags, identity.expires_ms, identity.places
        )
        own = self._by_caller.get(known.limit_key)
        if own is not None and len(own) >= CREDENTIALS_SHARE:
            self._known.pop(next(iter(own)))
        if not self._known.put(key, known):
            known.dropped = True
            return known
        self._by_caller.setdefault(known.limit_key, {})[key] = None
        for tag in identity.tags:
            self._by_tag.setdefault(tag, set()).add(key)
        return known

    def forget(self, tag: str) -> None:
        """Drop every credential with this tag, before the next call is identified."""
        for key in self._by_tag.get(tag, frozenset()).copy():
            self._known.pop(key)
        for lookup in self._lookups.values():
            lookup.forgotten.add(tag)

    def forget_all(self) -> None:
        """Drop everything, as when revocations may have been missed."""
        self._known.clear()
        for lookup in self._lookups.values():
            lookup.forgotten.add("*")

    def heard(self, until_s: float) -> None:
        """Note that every revocation was heard that was committed before a moment of the clock."""
        self._heard_s = max(self._heard_s, until_s)

    def _drop(self, key: bytes, known: CachedIdentity) -> None:
        known.dropped = True
        own = self._by_caller[known.limit_key]
        del own[key]
        if not own:
            del self._by_caller[known.limit_key]
        for tag in known.tags:
            keys = self._by_tag.get(tag, set())
            keys.discard(key)
            if not keys:
                self._by_tag.pop(tag, None)

    def __len__(self) -> int:
        return len(self._known)


def read_credential(header: bytes) -> str:
    """Take the token out of ``Bearer TOKEN`` (RFC 6750). Raises Unauthenticated.

    A token of three parts (RFC 7515) must be in the one spelling that its bytes have: base64 leaves
    bits at the end of a part that nothing signs.
    """
    token = _token(header)
    if not token:
        raise Unauthenticated("Authorization must be: Bearer TOKEN", headers=_BAD_TOKEN)
    well_formed = len(token) <= CREDENTIAL_BYTES_MAX and _B64TOKEN.fullmatch(token) is not None
    parts = token.split(b".")
    if not well_formed or (len(parts) == 3 and not all(map(_is_canonical, parts))):
        raise Unauthenticated(
            "this key or token is unknown, revoked or expired", headers=_BAD_TOKEN
        )
    return token.decode("ascii")


def _token(header: bytes) -> bytes:
    """What stands behind the scheme, which has many spellings; nothing behind another scheme."""
    scheme, _, token = header.strip().partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _is_canonical(part: bytes) -> bool:
    """Tell whether no other base64url text of this length decodes to the same bytes."""
    unused_bits = len(part) * 6 % 8
    if unused_bits == 6 or part[-1:] == b"=":
        return False
    return not unused_bits or _BASE64URL.find(part[-1:]) % (1 << unused_bits) == 0


def _key(token: bytes) -> bytes:
    """What a credential is remembered by: not itself, for memory is read by whoever has a dump."""
    return blake2b(token, digest_size=16).digest()


ANONYMOUS_IDENTITY = CachedIdentity(ANONYMOUS, 1 << 62, ())
