"""From a credential, or an id, to a caller: one signature or hash, one row.

Its own room because the gateway asks it before there is a call: it fills ``Authenticator``, and the
kernel's ``Authority`` for whatever acts after its call.
"""

from typing import Any

from mainspring.gateway.identify import Identity
from mainspring.kernel.call import Caller
from mainspring.kernel.errors import Unauthenticated
from mainspring.kernel.ids import is_id
from mainspring.kernel.table import Query
from mainspring.ports.database import Database
from mainspring.ports.keyring import Keyring
from mainspring.services.users import model, store
from mainspring.services.users.store import Bearer

REVOKING = frozenset(
    {
        "users.session.revoked",
        "users.api_key.revoked",
        "users.password.changed",
        "users.user.updated",
        "users.user.deleted",
        "users.user.erased",
        "users.role.updated",
        "users.role.deleted",
    }
)


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
        return await self._by_token(credential, now_ms)

    async def current(self, actor_id: str, tenant: str, now_ms: int) -> Caller | None:
        """Return what a user or API key of this id may do now; None when there is none."""
        try:
            if is_id(actor_id, "user"):
                bearer = await self._read(store.USER_BEARER, actor_id, now_ms)
                scopes = frozenset(bearer.user_scopes.split())
                caller = Caller("user", bearer.id, bearer.tenant, scopes)
            elif is_id(actor_id, "key"):
                bearer = await self._read(store.KEY_BEARER_BY_ID, actor_id, now_ms)
                caller = _key_identity(bearer).caller
            else:
                return None
        except Unauthenticated:
            return None
        return caller if caller.tenant == tenant else None

    async def _by_token(self, token: str, now_ms: int) -> Identity:
        try:
            claims = self._keyring.verify_token(token, now_s=now_ms / 1000)
        except ValueError:
            raise _refused() from None
        session_id, expires_ms = str(claims.get("sid")), int(claims["exp"] * 1000)
        bearer = await self._read(store.SESSION_BEARER, session_id, now_ms)
        if bearer.user_id is None or bearer.user_id != claims["sub"]:
            raise _refused()
        caller = Caller(
            "user",
            bearer.user_id,
            bearer.tenant,
            frozenset(bearer.user_scopes.split()),
            session_id,
        )
        expires_ms = min(expires_ms, bearer.expires_ms or expires_ms)
        return Identity(caller, expires_ms, (session_id, bearer.user_id, *_roles(bearer)))

    async def _by_key(self, key: str, now_ms: int) -> Identity:
        return _key_identity(await self._read(store.KEY_BEARER, model.key_hash(key), now_ms))

    async def _read(self, query: Query[Bearer], value: Any, now_ms: int) -> Bearer:
        rows = await self._database.read(query, (value,))
        if not rows or (rows[0].expires_ms is not None and rows[0].expires_ms <= now_ms):
            raise _refused()
        return rows[0]


def _key_identity(bearer: Bearer) -> Identity:
    scopes = frozenset(bearer.own_scopes.split())
    tags: tuple[str, ...] = (bearer.id,)
    if bearer.user_id is not None:
        # Never more than its owner holds, also when the owner holds less than at its making.
        scopes = model.both(scopes, bearer.user_scopes.split())
        tags = (bearer.id, bearer.user_id, *_roles(bearer))
    return Identity(Caller("key", bearer.id, bearer.tenant, scopes), bearer.expires_ms, tags)


def _roles(bearer: Bearer) -> list[str]:
    return model.words(bearer.roles)


def _refused() -> Unauthenticated:
    return Unauthenticated("this key or token is unknown, revoked or expired")
