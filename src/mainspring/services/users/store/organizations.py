"""SQL of organisations, their members and who is invited."""

import msgspec

from mainspring import Query, Statement, Table


class OrganizationRow(msgspec.Struct, frozen=True):
    """An organisation. Whoever changes its members changes its version."""

    id: str
    tenant: str
    version: int
    name: str
    created_ms: int
    updated_ms: int


class OwnOrganization(OrganizationRow, frozen=True):
    """An organisation and the role that somebody has in it, if any."""

    role: str | None


class MemberRow(msgspec.Struct, frozen=True):
    """That a user belongs to an organisation, and as what."""

    tenant: str
    organization_id: str
    user_id: str
    role: str
    joined_ms: int


class KnownMember(MemberRow, frozen=True):
    """A member with what others are told of the person."""

    display_name: str
    email: str


class InvitationRow(msgspec.Struct, frozen=True):
    """That somebody who reads an address may join an organisation."""

    id: str
    tenant: str
    organization_id: str
    email: str
    email_key: str
    role: str
    hash: bytes
    inviter_id: str
    created_ms: int
    expires_ms: int


class OwnInvitationRow(msgspec.Struct, frozen=True):
    """An invitation as the invited see it."""

    id: str
    organization_id: str
    organization_name: str
    role: str
    expires_ms: int


ORGANIZATIONS = Table("users_organizations", OrganizationRow, key=("id",))
MEMBERS = Table("users_members", MemberRow, key=("tenant", "organization_id", "user_id"))
INVITATIONS = Table("users_invitations", InvitationRow, key=("id",))

ORGANIZATION = Query(
    "users.organization",
    f"SELECT {ORGANIZATIONS.columns} FROM users_organizations WHERE id = :id AND tenant = :tenant",
    ORGANIZATIONS,
)
_WITH_ROLE = """
    SELECT o.id, o.tenant, o.version, o.name, o.created_ms, o.updated_ms, m.role"""
ORGANIZATION_PAGE = Query(
    "users.organization_page",
    f"""{_WITH_ROLE} FROM users_organizations o
    LEFT JOIN users_members m ON m.tenant = o.tenant AND m.organization_id = o.id
        AND m.user_id = :user_id
    WHERE o.tenant = :tenant AND o.id > :after ORDER BY o.id LIMIT :limit""",
    OwnOrganization,
)
ORGANIZATION_PAGE_OF = Query(
    "users.organization_page_of",
    f"""{_WITH_ROLE} FROM users_members m JOIN users_organizations o ON o.id = m.organization_id
    WHERE m.tenant = :tenant AND m.user_id = :user_id AND m.organization_id > :after
    ORDER BY m.organization_id LIMIT :limit""",
    OwnOrganization,
)
# Whoever refers to an organisation keeps it until the commit: SQLite has one writer anyway.
HOLD_ORGANIZATION = Statement(
    "users.hold_organization",
    "UPDATE users_organizations SET version = version WHERE id = :id AND tenant = :tenant",
    postgres="SELECT 1 FROM users_organizations WHERE id = :id AND tenant = :tenant FOR SHARE",
)

MEMBER = Query(
    "users.member",
    f"SELECT {MEMBERS.columns} FROM users_members"
    " WHERE tenant = :tenant AND organization_id = :organization_id AND user_id = :user_id",
    MEMBERS,
)
MEMBER_PAGE = Query(
    "users.member_page",
    """SELECT m.tenant, m.organization_id, m.user_id, m.role, m.joined_ms,
        u.display_name, u.email
    FROM users_members m JOIN users_users u ON u.id = m.user_id
    WHERE m.tenant = :tenant AND m.organization_id = :organization_id AND m.user_id > :after
    ORDER BY m.user_id LIMIT :limit""",
    KnownMember,
)
MEMBERS_OF = Query(
    "users.members_of",
    f"SELECT {MEMBERS.columns} FROM users_members"
    " WHERE tenant = :tenant AND organization_id = :organization_id ORDER BY user_id LIMIT :limit",
    MEMBERS,
)
MEMBERSHIPS_OF = Query(
    "users.memberships_of",
    f"SELECT {MEMBERS.columns} FROM users_members"
    " WHERE tenant = :tenant AND user_id = :user_id ORDER BY organization_id LIMIT :limit",
    MEMBERS,
)
OTHER_MEMBER = Query(
    "users.other_member",
    f"SELECT {MEMBERS.columns} FROM users_members"
    " WHERE tenant = :tenant AND organization_id = :organization_id AND user_id <> :user_id"
    " LIMIT 1",
    MEMBERS,
)
OTHER_OWNER = Query(
    "users.other_owner",
    f"SELECT {MEMBERS.columns} FROM users_members"
    " WHERE tenant = :tenant AND organization_id = :organization_id AND user_id <> :user_id"
    " AND role = 'owner' LIMIT 1",
    MEMBERS,
)
SET_MEMBER_ROLE = Statement(
    "users.set_member_role",
    "UPDATE users_members SET role = :role WHERE tenant = :tenant"
    " AND organization_id = :organization_id AND user_id = :user_id",
)
END_MEMBERS = Statement(
    "users.end_members",
    "DELETE FROM users_members WHERE tenant = :tenant AND organization_id = :organization_id",
)

INVITATION = Query(
    "users.invitation",
    f"SELECT {INVITATIONS.columns} FROM users_invitations WHERE id = :id AND tenant = :tenant",
    INVITATIONS,
)
INVITATION_BY_HASH = Query(
    "users.invitation_by_hash",
    f"SELECT {INVITATIONS.columns} FROM users_invitations WHERE hash = :hash AND tenant = :tenant",
    INVITATIONS,
)
INVITATION_TO = Query(
    "users.invitation_to",
    f"SELECT {INVITATIONS.columns} FROM users_invitations WHERE tenant = :tenant"
    " AND organization_id = :organization_id AND email_key = :email_key",
    INVITATIONS,
)
INVITATION_PAGE = Query(
    "users.invitation_page",
    f"SELECT {INVITATIONS.columns} FROM users_invitations WHERE tenant = :tenant"
    " AND organization_id = :organization_id AND id > :after AND expires_ms > :now_ms"
    " ORDER BY id LIMIT :limit",
    INVITATIONS,
)
OWN_INVITATION_PAGE = Query(
    "users.own_invitation_page",
    """SELECT i.id, i.organization_id, o.name, i.role, i.expires_ms
    FROM users_invitations i JOIN users_organizations o ON o.id = i.organization_id
    WHERE i.tenant = :tenant AND i.email_key = :email_key AND i.id > :after
        AND i.expires_ms > :now_ms
    ORDER BY i.id LIMIT :limit""",
    OwnInvitationRow,
)
EXTEND_INVITATION = Statement(
    "users.extend_invitation",
    "UPDATE users_invitations SET expires_ms = :expires_ms WHERE id = :id",
)
SPEND_INVITATION = Statement(
    "users.spend_invitation", "DELETE FROM users_invitations WHERE id = :id"
)
END_INVITATIONS = Statement(
    "users.end_invitations",
    "DELETE FROM users_invitations WHERE tenant = :tenant AND organization_id = :organization_id",
)
END_INVITATIONS_TO = Statement(
    "users.end_invitations_to",
    "DELETE FROM users_invitations WHERE tenant = :tenant AND email_key = :email_key",
)
