"""Operations on applications that log people in from here, and on what people let them have."""

import base64
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET

from mainspring import (
    Call,
    Conflict,
    Entropy,
    Invalid,
    NotFound,
    Page,
    PageQuery,
    Response,
    check_all,
    handles,
    is_id,
)
from mainspring.kernel.etag import version_tag
from mainspring.services.users import access, api, model, store
from mainspring.services.users.api.oauth_structs import (
    Authorization,
    MadeOAuthClient,
    NewOAuthClient,
    OAuthClient,
    OAuthClientChanges,
    OAuthClientSecret,
)
from mainspring.services.users.identity_provider import grants
from mainspring.services.users.identity_provider.relying_parties import (
    platform_scopes,
    redirect_uri_problem,
    scope_problem,
)
from mainspring.services.users.presenter import present_authorization, present_oauth_client
from mainspring.services.users.store import OAUTH_CLIENTS, OAUTH_CONSENTS, OAuthClientRow

SECRET_PREFIX = "mos_"  # noqa: S105 - how one begins
SECRET_BYTES = 32
_LISTS = ("redirect_uris", "post_logout_redirect_uris", "scopes")


@handles(api.create_oauth_client)
async def create_oauth_client(call: Call, new: NewOAuthClient) -> Response[MadeOAuthClient]:
    _check(new.redirect_uris, new.post_logout_redirect_uris, new.scopes)
    if new.public and new.introspects:
        raise Invalid.at("/introspects", "needs a secret: a public client proves nothing")
    access.require_held(call, platform_scopes(new.scopes))
    secret = None if new.public else _new_secret(call)
    row = OAuthClientRow(
        id=call.new_id("client"),
        tenant=call.tenant,
        version=1,
        name=new.name,
        secret_hash=None if secret is None else model.secret_hash(secret),
        redirect_uris=_stored(new.redirect_uris),
        post_logout_redirect_uris=_stored(new.post_logout_redirect_uris),
        scopes=model.stored(new.scopes),
        skips_consent=new.skips_consent,
        introspects=new.introspects,
        created_ms=call.now_ms,
        updated_ms=call.now_ms,
    )
    call.write(OAUTH_CLIENTS.insert(row, on_conflict=Conflict))
    call.emit(api.OAuthClientCreated(**_told(row)))
    shown = present_oauth_client(row)
    made = MadeOAuthClient(**msgspec.structs.asdict(shown), secret=secret)
    return Response(made, etag=version_tag(row.version))


@handles(api.list_oauth_clients)
async def list_oauth_clients(call: Call, query: PageQuery) -> Page[OAuthClient]:
    rows = await call.page(
        store.OAUTH_CLIENT_PAGE,
        tenant=call.tenant, after=query.after_id("client"), limit=query.limit,
    )  # fmt: skip
    return Page.of(rows, present_oauth_client, lambda row: row.id)


@handles(api.get_oauth_client)
async def get_oauth_client(call: Call, id: str) -> Response[OAuthClient]:
    return _answer(await _client(call, id))


@handles(api.update_oauth_client)
async def update_oauth_client(
    call: Call, id: str, changes: OAuthClientChanges
) -> Response[OAuthClient | None]:
    row = await _client(call, id)
    call.require_match(version_tag(row.version))
    given = {
        name: value for name, value in msgspec.structs.asdict(changes).items() if value is not UNSET
    }
    _check(*(given.get(name, ()) for name in _LISTS))
    if row.secret_hash is None and given.get("introspects"):
        raise Invalid.at("/introspects", "needs a secret: a public client proves nothing")
    access.require_held(call, platform_scopes([*row.scopes.split(), *given.get("scopes", ())]))
    fields: dict[str, Any] = {
        name: _stored(value) if name in _LISTS else value for name, value in given.items()
    }
    changed = _stage_change(call, row, secret_rotated=False, **fields)
    return Response.shown_if(
        call.caller.allows(api.OAUTH_CLIENTS_READ),
        present_oauth_client(changed),
        etag=version_tag(changed.version),
    )


@handles(api.rotate_secret)
async def rotate_secret(call: Call, id: str) -> OAuthClientSecret:
    row = await _client(call, id)
    if row.secret_hash is None:
        raise Conflict("a public client has no secret: register another one that is not public")
    access.require_held(call, platform_scopes(row.scopes.split()))
    secret = _new_secret(call)
    _stage_change(call, row, secret_rotated=True, secret_hash=model.secret_hash(secret))
    return OAuthClientSecret(secret)


@handles(api.delete_oauth_client)
async def delete_oauth_client(call: Call, id: str) -> None:
    row = await _client(call, id)
    call.require_match(version_tag(row.version))
    access.require_held(call, platform_scopes(row.scopes.split()))
    # Its tokens are found together with it, or not at all; the rows are swept.
    call.write(OAUTH_CLIENTS.delete(row))
    call.emit(api.OAuthClientDeleted(row.id))


@handles(api.list_authorizations)
async def list_authorizations(call: Call, query: PageQuery) -> Page[Authorization]:
    user = await access.myself(call)
    rows = await call.page(
        store.OAUTH_CONSENT_PAGE,
        tenant=call.tenant, user_id=user.id, after=query.after_id("consent"), limit=query.limit,
    )  # fmt: skip
    return Page.of(rows, present_authorization, lambda row: row.id)


@handles(api.delete_authorization)
async def delete_authorization(call: Call, id: str) -> None:
    user = await access.myself(call)
    if not is_id(id, "consent"):
        raise NotFound()
    row = await call.one(store.OAUTH_CONSENT_OF, tenant=call.tenant, user_id=user.id, id=id)
    call.write(OAUTH_CONSENTS.delete(row))
    call.emit(api.OAuthConsentRevoked(row.id, user.id, row.client_id))
    await grants.end_grants(call, user.id, "consent", row.client_id)


def _stage_change(
    call: Call, row: OAuthClientRow, *, secret_rotated: bool, **fields: Any
) -> OAuthClientRow:
    fields["updated_ms"] = call.now_ms
    changed = msgspec.structs.replace(row, version=row.version + 1, **fields)
    call.write(OAUTH_CLIENTS.update(row, **fields))
    call.emit(api.OAuthClientUpdated(**_told(changed), secret_rotated=secret_rotated))
    return changed


def _told(row: OAuthClientRow) -> dict[str, Any]:
    shown = msgspec.structs.asdict(present_oauth_client(row))
    return {name: shown[name] for name in api.OAuthClientCreated.__struct_fields__}


def _answer(row: OAuthClientRow) -> Response[OAuthClient]:
    return Response(present_oauth_client(row), etag=version_tag(row.version))


async def _client(call: Call, id: str) -> OAuthClientRow:
    if not is_id(id, "client"):
        raise NotFound()
    return await call.one(store.OAUTH_CLIENT, id=id, tenant=call.tenant)


def _check(
    redirect_uris: Sequence[str], post_logout_redirect_uris: Sequence[str], scopes: Sequence[str]
) -> None:
    """Raise Invalid for each that does not fit, with where it stands."""
    judged: list[tuple[str, Sequence[str], Callable[[str], str | None]]] = [
        ("redirect_uris", redirect_uris, redirect_uri_problem),
        ("post_logout_redirect_uris", post_logout_redirect_uris, redirect_uri_problem),
        ("scopes", scopes, scope_problem),
    ]
    check_all(
        "the application is not valid",
        *(
            partial(_require, f"/{name}/{at}", problem(value))
            for name, values, problem in judged
            for at, value in enumerate(values)
        ),
    )


def _require(pointer: str, problem: str | None) -> None:
    if problem is not None:
        raise Invalid.at(pointer, problem)


def _stored(values: Sequence[str]) -> str:
    return " ".join(dict.fromkeys(values))


def _new_secret(call: Call) -> str:
    random = call.use(Entropy).token(SECRET_BYTES)
    return SECRET_PREFIX + base64.urlsafe_b64encode(random).rstrip(b"=").decode()
