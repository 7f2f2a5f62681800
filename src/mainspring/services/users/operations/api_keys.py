"""Operations on API keys. Callers see their own; ``api_keys:read`` and ``:write`` reach all."""

from collections.abc import Sequence

import msgspec

from mainspring import (
    Call,
    Caller,
    Conflict,
    Entropy,
    Forbidden,
    Invalid,
    NotFound,
    Page,
    PageQuery,
    Response,
    Unauthenticated,
    epoch_ms,
    handles,
    is_id,
    read_at,
    rfc3339,
)
from mainspring.kernel.authority import require_recent
from mainspring.services.users import access, api, model, store
from mainspring.services.users.api.errors import TooManyApiKeys
from mainspring.services.users.api.structs import (
    ApiKey,
    KeyLineage,
    MadeApiKey,
    NewApiKey,
    Recovery,
)
from mainspring.services.users.authenticate import MACHINE, identity_of
from mainspring.services.users.mailing import Purpose, notify
from mainspring.services.users.presenter import key_tag, present_api_key
from mainspring.services.users.store import API_KEYS, FIRST_KEYS, ApiKeyRow, FirstKeyRow, Link

KEYS_NAMED_MAX = 1_000  # keys that are named in events when they end together
KEYS_SHOWN_MAX = 500  # of those made with one
LINE_KEYS_MAX = 1_000  # that were made with one that belongs to no user, those made with these too
RECOVERED_NAME = "Recovered administrator"


class StoredSecret(msgspec.Struct, frozen=True):
    """What is kept of a key's text: how it begins, and its hash."""

    prefix: str
    hash: bytes

    @classmethod
    def of(cls, text: str) -> "StoredSecret":
        """Take it from the text."""
        return cls(text[: model.KEY_SHOWN_CHARS], model.secret_hash(text))


class Maker(msgspec.Struct, frozen=True):
    """Who makes a key, the user its line begins with, and when it can hold no more."""

    id: str | None = None
    owner_id: str | None = None
    expires_ms: int | None = None


NOBODY = Maker()


@handles(api.create_api_key)
async def create_api_key(call: Call, new: NewApiKey) -> Response[MadeApiKey]:
    access.require_held(call, new.scopes)
    if any(map(model.is_wide, new.scopes)):
        require_recent(api.RECENT_S, call.caller, call.now_ms)
    maker = await _maker(call)
    if maker.owner_id is not None:
        held = await call.all(
            store.API_KEY_PAGE_OF,
            tenant=call.tenant, owner_id=maker.owner_id, after="", limit=api.API_KEYS_MAX,
        )  # fmt: skip
        if len(held) >= api.API_KEYS_MAX:
            raise TooManyApiKeys(f"a user has at most {api.API_KEYS_MAX} keys: delete one first")
    text = model.key_text(call.use(Entropy).token(model.KEY_SECRET_BYTES))
    expires_ms = _expiry(call, new.expires_at, maker)
    addresses = model.networks(new.addresses)
    row = stage_api_key(
        call, StoredSecret.of(text), new.name, new.scopes, maker, expires_ms, addresses
    )
    if call.caller.kind == "user":
        await notify(call, await access.myself(call), Purpose.API_KEY_CREATED)
    made = MadeApiKey(**msgspec.structs.asdict(present_api_key(row)), key=text)
    return Response(made, etag=key_tag(row))


@handles(api.list_api_keys)
async def list_api_keys(call: Call, query: PageQuery) -> Page[ApiKey]:
    start, limit = query.after_id("key"), query.limit
    if call.caller.allows(api.API_KEYS_READ):
        rows = await call.page(store.API_KEY_PAGE, tenant=call.tenant, after=start, limit=limit)
    elif (owner := await access.owner_id(call)) is not None:
        rows = await call.page(
            store.API_KEY_PAGE_OF, tenant=call.tenant, owner_id=owner, after=start, limit=limit
        )
    else:
        rows = await call.page(
            store.DESCENDANTS,
            tenant=call.tenant, maker_id=call.caller.id, after=start, limit=limit,
        )  # fmt: skip
    return Page.of(rows, present_api_key, lambda row: row.id)


@handles(api.get_api_key)
async def get_api_key(call: Call, id: str) -> Response[ApiKey]:
    row = await _reachable(call, id, api.API_KEYS_READ)
    return Response(present_api_key(row), etag=key_tag(row))


@handles(api.get_key_lineage)
async def get_key_lineage(call: Call, key_id: str) -> KeyLineage:
    row = await _reachable(call, key_id, api.API_KEYS_READ)
    line = await call.all(store.KEY_LINE_BY_ID, id=row.id)
    ids = [link.id for link in line]
    owner = await access.owner_id(call)
    if not call.caller.allows(api.API_KEYS_READ) and (owner is None or owner != row.owner_id):
        ids = ids[: ids.index(call.caller.actor) + 1]  # what it was made with is not its to see
    makers = []
    for above in ids[1:]:
        maker = await call.find(store.API_KEY, id=above, tenant=call.tenant)
        if maker is not None:
            makers.append(present_api_key(maker))
    made = await call.page(
        store.DESCENDANTS, tenant=call.tenant, maker_id=row.id, after="", limit=KEYS_SHOWN_MAX
    )
    return KeyLineage(makers, [present_api_key(key) for key in made.items], made.more)


@handles(api.delete_api_key)
async def delete_api_key(call: Call, id: str) -> None:
    row = await _reachable(call, id, api.API_KEYS_WRITE)
    call.require_match(key_tag(row))
    line = await call.all(store.KEY_LINE_BY_ID, id=row.id)
    if not _is_of(call.caller, row, line):
        try:
            held = identity_of(line, call.now_ms, disabled_too=True).caller.scopes
        except Unauthenticated:
            held = frozenset()  # it holds no more
        access.require_over(call, " ".join(held))
    of_key = {"tenant": call.tenant, "maker_id": row.id}
    made = await call.all(store.DESCENDANTS, **of_key, after="", limit=KEYS_NAMED_MAX)
    call.write(API_KEYS.delete(row), store.END_DESCENDANTS(**of_key))
    for key in (row, *made):
        call.emit(api.ApiKeyRevoked(key.id, key.owner_id))


@handles(api.recover_api_key)
async def recover_api_key(call: Call, wanted: Recovery) -> None:
    if call.caller.kind != MACHINE or not call.caller.allows(f"{api.RECOVER}:{wanted.key_hash}"):
        raise Forbidden(
            "only `mainspring admin key --recover` on the platform's own machine may do this"
        )
    stage_recovery(call, StoredSecret(wanted.prefix, bytes.fromhex(wanted.key_hash)))


def stage_recovery(call: Call, secret: StoredSecret) -> None:
    """Stage a key with every scope that stands for itself, and what the log says of it."""
    row = stage_api_key(call, secret, RECOVERED_NAME, ["*"], NOBODY, expires_ms=None)
    call.write(FIRST_KEYS.insert(FirstKeyRow(call.tenant, row.id), on_conflict=None))
    call.emit(api.ApiKeyRecovered(row.id, row.prefix))


async def end_api_keys(call: Call, user_id: str) -> None:
    """Stage the end of every key a user has made, those made with these too."""
    keys = await call.all(
        store.API_KEY_PAGE_OF, tenant=call.tenant, owner_id=user_id, after="", limit=KEYS_NAMED_MAX
    )
    for key in keys:
        call.emit(api.ApiKeyRevoked(key.id, user_id))
    call.write(store.END_API_KEYS(tenant=call.tenant, owner_id=user_id))


def stage_api_key(
    call: Call,
    secret: StoredSecret,
    name: str,
    scopes: list[str],
    maker: Maker,
    expires_ms: int | None,
    addresses: Sequence[str] = (),
) -> ApiKeyRow:
    """Stage a key whose text somebody knows, and the event that says so without it."""
    row = ApiKeyRow(
        id=call.new_id("key"),
        tenant=call.tenant,
        version=1,
        name=name,
        prefix=secret.prefix,
        hash=secret.hash,
        scopes=model.stored(scopes),
        owner_id=maker.owner_id,
        created_ms=call.now_ms,
        expires_ms=expires_ms,
        maker_id=maker.id,
        addresses=model.stored(addresses),
        used_ms=None,
    )
    key = present_api_key(row)
    call.write(API_KEYS.insert(row, on_conflict=Conflict))
    call.emit(
        api.ApiKeyCreated(
            key.id, key.name, key.prefix, key.scopes, key.owner_id, key.expires_at, key.maker_id
        )
    )
    return row


async def _reachable(call: Call, id: str, scope: str) -> ApiKeyRow:
    """Return a key that is the caller's own, or anybody's for holders of the scope."""
    if not is_id(id, "key"):
        raise NotFound()
    row = await call.one(store.API_KEY, id=id, tenant=call.tenant)
    if row.id == call.caller.id or call.caller.allows(scope):
        return row
    if row.owner_id is not None and row.owner_id == await access.owner_id(call):
        return row
    line = await call.all(store.KEY_LINE_BY_ID, id=row.id)
    if not _is_of(call.caller, row, line):
        raise NotFound()
    return row


def _is_of(caller: Caller, row: ApiKeyRow, line: Sequence[Link]) -> bool:
    """Tell whether a key is the caller's own, or was made with it."""
    if caller.kind == "user":
        return row.owner_id == caller.id
    return any(link.id == caller.id for link in line)


async def _maker(call: Call) -> Maker:
    """Return the caller as the maker of a key; the commit fails when it ends meanwhile."""
    caller, gone = call.caller, Unauthenticated("your session or key has ended")
    if caller.id is None:
        return NOBODY
    of_caller = {"tenant": call.tenant, "id": caller.session_id or caller.id}
    if caller.kind == "user":
        call.write(store.HOLD_SESSION(**of_caller).expect(1, gone))
        return Maker(caller.id, caller.id)
    line = await call.all(store.KEY_LINE_BY_ID, id=caller.id)
    if len(line) >= store.LINE_MAX:
        raise TooManyApiKeys(
            f"keys make further keys at most {store.LINE_MAX} times in a row: "
            "use one that was made earlier"
        )
    if line[-1].user_id is None:
        of_first = {"tenant": call.tenant, "maker_id": line[-1].id}
        made = await call.all(store.DESCENDANTS, **of_first, after="", limit=LINE_KEYS_MAX)
        if len(made) >= LINE_KEYS_MAX:
            raise TooManyApiKeys(
                f"a key that belongs to no user makes {LINE_KEYS_MAX:,} keys: delete one first"
            )
    call.write(store.HOLD_API_KEY(**of_caller).expect(1, gone))
    return Maker(caller.id, line[-1].user_id, identity_of(line, call.now_ms).expires_ms)


def _expiry(call: Call, text: str | None, maker: Maker) -> int | None:
    """When a key ends that is to end at ``text``: never later than its maker.

    Nor later than settings let keys last. Raises Invalid.
    """
    life_s = call.use(api.UsersSettings).api_key_life_max_s
    last_ms = call.now_ms + life_s * 1000 if life_s else None
    if text is None:
        return min((end for end in (maker.expires_ms, last_ms) if end is not None), default=None)
    moment_ms = read_at("/expires_at", epoch_ms, text)
    if moment_ms <= call.now_ms:
        raise Invalid.at("/expires_at", "is in the past")
    if maker.expires_ms is not None and moment_ms > maker.expires_ms:
        ends = rfc3339(maker.expires_ms)
        raise Invalid.at("/expires_at", f"is after your own key's end, {ends}")
    if last_ms is not None and moment_ms > last_ms:
        raise Invalid.at("/expires_at", f"is later than keys last here: {rfc3339(last_ms)}")
    return moment_ms
