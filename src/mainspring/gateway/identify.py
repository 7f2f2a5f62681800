"""Who is calling: credentials looked up once, remembered, and dropped when they are revoked."""

import asyncio
from collections import OrderedDict
from typing import Protocol

import msgspec

from mainspring.kernel.call import ANONYMOUS, Caller
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import Unauthenticated, Unavailable

IDENTITIES_MAX = 65_536  # remembered credentials
REMEMBERED_MS = 60_000  # until a credential is looked up again, whatever was heard of it
LOOKUPS_MAX = 1_024  # credentials being looked up at once
CREDENTIAL_BYTES_MAX = 8_192
LOOKUP_ATTEMPTS_MAX = 4  # of one credential that keeps being revoked and renewed meanwhile

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="mainspring"'}
_BAD_TOKEN = {"WWW-Authenticate": 'Bearer realm="mainspring", error="invalid_token"'}


class Identity(msgspec.Struct, frozen=True):
    """What a credential says. ``expires_ms`` null means never; ``tags`` name what revokes it."""

    caller: Caller
    expires_ms: int | None = None
    tags: tuple[str, ...] = ()


class Authenticator(Protocol):
    """Knows credentials. The users service provides it, the app hands it over."""

    @property
    def revoking(self) -> frozenset[str]:
        """Event types whose ``subject`` is a tag to forget."""
        ...

    async def authenticate(self, credential: str, now_ms: int) -> Identity:
        """Return whose credential this is. Raises Unauthenticated."""
        ...


class Known:
    """A remembered identity. Once it is ``dropped`` it must be looked up again."""

    __slots__ = ("caller", "dropped", "limit_key", "tags", "until_ms")

    def __init__(self, caller: Caller, until_ms: int, tags: tuple[str, ...]) -> None:
        self.caller = caller
        self.until_ms = until_ms
        self.tags = tags
        self.dropped = False
        self.limit_key = f"{caller.tenant}/{caller.actor}"


class _Lookup:
    """A lookup in flight, and the tags that were forgotten while it ran."""

    __slots__ = ("forgotten", "task")

    def __init__(self) -> None:
        self.forgotten: set[str] = set()
        self.task: asyncio.Task[Known] | None = None


class Identities:
    """A bounded memory of credentials, by the raw value of their ``Authorization`` header.

    ``silence_max_ms`` is for revocations that other processes announce: when ``heard`` was not
    called for longer, nothing is recalled from memory.
    """

    __slots__ = (
        "_authenticator",
        "_by_tag",
        "_clock",
        "_heard_ms",
        "_known",
        "_lookups",
        "_silence_max_ms",
        "_size_max",
    )  # fmt: skip

    def __init__(
        self,
        authenticator: Authenticator,
        clock: Clock,
        *,
        size_max: int = IDENTITIES_MAX,
        silence_max_ms: int | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._size_max = size_max
        self._silence_max_ms = silence_max_ms
        self._heard_ms = clock.now_ms()
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._by_tag: dict[str, set[bytes]] = {}
        self._lookups: dict[bytes, _Lookup] = {}

    def recall(self, header: bytes, now_ms: int) -> Known | None:
        """Return what is remembered and still holds."""
        known = self._known.get(header)
        if known is None or known.until_ms <= now_ms:
            return None
        if self._silence_max_ms is not None and now_ms - self._heard_ms > self._silence_max_ms:
            return None
        self._known.move_to_end(header)
        return known

    async def look_up(self, header: bytes, now_ms: int) -> Known:
        """Ask the authenticator, together with everyone who asks for the same credential.

        Refusals are not remembered. Raises Unauthenticated, Unavailable when too many are asking.
        """
        lookup = self._lookups.get(header)
        if lookup is None:
            credential = _credential(header)
            if len(self._lookups) >= LOOKUPS_MAX:
                raise Unavailable("too many credentials are being looked up", retry_after_s=1)
            lookup = self._lookups[header] = _Lookup()
            lookup.task = asyncio.create_task(self._ask(header, credential, lookup))
        assert lookup.task is not None  # set above, before anyone else can run
        # Shielded: one asker that gives up must not take the answer from the others.
        return await asyncio.shield(lookup.task)

    async def _ask(self, header: bytes, credential: str, lookup: _Lookup) -> Known:
        try:
            for _ in range(LOOKUP_ATTEMPTS_MAX):
                lookup.forgotten.clear()
                now_ms = self._clock.now_ms()
                identity = await self._authenticator.authenticate(credential, now_ms)
                if not lookup.forgotten.isdisjoint(identity.tags) or "*" in lookup.forgotten:
                    continue  # revoked while we asked: the answer may be from before
                return self._remember(header, identity, now_ms)
            raise Unavailable("the credential changes faster than it can be read", retry_after_s=1)
        except Unauthenticated as failure:
            failure.headers = {**_BAD_TOKEN, **failure.headers}
            raise
        finally:
            del self._lookups[header]

    def _remember(self, header: bytes, identity: Identity, now_ms: int) -> Known:
        until_ms = now_ms + REMEMBERED_MS
        if identity.expires_ms is not None:
            until_ms = min(until_ms, identity.expires_ms)
            if until_ms <= now_ms:
                raise Unauthenticated("the credential has expired")
        self._drop(header)
        while len(self._known) >= self._size_max:
            self._drop(next(iter(self._known)))
        known = Known(identity.caller, until_ms, identity.tags)
        self._known[header] = known
        for tag in identity.tags:
            self._by_tag.setdefault(tag, set()).add(header)
        return known

    def forget(self, tag: str) -> None:
        """Drop every credential with this tag, before the next call is identified."""
        for header in self._by_tag.get(tag, frozenset()).copy():
            self._drop(header)
        for lookup in self._lookups.values():
            lookup.forgotten.add(tag)

    def forget_all(self) -> None:
        """Drop everything, as when revocations may have been missed."""
        for header in list(self._known):
            self._drop(header)
        for lookup in self._lookups.values():
            lookup.forgotten.add("*")

    def heard(self) -> None:
        """Note that the feed of revocations is up to date now."""
        self._heard_ms = self._clock.now_ms()

    def _drop(self, header: bytes) -> None:
        known = self._known.pop(header, None)
        if known is None:
            return
        known.dropped = True
        for tag in known.tags:
            headers = self._by_tag[tag]
            headers.discard(header)
            if not headers:
                del self._by_tag[tag]

    def __len__(self) -> int:
        return len(self._known)


def _credential(header: bytes) -> str:
    """Take the token out of ``Bearer TOKEN`` (RFC 6750). Raises Unauthenticated."""
    scheme, _, token = header.strip().partition(b" ")
    token = token.strip()
    if scheme.lower() != b"bearer" or not token:
        raise Unauthenticated("Authorization must be: Bearer TOKEN", headers=_BAD_TOKEN)
    if len(token) > CREDENTIAL_BYTES_MAX or not token.isascii():
        raise Unauthenticated(
            "this key or token is unknown, revoked or expired", headers=_BAD_TOKEN
        )
    return token.decode("ascii")


def challenge() -> Unauthenticated:
    """The failure of an anonymous caller that must say who it is."""
    return Unauthenticated("send Authorization: Bearer TOKEN", headers=_CHALLENGE)


NOBODY = Known(ANONYMOUS, 1 << 62, ())
