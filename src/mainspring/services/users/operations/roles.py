"""Operations on roles. A role is changed only by those who hold everything it gives."""

import re

import msgspec

from mainspring import (
    Call,
    Invalid,
    NotFound,
    Page,
    PageQuery,
    Response,
    handles,
)
from mainspring.kernel.etag import version_tag
from mainspring.services.users import access, api, model, store
from mainspring.services.users.api.errors import RoleBuiltIn, RoleTaken
from mainspring.services.users.api.structs import NewRole, Role, RoleChanges
from mainspring.services.users.presenter import present_role
from mainspring.services.users.store import ROLES, RoleRow

_NAME = re.compile(model.ROLE_PATTERN.removesuffix("$"))


@handles(api.create_role)
async def create_role(call: Call, new: NewRole) -> Response[Role]:
    if _NAME.fullmatch(new.name) is None:
        raise Invalid.at(
            "/name", "must be lower case letters, digits and '_', and begin with a letter"
        )
    access.require_held(call, new.scopes)
    row = RoleRow(
        id=call.new_id("role"),
        tenant=call.tenant,
        name=new.name,
        version=1,
        scopes=model.stored(new.scopes),
        created_ms=call.now_ms,
        updated_ms=call.now_ms,
    )
    call.write(ROLES.insert(row, on_conflict=RoleTaken))
    call.emit(api.RoleCreated(row.name, model.words(row.scopes)))
    return _answer(row)


@handles(api.list_roles)
async def list_roles(call: Call, query: PageQuery) -> Page[Role]:
    rows = await call.page(
        store.ROLE_PAGE, tenant=call.tenant, after=query.cursor or "", limit=query.limit
    )
    return Page.of(rows, present_role, lambda row: row.name)


@handles(api.get_role)
async def get_role(call: Call, name: str) -> Response[Role]:
    return _answer(await _role(call, name))


@handles(api.update_role)
async def update_role(call: Call, name: str, changes: RoleChanges) -> Response[Role | None]:
    row = await _role(call, name)
    call.require_match(version_tag(row.version))
    if name == model.ADMIN_ROLE:
        raise RoleBuiltIn("administrators hold every scope, and always will")
    access.require_over(call, row.scopes)
    access.require_held(call, changes.scopes)
    changed = {"scopes": model.stored(changes.scopes), "updated_ms": call.now_ms}
    call.write(ROLES.update(row, **changed))
    row = msgspec.structs.replace(row, version=row.version + 1, **changed)
    call.emit(api.RoleUpdated(row.name, model.words(row.scopes)))
    readable = call.caller.allows(api.ROLES_READ)
    return Response.shown_if(readable, present_role(row), etag=version_tag(row.version))


@handles(api.delete_role)
async def delete_role(call: Call, name: str) -> None:
    row = await _role(call, name)
    call.require_match(version_tag(row.version))
    if name in model.BUILT_IN_ROLES:
        raise RoleBuiltIn("a built-in role cannot be deleted")
    access.require_over(call, row.scopes)
    call.write(ROLES.delete(row))
    call.write(store.TAKE_ROLE_FROM_ALL(tenant=call.tenant, role=name))
    call.emit(api.RoleDeleted(name))


def _answer(row: RoleRow) -> Response[Role]:
    return Response(present_role(row), etag=version_tag(row.version))


async def _role(call: Call, name: str) -> RoleRow:
    if _NAME.fullmatch(name) is None:
        raise NotFound()
    return await call.one(store.ROLE, tenant=call.tenant, name=name)
