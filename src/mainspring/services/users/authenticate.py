"""From a credential, or an id, to a caller: one signature or hash, one row.

Its own room because the gateway asks it before there is a call: it fills ``Authenticator``, and the
kernel's ``Authority`` for whatever acts after its call.
"""

from collections.abc import Sequence

import msgspec

from mainspring import Authority, Caller, Command, Query, Unauthenticated, is_id
from mainspring.kernel.authority import (
    Authenticator,
    Identity,
    Membership,
    Person,
    StreamTokens,
)
from mainspring.kernel.caller import Impersonation
from mainspring.kernel.reader import Reader
from mainspring.ports.database import Database
from mainspring.ports.keyring import Keyring
from mainspring.services.users import impersonation, model, profiles, store, streams
from mainspring.services.users.api import RECOVER, service
from mainspring.services.users.store import Bearer, Link

REVOKING = frozenset(
    {
        "users.session.revoked",
        "users.api_key.revoked",
        "users.password.changed",
        "users.user.updated",
        "users.user.deleted",
        "users.user.disabled",
        "users.user.erased",
        "users.role.updated",
        "users.role.deleted",
        "users.member.updated",
        "users.member.removed",
    }
)


# Whoever holds the machine holds the keyring, and signs with it what they want: one certain key.
MACHINE = "machine"


class UserAuthenticator:
    """Knows access tokens and API keys. Each is good only while its row is there."""

    revoking = REVOKING

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def authenticate(self, credential: str, now_ms: int) -> Identity:
        """Return whose credential this is. Raises Unauthenticated."""
        if credential.startswith(model.KEY_PREFIX):
            return await self._by_key(credential, now_ms)
        if credential.startswith(model.OPEN_STREAM_PREFIX):
            return await self._by_stream(credential, now_ms)
        return await self._by_token(credential, now_ms)

    async def redeem(self, token: str, now_ms: int) -> str:
        """Return what a stream lives by that is opened with a token. Raises Unauthenticated."""
        stream = streams.read(self._keyring, token, now_ms)
        return streams.write(self._keyring, stream, opened=True)

    async def current(self, actor_id: str, tenant: str, now_ms: int) -> Caller | None:
        """Return what a user or API key of this id may do now; None when there is none."""
        try:
            if is_id(actor_id, "user"):
                bearer = await self._bearer(store.USER_BEARER, actor_id, now_ms)
                scopes = frozenset(bearer.scopes.split())
                caller = Caller("user", bearer.user_id, bearer.tenant, scopes)
            elif is_id(actor_id, "key"):
                line = await self._database.read(store.KEY_LINE_BY_ID, (actor_id,))
                caller = identity_of(line, now_ms).caller
            else:
                return None
        except Unauthenticated:
            return None
        return caller if caller.tenant == tenant else None

    async def person(
        self, reader: Reader, actor_id: str, tenant: str, now_ms: int
    ) -> Person | None:
        """Return the user that an actor is or acts for; None when there is none."""
        user_id: str | None = actor_id
        if is_id(actor_id, "key"):
            line = await reader.read(store.KEY_LINE_BY_ID, (actor_id,))
            try:
                identity_of(line, now_ms)
            except Unauthenticated:
                return None
            user_id = line[-1].user_id
        if user_id is None or not is_id(user_id, "user"):
            return None
        users = await reader.read(
            store.USER, store.USER.sql.bind({"id": user_id, "tenant": tenant})
        )
        if not users or users[0].disabled_ms is not None:
            return None
        user = users[0]
        roles, profile = tuple(model.words(user.roles)), profiles.read(user.profile)
        return Person(user.id, user.email, user.email_verified, roles, profile)

    def hold_user(self, user_id: str, tenant: str) -> Command:
        """Return what finds one row while there is this user, who then stays until the commit."""
        return store.HOLD_USER(id=user_id, tenant=tenant)

    async def memberships(self, reader: Reader, user_id: str, tenant: str) -> Sequence[Membership]:
        """Return what a user is in which organisations, in the order of their ids."""
        query, limit = store.MEMBERSHIPS_OF, model.ORGANIZATIONS_MAX
        bound = query.sql.bind({"tenant": tenant, "user_id": user_id, "limit": limit})
        rows = await reader.read(query, bound)
        return [Membership(row.organization_id, row.role) for row in rows]

    def hold_organization(self, organization_id: str, tenant: str) -> Command:
        """Return what finds one row while there is this organisation, which then stays."""
        return store.HOLD_ORGANIZATION(id=organization_id, tenant=tenant)

    async def _by_token(self, token: str, now_ms: int) -> Identity:
        try:
            claims = self._keyring.verify_token(token, now_s=now_ms / 1000)
        except ValueError:
            raise _refused() from None
        if claims["sub"] == MACHINE:
            scopes = frozenset({RECOVER, f"{RECOVER}:{claims.get('key')}"})
            return Identity(Caller(MACHINE, scopes=scopes), int(claims["exp"] * 1000))
        session_id, expires_ms = str(claims.get("sid")), int(claims["exp"] * 1000)
        bearer = await self._bearer(store.SESSION_BEARER, session_id, now_ms)
        if bearer.user_id != claims["sub"]:
            raise _refused()
        auth_ms = int(claims.get("auth_time", 0)) * 1000
        identity = await self._of_session(session_id, bearer, now_ms, auth_ms)
        ends_ms = min(expires_ms, identity.expires_ms or expires_ms)
        return msgspec.structs.replace(identity, expires_ms=ends_ms)

    async def _by_stream(self, credential: str, now_ms: int) -> Identity:
        """Whoever opened a stream is who they were by now, and until their credential ends."""
        stream = streams.read(self._keyring, credential, now_ms, opened=True)
        if stream.session_id is None:
            line = await self._database.read(store.KEY_LINE_BY_ID, (stream.caller_id,))
            identity = identity_of(line, now_ms)
        else:
            bearer = await self._bearer(store.SESSION_BEARER, stream.session_id, now_ms)
            if bearer.user_id != stream.caller_id:
                raise _refused()
            identity = await self._of_session(stream.session_id, bearer, now_ms)
        ends = [end for end in (identity.expires_ms, stream.until_ms) if end is not None]
        return msgspec.structs.replace(identity, expires_ms=min(ends, default=None))

    async def _by_key(self, key: str, now_ms: int) -> Identity:
        line = await self._database.read(store.KEY_LINE, (model.secret_hash(key),))
        identity = identity_of(line, now_ms)
        self._note_used(line[0], now_ms)
        return identity

    def _note_used(self, key: Link, now_ms: int) -> None:
        """Note that a key is used, once in a while: nobody waits for it, and it may be lost."""
        before_ms = now_ms - model.KEY_USED_EVERY_MS
        if key.used_ms is None or key.used_ms <= before_ms:
            noted = store.NOTE_USED(id=key.id, now_ms=now_ms, before_ms=before_ms)
            self._database.post([noted])

    async def _of_session(
        self, session_id: str, bearer: Bearer, now_ms: int, auth_ms: int = 0
    ) -> Identity:
        """Return what a session is good for now, and until when; each of its tags can end it.

        Where somebody acts as its user they may do that by now. Raises Unauthenticated.
        """
        scopes = frozenset(bearer.scopes.split())
        caller = Caller("user", bearer.user_id, bearer.tenant, scopes, session_id, auth_ms)
        tags = (session_id, bearer.user_id, *model.words(bearer.roles))
        if bearer.impersonator_id is None:
            return Identity(caller, bearer.expires_ms, tags)
        found = await self._database.read(store.IMPERSONATOR, (session_id,))
        if not found or not impersonation.still_may(found[0], bearer.tenant, bearer.scopes, now_ms):
            raise _refused()
        (by,) = found
        caller = msgspec.structs.replace(
            caller, auth_ms=None, impersonation=Impersonation(by.user_id, by.writes)
        )
        tags += (by.user_id, by.session_id, *model.words(by.roles))
        ends_ms = min(by.session_expires_ms, bearer.expires_ms or by.session_expires_ms)
        return Identity(caller, ends_ms, tags)

    async def _bearer(self, query: Query[Bearer], value: str, now_ms: int) -> Bearer:
        rows = await self._database.read(query, (value,))
        if not rows or (rows[0].expires_ms is not None and rows[0].expires_ms <= now_ms):
            raise _refused()
        return rows[0]


# Whoever fills Authenticator by other means leaves it to users what theirs may do later.
service.provide(UserAuthenticator, needs=(Database, Keyring))
service.provide(Authenticator, lambda users: users, needs=(UserAuthenticator,))
service.provide(StreamTokens, lambda users: users, needs=(UserAuthenticator,))
service.provide(Authority, lambda users: users, needs=(UserAuthenticator,))


def identity_of(line: Sequence[Link], now_ms: int, *, disabled_too: bool = False) -> Identity:
    """Return what the first key of a line of makers is good for now. Raises Unauthenticated.

    It holds while everyone in the line does, and never does more than any of them may now; each of
    them is a tag, so what ends one of them ends it at once. With ``disabled_too`` it is what it
    holds again once its user is enabled.
    """
    if not line:
        raise _refused()
    first, last = line[0], line[-1]
    scopes = frozenset(first.scopes.split())
    for maker in line[1:]:
        scopes = model.both(scopes, maker.scopes.split())
    tags = [link.id for link in line]
    if last.maker_id is not None:
        if last.user_id is None or (last.user_disabled and not disabled_too):
            raise _refused()
        scopes = model.both(scopes, last.user_scopes.split())
        tags += [last.user_id, *model.words(last.user_roles)]
    ends = [link.expires_ms for link in line if link.expires_ms is not None]
    if ends and min(ends) <= now_ms:
        raise _refused()
    caller = Caller("key", first.id, first.tenant, scopes)
    places = tuple(tuple(link.addresses.split()) for link in line if link.addresses)
    return Identity(caller, min(ends, default=None), tuple(tags), places)


def _refused() -> Unauthenticated:
    return Unauthenticated("this key or token is unknown, revoked or expired")
