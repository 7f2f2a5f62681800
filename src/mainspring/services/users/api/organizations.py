"""Contracts of organisations, of their members and of who is invited."""

from typing import Annotated

import msgspec

from mainspring import Call, Impersonated, Input, Page, PageQuery, RateClass, Response
from mainspring.services.users.api.errors import (
    AddressNotProved,
    AlreadyMember,
    BadMailToken,
    InvitationExists,
    LastOwner,
    MailThrottled,
    RoleBeyondYours,
    SessionNeeded,
    TooManyInvitations,
    TooManyMembers,
    TooManyOrganizations,
)
from mainspring.services.users.api.settings import OWN, RECENT_S, service
from mainspring.services.users.api.structs import (
    Email,
    Invitation,
    Member,
    Organization,
    OwnInvitation,
    Token,
)
from mainspring.services.users.model import MEMBER_ROLE, ROLE_PATTERN

OrganizationName = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=100, description="one line, with no link in it"),
]
OrganizationRole = Annotated[
    str,
    msgspec.Meta(
        pattern=ROLE_PATTERN,
        max_length=63,
        description="`owner`, `admin`, `member`, or a name of your own that may what a member may",
    ),
]


class NewOrganization(Input, frozen=True):
    """An organisation to be. Whoever makes it is its owner."""

    name: OrganizationName


class OrganizationQuery(PageQuery, frozen=True):
    """Which organisations: your own, or with ``all`` everybody's, which takes ``users:read``."""

    all: bool = False


class Transfer(Input, frozen=True):
    """The member who is to be the owner in your place."""

    user_id: Annotated[str, msgspec.Meta(max_length=100)]


class MemberChange(Input, frozen=True):
    """What a member is from now on."""

    role: OrganizationRole


class NewInvitation(Input, frozen=True):
    """Whom to invite, and as what."""

    email: Email
    role: OrganizationRole = MEMBER_ROLE


class InvitationProof(Input, frozen=True):
    """Either the ``token`` out of the mail, or the ``id`` of one to your own address."""

    token: Token | None = None
    id: Annotated[str, msgspec.Meta(max_length=100)] | None = None


@service.contract.operation(
    "POST /v1/organizations", scope=OWN, status=201, raises=(SessionNeeded, TooManyOrganizations)
)
async def create_organization(call: Call, new: NewOrganization) -> Response[Organization]:
    """Make an organisation, whose owner you are.

    Emits users.organization.created, users.member.added.
    """


@service.contract.operation("GET /v1/organizations", scope=OWN, raises=(SessionNeeded,))
async def list_organizations(call: Call, query: OrganizationQuery) -> Page[Organization]:
    """List the organisations that you belong to, the oldest first."""


@service.contract.operation("GET /v1/organizations/{id}", scope=OWN, raises=(SessionNeeded,))
async def get_organization(call: Call, id: str) -> Response[Organization]:
    """Read an organisation that you belong to. Those who may read users read any."""


@service.contract.operation(
    "PATCH /v1/organizations/{id}",
    scope=OWN,
    raises=(SessionNeeded, RoleBeyondYours),
    impersonated=Impersonated.WRITES,
)
async def update_organization(
    call: Call, id: str, changes: NewOrganization
) -> Response[Organization | None]:
    """Rename an organisation as its owner or admin. Emits users.organization.updated.

    What owners may, those with the scope ``users:write`` may in every organisation.
    """


@service.contract.operation(
    "DELETE /v1/organizations/{id}",
    scope=OWN,
    recent_s=RECENT_S,
    raises=(SessionNeeded, RoleBeyondYours),
)
async def delete_organization(call: Call, id: str) -> None:
    """Delete an organisation as its owner: nobody is its member when this is answered.

    Records that point at it go or let go, as their fields say. Emits users.member.removed for each
    member, users.organization.deleted.
    """


@service.contract.operation(
    "POST /v1/organizations/{id}:transfer",
    scope=OWN,
    status=204,
    recent_s=RECENT_S,
    raises=(SessionNeeded, RoleBeyondYours),
)
async def transfer_organization(call: Call, id: str, transfer: Transfer) -> None:
    """Make another member the owner in your place; you are an admin from then on.

    Emits users.member.updated for both.
    """


@service.contract.operation(
    "GET /v1/organizations/{organization_id}/members", scope=OWN, raises=(SessionNeeded,)
)
async def list_members(call: Call, organization_id: str, query: PageQuery) -> Page[Member]:
    """List the members; owners and admins are shown their addresses."""


@service.contract.operation(
    "PATCH /v1/organizations/{organization_id}/members/{id}",
    scope=OWN,
    status=204,
    raises=(SessionNeeded, RoleBeyondYours, LastOwner),
)
async def update_member(call: Call, organization_id: str, id: str, change: MemberChange) -> None:
    """Give a member another role. Owners give any; admins do not make or change owners and admins.

    Emits users.member.updated.
    """


@service.contract.operation(
    "DELETE /v1/organizations/{organization_id}/members/{id}",
    scope=OWN,
    raises=(SessionNeeded, RoleBeyondYours, LastOwner),
)
async def delete_member(call: Call, organization_id: str, id: str) -> None:
    """Remove a member, or leave. No rule takes them for a member once this is answered.

    The last owner hands the organisation over first, or deletes it. Emits users.member.removed.
    """


@service.contract.operation(
    "POST /v1/organizations/{organization_id}/invitations",
    scope=OWN,
    status=201,
    rate=RateClass.LOGIN,
    raises=(
        SessionNeeded, RoleBeyondYours, AlreadyMember, InvitationExists, TooManyInvitations,
        MailThrottled,
    ),
)  # fmt: skip
async def create_invitation(
    call: Call, organization_id: str, new: NewInvitation
) -> Response[Invitation]:
    """Invite whoever reads an address, by mail; the answer does not tell who has an account.

    It holds while you may invite, for ``invitation_s`` of the settings. Emits
    users.invitation.created.
    """


@service.contract.operation(
    "GET /v1/organizations/{organization_id}/invitations",
    scope=OWN,
    raises=(SessionNeeded, RoleBeyondYours),
)
async def list_invitations(call: Call, organization_id: str, query: PageQuery) -> Page[Invitation]:
    """List the invitations that wait, as an owner or admin, or with the scope ``users:read``."""


@service.contract.operation(
    "POST /v1/organizations/{organization_id}/invitations/{id}:resend",
    scope=OWN,
    status=202,
    rate=RateClass.LOGIN,
    raises=(SessionNeeded, RoleBeyondYours, MailThrottled),
)
async def resend_invitation(call: Call, organization_id: str, id: str) -> None:
    """Mail an invitation once more, ever more seldom; it holds as long as a new one from now on."""


@service.contract.operation(
    "DELETE /v1/organizations/{organization_id}/invitations/{id}",
    scope=OWN,
    raises=(SessionNeeded, RoleBeyondYours),
)
async def delete_invitation(call: Call, organization_id: str, id: str) -> None:
    """Take an invitation back. Emits users.invitation.revoked."""


@service.contract.operation("GET /v1/users/me/invitations", scope=OWN, raises=(SessionNeeded,))
async def list_own_invitations(call: Call, query: PageQuery) -> Page[OwnInvitation]:
    """List the invitations to your address; none while the address is not proved."""


@service.contract.operation(
    "POST /v1/invitations:accept",
    scope=OWN,
    rate=RateClass.LOGIN,
    raises=(
        SessionNeeded, BadMailToken, AddressNotProved, TooManyMembers, TooManyOrganizations,
    ),
)  # fmt: skip
async def accept_invitation(call: Call, given: InvitationProof) -> Response[Organization]:
    """Join the organisation that invited your address, which must be proved. It holds once.

    Emits users.member.added.
    """


@service.contract.operation(
    "POST /v1/invitations:decline",
    scope=None,
    status=204,
    rate=RateClass.LOGIN,
    raises=(SessionNeeded, BadMailToken, AddressNotProved),
)
async def decline_invitation(call: Call, given: InvitationProof) -> None:
    """Decline an invitation: with the mailed token nobody need log in.

    Emits users.invitation.declined.
    """
