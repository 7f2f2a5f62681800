"""Operations on organisations and their members."""

import msgspec

from mainspring import Call, Conflict, Invalid, NotFound, Page, PageQuery, Response, handles, is_id
from mainspring.kernel.etag import version_tag
from mainspring.services.users import access, api, membership, model, store
from mainspring.services.users.api.errors import LastOwner, RoleBeyondYours, TooManyOrganizations
from mainspring.services.users.api.organizations import (
    MemberChange,
    NewOrganization,
    OrganizationQuery,
    Transfer,
)
from mainspring.services.users.api.structs import Member, Organization
from mainspring.services.users.presenter import present_member, present_organization
from mainspring.services.users.store import (
    MEMBERS,
    ORGANIZATIONS,
    USERS,
    KnownUser,
    MemberRow,
    OrganizationRow,
)


@handles(api.create_organization)
async def create_organization(call: Call, new: NewOrganization) -> Response[Organization]:
    name = model.organization_name(new.name)
    user = await access.myself(call)
    row = OrganizationRow(call.new_id("org"), call.tenant, 1, name, call.now_ms, call.now_ms)
    call.write(ORGANIZATIONS.insert(row, on_conflict=Conflict))
    call.emit(api.OrganizationCreated(row.id, row.name))
    await stage_member(call, row, user, model.OWNER_ROLE)
    return answer(row, model.OWNER_ROLE)


@handles(api.list_organizations)
async def list_organizations(call: Call, query: OrganizationQuery) -> Page[Organization]:
    start, tenant = query.after_id("org"), call.tenant
    if query.all:
        if not call.caller.allows(api.READ):
            raise Invalid.at("/all", f"lists what is not yours: that takes the scope {api.READ}")
        rows = await call.page(
            store.ORGANIZATION_PAGE,
            tenant=tenant, user_id=call.caller.id or "", after=start, limit=query.limit,
        )  # fmt: skip
    else:
        user = await access.myself(call)
        rows = await call.page(
            store.ORGANIZATION_PAGE_OF,
            tenant=tenant, user_id=user.id, after=start, limit=query.limit,
        )  # fmt: skip
    return Page.of(rows, lambda row: present_organization(row, row.role), lambda row: row.id)


@handles(api.get_organization)
async def get_organization(call: Call, id: str) -> Response[Organization]:
    return answer(*await membership.seen(call, id))


@handles(api.update_organization)
async def update_organization(
    call: Call, id: str, changes: NewOrganization
) -> Response[Organization | None]:
    row, _ = await membership.changeable(call, id)
    mine = await membership.member(call, row.id, call.caller.id or "")
    role = None if mine is None else mine.role
    call.require_match(_tag(row, role))
    changed = {"name": model.organization_name(changes.name), "updated_ms": call.now_ms}
    call.write(ORGANIZATIONS.update(row, **changed))
    row = msgspec.structs.replace(row, version=row.version + 1, **changed)
    call.emit(api.OrganizationUpdated(row.id, row.name))
    readable = role is not None or call.caller.allows(api.READ)
    return Response.shown_if(readable, present_organization(row, role), etag=_tag(row, role))


@handles(api.delete_organization)
async def delete_organization(call: Call, id: str) -> None:
    row, _ = await membership.changeable(call, id, least=model.OWNERS)
    await membership.end_organization(call, row)


@handles(api.transfer_organization)
async def transfer_organization(call: Call, id: str, transfer: Transfer) -> None:
    row, role = await membership.seen(call, id)
    mine = await membership.member(call, row.id, call.caller.id or "")
    if mine is None or role != model.OWNER_ROLE:
        raise RoleBeyondYours("only an owner hands an organisation over")
    other = await membership.member(call, row.id, transfer.user_id)
    if other is None or other.user_id == mine.user_id:
        raise Invalid.at("/user_id", "is not another member of this organisation")
    _touch(call, row)
    _set_role(call, other, model.OWNER_ROLE)
    _set_role(call, mine, model.ORG_ADMIN_ROLE)


@handles(api.list_members)
async def list_members(call: Call, organization_id: str, query: PageQuery) -> Page[Member]:
    row, role = await membership.seen(call, organization_id)
    rows = await call.page(
        store.MEMBER_PAGE,
        tenant=call.tenant,
        organization_id=row.id,
        after=query.after_id("user"),
        limit=query.limit,
    )
    whole = call.caller.allows(api.READ) or (role is not None and model.power(role) > 0)
    return Page.of(rows, lambda found: present_member(found, whole), lambda found: found.user_id)


@handles(api.update_member)
async def update_member(call: Call, organization_id: str, id: str, change: MemberChange) -> None:
    role = model.organization_role(change.role)
    row, power = await membership.changeable(call, organization_id)
    member = await _member(call, row, id)
    membership.require_manages(power, member.role, role)
    if member.role == role:
        return
    if member.role == model.OWNER_ROLE:
        await _require_other_owner(call, member)
    _touch(call, row)
    _set_role(call, member, role)


@handles(api.delete_member)
async def delete_member(call: Call, organization_id: str, id: str) -> None:
    if call.caller.kind == "user" and id == call.caller.id:
        row, role = await membership.seen(call, organization_id)
        if role is None:
            raise NotFound()
        member, reason = await _member(call, row, id), "left"
    else:
        row, power = await membership.changeable(call, organization_id)
        member, reason = await _member(call, row, id), "removed"
        membership.require_manages(power, member.role)
    if member.role == model.OWNER_ROLE:
        await _require_other_owner(call, member)
    await membership.end_member(call, row, member, reason)


async def stage_member(
    call: Call,
    row: OrganizationRow,
    user: KnownUser,
    role: str,
    invitation_id: str | None = None,
) -> None:
    """Stage that a user joins. Raises TooManyOrganizations.

    The user's version counts: of two that one joins at once the second counts again, and who is
    deleted meanwhile does not join.
    """
    of_user = {"tenant": call.tenant, "user_id": user.id}
    most = model.ORGANIZATIONS_MAX
    held = await call.all(store.MEMBERSHIPS_OF, **of_user, limit=most)
    if len(held) >= most:
        raise TooManyOrganizations(f"one belongs to at most {most} organisations: leave one first")
    call.write(USERS.update(user))
    member = MemberRow(call.tenant, row.id, user.id, role, call.now_ms)
    call.write(MEMBERS.insert(member, on_conflict=Conflict))
    call.emit(api.MemberAdded(row.id, user.id, role, invitation_id))


def answer(row: OrganizationRow, role: str | None) -> Response[Organization]:
    """Answer an organisation to somebody who has this role in it."""
    return Response(present_organization(row, role), etag=_tag(row, role))


def _tag(row: OrganizationRow, role: str | None) -> str:
    return version_tag(row.version, role or "")


def _touch(call: Call, row: OrganizationRow) -> None:
    call.write(ORGANIZATIONS.update(row, updated_ms=call.now_ms))


def _set_role(call: Call, member: MemberRow, role: str) -> None:
    """Stage another role; the organisation's row, which guards it, is staged before."""
    of_member = {"organization_id": member.organization_id, "user_id": member.user_id}
    call.write(store.SET_MEMBER_ROLE(tenant=call.tenant, **of_member, role=role))
    call.emit(api.MemberUpdated(**of_member, role=role))


async def _member(call: Call, row: OrganizationRow, id: str) -> MemberRow:
    found = await membership.member(call, row.id, id) if is_id(id, "user") else None
    if found is None:
        raise NotFound()
    return found


async def _require_other_owner(call: Call, member: MemberRow) -> None:
    of_member = {"organization_id": member.organization_id, "user_id": member.user_id}
    if await call.find(store.OTHER_OWNER, tenant=call.tenant, **of_member) is None:
        raise LastOwner("make somebody else the owner first, or delete the organisation")
