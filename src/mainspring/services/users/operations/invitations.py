"""Operations on invitations into organisations."""

import msgspec

from mainspring import Call, NotFound, Page, PageQuery, Rerun, Response, handles, is_id
from mainspring.services.users import access, api, mailing, membership, model, password_check, store
from mainspring.services.users.api.errors import (
    AddressNotProved,
    AlreadyMember,
    BadMailToken,
    InvitationExists,
    MailThrottled,
    RoleBeyondYours,
    TooManyInvitations,
    TooManyMembers,
)
from mainspring.services.users.api.organizations import InvitationProof, NewInvitation
from mainspring.services.users.api.structs import Invitation, Organization, OwnInvitation
from mainspring.services.users.operations.organizations import answer, stage_member
from mainspring.services.users.presenter import present_invitation, present_own_invitation
from mainspring.services.users.store import INVITATIONS, ORGANIZATIONS, InvitationRow


@handles(api.create_invitation)
async def create_invitation(
    call: Call, organization_id: str, new: NewInvitation
) -> Response[Invitation]:
    email, role = model.email(new.email), model.organization_role(new.role)
    row, power = await membership.changeable(call, organization_id)
    membership.require_manages(power, role)
    key = model.email_key(email)
    of_organization = {"tenant": call.tenant, "organization_id": row.id}
    # Whoever manages members sees their addresses: of others the answer tells nothing.
    holder = await password_check.find_user(call, email)
    if await membership.member(call, row.id, "" if holder is None else holder.id) is not None:
        raise AlreadyMember("somebody with this address belongs to the organisation")
    former = await call.find(store.INVITATION_TO, **of_organization, email_key=key)
    if former is not None and former.expires_ms > call.now_ms:
        raise InvitationExists("this address is invited: send that one again, or take it back")
    if former is not None:
        call.write(store.SPEND_INVITATION(id=former.id))
    most = model.INVITATIONS_MAX
    waiting = await call.page(
        store.INVITATION_PAGE,
        tenant=call.tenant, organization_id=row.id, after="", now_ms=call.now_ms, limit=most,
    )  # fmt: skip
    if len(waiting.items) >= most:
        raise TooManyInvitations(f"at most {most} invitations wait: take one back first")
    invitation_id = call.new_id("inv")
    invitation = InvitationRow(
        id=invitation_id,
        tenant=call.tenant,
        organization_id=row.id,
        email=email,
        email_key=key,
        role=role,
        hash=model.secret_hash(mailing.token_text(call, invitation_id)),
        inviter_id=call.caller.actor,
        created_ms=call.now_ms,
        expires_ms=_expires_ms(call),
    )
    call.write(ORGANIZATIONS.update(row))  # of two that invite at once the second counts again
    call.write(INVITATIONS.insert(invitation, on_conflict=Rerun))
    await _mail(call, invitation)
    call.emit(api.InvitationCreated(row.id, invitation.id, role, invitation.inviter_id))
    return Response(present_invitation(invitation))


@handles(api.list_invitations)
async def list_invitations(call: Call, organization_id: str, query: PageQuery) -> Page[Invitation]:
    row, _ = await membership.changeable(call, organization_id)
    mine = await membership.member(call, row.id, call.caller.id or "")
    if mine is None and not call.caller.allows(api.READ):
        raise RoleBeyondYours(f"invitations show to members, or to the scope {api.READ}")
    rows = await call.page(
        store.INVITATION_PAGE,
        tenant=call.tenant,
        organization_id=row.id,
        after=query.after_id("inv"),
        now_ms=call.now_ms,
        limit=query.limit,
    )
    return Page.of(rows, present_invitation, lambda found: found.id)


@handles(api.resend_invitation)
async def resend_invitation(call: Call, organization_id: str, id: str) -> None:
    invitation = await _managed(call, organization_id, id)
    extend = store.EXTEND_INVITATION(id=invitation.id, expires_ms=_expires_ms(call))
    call.write(extend.expect(1, NotFound))
    await _mail(call, invitation)


@handles(api.delete_invitation)
async def delete_invitation(call: Call, organization_id: str, id: str) -> None:
    invitation = await _managed(call, organization_id, id)
    call.write(store.SPEND_INVITATION(id=invitation.id).expect(1, NotFound))
    call.emit(api.InvitationRevoked(invitation.organization_id, invitation.id))


@handles(api.list_own_invitations)
async def list_own_invitations(call: Call, query: PageQuery) -> Page[OwnInvitation]:
    user = await access.myself(call)
    start = query.after_id("inv")
    if not user.email_verified:
        return Page([])
    rows = await call.page(
        store.OWN_INVITATION_PAGE,
        tenant=call.tenant,
        email_key=user.email_key,
        after=start,
        now_ms=call.now_ms,
        limit=query.limit,
    )
    return Page.of(rows, present_own_invitation, lambda found: found.id)


@handles(api.accept_invitation)
async def accept_invitation(call: Call, given: InvitationProof) -> Response[Organization]:
    user = await access.myself(call)
    invitation, refusal = await _invited(call, given)
    await _require_mine(call, invitation, given, refusal)
    row = await call.find(store.ORGANIZATION, id=invitation.organization_id, tenant=call.tenant)
    if row is None or not await membership.inviter_may(call, invitation):
        raise refusal
    call.write(ORGANIZATIONS.update(row, updated_ms=call.now_ms))
    row = msgspec.structs.replace(row, version=row.version + 1, updated_ms=call.now_ms)
    call.write(store.SPEND_INVITATION(id=invitation.id).expect(1, refusal))
    known = await membership.member(call, row.id, user.id)
    if known is not None:  # by another way, meanwhile
        return answer(row, known.role)
    of_organization = {"tenant": call.tenant, "organization_id": row.id}
    members = await call.all(store.MEMBERS_OF, **of_organization, limit=model.MEMBERS_MAX)
    if len(members) >= model.MEMBERS_MAX:
        raise TooManyMembers(f"an organisation has at most {model.MEMBERS_MAX:,} members")
    await stage_member(call, row, user, invitation.role, invitation.id)
    return answer(row, invitation.role)


@handles(api.decline_invitation)
async def decline_invitation(call: Call, given: InvitationProof) -> None:
    invitation, refusal = await _invited(call, given)
    if given.token is None:  # else whoever holds it reads the address
        await _require_mine(call, invitation, given, refusal)
    call.write(store.SPEND_INVITATION(id=invitation.id).expect(1, refusal))
    call.emit(api.InvitationDeclined(invitation.organization_id, invitation.id))


async def _invited(call: Call, given: InvitationProof) -> tuple[InvitationRow, BadMailToken]:
    """Return the invitation that a token or an id stands for, and how to refuse it."""
    if (given.token is None) == (given.id is None):
        raise BadMailToken.at("/token", "give one of token and id")
    found: InvitationRow | None
    if given.token is not None:
        refusal = BadMailToken.at("/token", "is unknown, used, taken back or expired")
        hashed = model.secret_hash(given.token)
        found = await call.find(store.INVITATION_BY_HASH, tenant=call.tenant, hash=hashed)
    else:
        refusal = BadMailToken.at("/id", "is unknown, used, taken back or expired")
        found = await call.find(store.INVITATION, tenant=call.tenant, id=given.id)
    if found is None or found.expires_ms <= call.now_ms:
        raise refusal
    return found, refusal


async def _require_mine(
    call: Call, invitation: InvitationRow, given: InvitationProof, refusal: BadMailToken
) -> None:
    """Let only those pass whose proved address is invited. An id tells others nothing."""
    user = await access.myself(call)
    if user.email_key != invitation.email_key:
        if given.token is None:
            raise refusal
        raise AddressNotProved("it is for another address than that of your account")
    if not user.email_verified:
        raise AddressNotProved("prove your address first, with the mail that was sent to it")


async def _managed(call: Call, organization_id: str, id: str) -> InvitationRow:
    row, power = await membership.changeable(call, organization_id)
    found = None
    if is_id(id, "inv"):
        found = await call.find(store.INVITATION, id=id, tenant=call.tenant)
    if found is None or found.organization_id != row.id:
        raise NotFound()
    membership.require_manages(power, found.role)
    return found


async def _mail(call: Call, invitation: InvitationRow) -> None:
    """Stage the mail of an invitation. Raises MailThrottled.

    Counted for the organisation and the address, so that what one does tells another nothing; an
    address that has had all that it gets in a day finds the invitation in its account only.
    """
    await mailing.count_for_caller(call)
    said = f"{invitation.organization_id}/{invitation.email_key}"
    account = mailing.mailed(call, said, mailing.Purpose.INVITATION)
    if wait_ms := await mailing.mail_wait_ms(call, account):
        raise MailThrottled(
            "this address was invited just now: try again later", retry_after_s=wait_ms / 1000
        )
    if await mailing.has_room(call, invitation.email_key):
        call.enqueue(api.send_invitation, invitation_id=invitation.id, mail_id=call.new_id("mtok"))


def _expires_ms(call: Call) -> int:
    return call.now_ms + call.use(api.UsersSettings).invitation_s * 1000
