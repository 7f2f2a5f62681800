"""Who may do what in an organisation, and the end of memberships.

Its own room because deleting a user asks it too, not only the operations on organisations.
"""

from mainspring import Authority, Call, Caller, NotFound, is_id
from mainspring.services.users import access, api, model, store
from mainspring.services.users.api.errors import RoleBeyondYours, SessionNeeded
from mainspring.services.users.store import (
    MEMBERS,
    ORGANIZATIONS,
    InvitationRow,
    MemberRow,
    OrganizationRow,
)


async def seen(call: Call, id: str) -> tuple[OrganizationRow, str | None]:
    """Return an organisation and the caller's role in it; None for who reads any.

    Raises NotFound where the caller may not know of it, SessionNeeded for keys of people.
    """
    if not is_id(id, "org"):
        raise NotFound()
    if call.caller.kind != "user" and not call.caller.allows(api.READ):
        raise SessionNeeded("organisations are for users who log in, or for the scope users:read")
    row = await call.one(store.ORGANIZATION, id=id, tenant=call.tenant)
    mine = await member(call, row.id, call.caller.id or "")
    if mine is None and not call.caller.allows(api.READ):
        raise NotFound()
    if mine is None:
        await access.note_read(call, None)
    return row, None if mine is None else mine.role


async def changeable(
    call: Call, id: str, *, least: int = model.ADMINS
) -> tuple[OrganizationRow, int]:
    """Return an organisation that the caller may change, and how far its power goes there.

    Raises RoleBeyondYours for members who may not.
    """
    if is_id(id, "org") and call.caller.allows(api.WRITE):
        return await call.one(store.ORGANIZATION, id=id, tenant=call.tenant), model.OWNERS
    row, role = await seen(call, id)
    power = 0 if role is None else model.power(role)
    if power < least:
        who = "its owners" if least == model.OWNERS else "its owners and admins"
        raise RoleBeyondYours(f"only {who} may do this to an organisation")
    return row, power


async def member(call: Call, organization_id: str, user_id: str) -> MemberRow | None:
    """Return what somebody is in an organisation."""
    return await call.find(
        store.MEMBER, tenant=call.tenant, organization_id=organization_id, user_id=user_id
    )


def require_manages(power: int, *roles: str) -> None:
    """Let owners manage everybody, and admins who is neither. Raises RoleBeyondYours."""
    if not model.manages(power, *roles):
        raise RoleBeyondYours("only owners make, change and remove owners and admins")


async def inviter_may(call: Call, invitation: InvitationRow) -> bool:
    """Tell whether whoever invited somebody may still do so: a member, or who may write users."""
    authority, now_ms = call.use(Authority), call.now_ms
    inviter: Caller | None = await authority.current(invitation.inviter_id, call.tenant, now_ms)
    if inviter is None:
        return False
    mine = await member(call, invitation.organization_id, invitation.inviter_id)
    if mine is not None and model.manages(model.power(mine.role), invitation.role):
        return True
    return inviter.allows(api.WRITE)


async def end_memberships(call: Call, user_id: str) -> None:
    """Stage the end of a user's memberships."""
    limit = model.ORGANIZATIONS_MAX
    for row in await call.all(
        store.MEMBERSHIPS_OF, tenant=call.tenant, user_id=user_id, limit=limit
    ):
        organization = await call.one(
            store.ORGANIZATION, id=row.organization_id, tenant=call.tenant
        )
        await end_member(call, organization, row, "deleted")


async def end_member(
    call: Call, organization: OrganizationRow, row: MemberRow, reason: str
) -> None:
    """Stage the end of one membership; with the last the organisation ends.

    The organisation's row goes first, and is the guard.
    """
    if await call.find(store.OTHER_MEMBER, **_of(row)) is None:
        await end_organization(call, organization)
        return
    call.write(ORGANIZATIONS.update(organization, updated_ms=call.now_ms))
    call.write(MEMBERS.delete_unguarded(row))
    call.emit(api.MemberRemoved(row.organization_id, row.user_id, reason))


async def end_organization(call: Call, organization: OrganizationRow) -> None:
    """Stage the end of an organisation, of its members and of who is invited."""
    of_organization = {"tenant": call.tenant, "organization_id": organization.id}
    members = await call.all(store.MEMBERS_OF, **of_organization, limit=model.MEMBERS_MAX)
    call.write(ORGANIZATIONS.delete(organization))
    call.write(store.END_MEMBERS(**of_organization), store.END_INVITATIONS(**of_organization))
    for row in members:
        call.emit(api.MemberRemoved(organization.id, row.user_id, "organization_deleted"))
    call.emit(api.OrganizationDeleted(organization.id))


def _of(row: MemberRow) -> dict[str, str]:
    return {
        "tenant": row.tenant, "organization_id": row.organization_id, "user_id": row.user_id
    }  # fmt: skip
