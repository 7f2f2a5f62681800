"""Operations on API keys. Callers see their own; ``api_keys:read`` and ``:write`` reach all."""

from mainspring.kernel.call import Call
from mainspring.kernel.clock import Entropy, epoch_ms, rfc3339
from mainspring.kernel.errors import Conflict, Fault, Invalid, NotFound
from mainspring.kernel.ids import is_id
from mainspring.kernel.operation import Answer
from mainspring.kernel.page import Page
from mainspring.services.users import model, proof, store
from mainspring.services.users.api import (
    API_KEYS_MAX,
    ApiKey,
    ApiKeyCreated,
    ApiKeyRevoked,
    MadeApiKey,
    NewApiKey,
    PageQuery,
    ScopeNotHeld,
    TooManyApiKeys,
    service,
)
from mainspring.services.users.store import API_KEYS, ApiKeyRow


@service.operation(
    "POST /v1/api_keys",
    scope="api_keys:own",
    status=201,
    secret=True,
    raises=(ScopeNotHeld, TooManyApiKeys),
)
async def create_api_key(call: Call, new: NewApiKey) -> Answer[MadeApiKey]:
    """Make an API key; the key itself is shown this once. Emits users.api_key.created.

    It never does more than its maker may: not now, and for a user's key not when the user's roles
    give less later.
    """
    proof.require_held(call, new.scopes)
    owner = await proof.owner_id(call)
    if owner is not None:
        held = await call.all(
            store.API_KEY_PAGE_OF,
            tenant=call.tenant, owner_id=owner, after="", limit=API_KEYS_MAX,
        )  # fmt: skip
        if len(held) >= API_KEYS_MAX:
            raise TooManyApiKeys(f"a user has at most {API_KEYS_MAX}")
    text = model.key_text(call.use(Entropy).token(model.KEY_SECRET_BYTES))
    row = stage_api_key(call, text, new.name, new.scopes, owner, _expiry(call, new.expires_at))
    made = shown(row)
    return Answer(
        MadeApiKey(
            made.id, made.name, made.prefix, made.scopes, made.owner_id, made.created_at,
            made.expires_at, text,
        ),
        etag=_etag(row),
    )  # fmt: skip


@service.operation("GET /v1/api_keys", scope="api_keys:own")
async def list_api_keys(call: Call, query: PageQuery) -> Page[ApiKey]:
    """List API keys, the oldest first: your own, or all with the scope api_keys:read."""
    start, limit = proof.after(query.cursor, "key"), query.limit
    if call.caller.allows("api_keys:read"):
        rows = await call.page(store.API_KEY_PAGE, tenant=call.tenant, after=start, limit=limit)
    elif (owner := await proof.owner_id(call)) is not None:
        rows = await call.page(
            store.API_KEY_PAGE_OF, tenant=call.tenant, owner_id=owner, after=start, limit=limit
        )
    else:
        return Page([])
    return Page.of(rows, shown, lambda row: row.id)


@service.operation("GET /v1/api_keys/{id}", scope="api_keys:own")
async def read_api_key(call: Call, id: str) -> Answer[ApiKey]:
    """Read what is known of an API key; the key itself is not."""
    row = await _reachable(call, id, "api_keys:read")
    return Answer(shown(row), etag=_etag(row))


@service.operation("DELETE /v1/api_keys/{id}", scope="api_keys:own", raises=(ScopeNotHeld,))
async def delete_api_key(call: Call, id: str) -> None:
    """Revoke an API key; before this is answered it holds no more. Emits users.api_key.revoked."""
    row = await _reachable(call, id, "api_keys:write")
    call.require_match(_etag(row))
    call.write(API_KEYS.delete(row))
    call.emit(ApiKeyRevoked(row.id, row.owner_id))


def stage_api_key(
    call: Call,
    text: str,
    name: str,
    scopes: list[str],
    owner_id: str | None,
    expires_ms: int | None,
) -> ApiKeyRow:
    """Stage a key whose text is known, and the event that says so without it."""
    row = ApiKeyRow(
        id=call.new_id("key"),
        tenant=call.tenant,
        version=1,
        name=name,
        prefix=text[: model.KEY_SHOWN_CHARS],
        hash=model.key_hash(text),
        scopes=model.stored(scopes),
        owner_id=owner_id,
        created_ms=call.now_ms,
        expires_ms=expires_ms,
    )
    key = shown(row)
    call.write(API_KEYS.insert(row, taken=Conflict))
    call.emit(ApiKeyCreated(key.id, key.name, key.prefix, key.scopes, key.owner_id, key.expires_at))
    return row


def shown(row: ApiKeyRow) -> ApiKey:
    """Write a key as it is answered."""
    return ApiKey(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        scopes=model.words(row.scopes),
        owner_id=row.owner_id,
        created_at=rfc3339(row.created_ms),
        expires_at=None if row.expires_ms is None else rfc3339(row.expires_ms),
    )


def _etag(row: ApiKeyRow) -> str:
    return f'"{row.version}"'


async def _reachable(call: Call, id: str, scope: str) -> ApiKeyRow:
    """Return a key that is the caller's own, or anybody's for holders of the scope."""
    if not is_id(id, "key"):
        raise NotFound()
    row = await call.one(store.API_KEY, id=id, tenant=call.tenant)
    if row.id == call.caller.id or call.caller.allows(scope):
        return row
    if row.owner_id is None or row.owner_id != await proof.owner_id(call):
        raise NotFound()
    return row


def _expiry(call: Call, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment_ms = epoch_ms(text)
    except ValueError as error:
        raise Invalid(faults=(Fault("/expires_at", str(error)),)) from None
    if moment_ms <= call.now_ms:
        raise Invalid(faults=(Fault("/expires_at", "is in the past"),))
    return moment_ms
