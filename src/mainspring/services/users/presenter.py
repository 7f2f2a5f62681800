"""What callers see of users, sessions, API keys and roles, and the tags of those versions."""

import zlib

from mainspring import rfc3339
from mainspring.kernel.etag import version_tag
from mainspring.services.users import devices, model, profiles
from mainspring.services.users.api.impersonations import ImpersonationInfo
from mainspring.services.users.api.oauth_structs import Authorization, OAuthClient
from mainspring.services.users.api.structs import (
    ApiKey,
    Invitation,
    LinkedIdentity,
    Member,
    Organization,
    OwnInvitation,
    Passkey,
    Role,
    Session,
    User,
    Whereabouts,
)
from mainspring.services.users.store import (
    ApiKeyRow,
    ImpersonationRow,
    InvitationRow,
    KnownMember,
    KnownUser,
    LinkedIdentityRow,
    NamedConsent,
    OAuthClientRow,
    OrganizationRow,
    OwnInvitationRow,
    PasskeyRow,
    RoleRow,
    SessionRow,
)


def present_user(user: KnownUser) -> User:
    """Write a user as callers see one."""
    return User(
        id=user.id,
        email=user.email,
        email_verified=user.email_verified,
        display_name=user.display_name,
        roles=model.words(user.roles),
        created_at=rfc3339(user.created_ms),
        updated_at=rfc3339(user.updated_ms),
        disabled_at=None if user.disabled_ms is None else rfc3339(user.disabled_ms),
        disabled_reason=user.disabled_reason,
        profile=profiles.read(user.profile),
        locale=user.locale or None,
    )


def user_tag(user: KnownUser) -> str:
    """The strong entity tag; roles count, because deleting a role takes it from its holders."""
    roles = zlib.crc32(" ".join(model.words(user.roles)).encode())
    return version_tag(user.version, f"{roles:x}")


def present_session(session: SessionRow, current: str | None, place: Whereabouts | None) -> Session:
    """Write a session as its user sees it; ``current`` is the id of the one that asks."""
    return Session(
        id=session.id,
        created_at=rfc3339(session.created_ms),
        refreshed_at=rfc3339(session.rotated_ms),
        expires_at=rfc3339(session.expires_ms),
        last_used_at=rfc3339(max(session.rotated_ms, session.auth_ms)),
        device=devices.device(session.user_agent),
        address=session.address,
        place=place,
        user_agent=session.user_agent,
        current=session.id == current,
        impersonator_id=session.impersonator_id,
    )


def present_api_key(row: ApiKeyRow) -> ApiKey:
    """Write a key as callers see one."""
    return ApiKey(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        scopes=model.words(row.scopes),
        owner_id=row.owner_id,
        created_at=rfc3339(row.created_ms),
        expires_at=None if row.expires_ms is None else rfc3339(row.expires_ms),
        maker_id=row.maker_id,
        addresses=model.words(row.addresses),
        last_used_at=None if row.used_ms is None else rfc3339(row.used_ms),
    )


def key_tag(row: ApiKeyRow) -> str:
    """The strong entity tag of a key; when it was last used is a part of what is shown."""
    return version_tag(row.version, f"{row.used_ms or 0:x}")


def present_role(row: RoleRow) -> Role:
    """Write a role as callers see one."""
    return Role(row.name, model.words(row.scopes), rfc3339(row.created_ms), rfc3339(row.updated_ms))


def present_identity(row: LinkedIdentityRow) -> LinkedIdentity:
    """Write an identity as its user sees it."""
    return LinkedIdentity(row.id, row.provider, row.issuer, row.subject, rfc3339(row.created_ms))


def present_oauth_client(row: OAuthClientRow) -> OAuthClient:
    """Write an application as those who may read it see it."""
    return OAuthClient(
        id=row.id,
        name=row.name,
        public=row.secret_hash is None,
        redirect_uris=row.redirect_uris.split(),
        post_logout_redirect_uris=row.post_logout_redirect_uris.split(),
        scopes=model.words(row.scopes),
        skips_consent=row.skips_consent,
        introspects=row.introspects,
        created_at=rfc3339(row.created_ms),
        updated_at=rfc3339(row.updated_ms),
    )


def present_authorization(row: NamedConsent) -> Authorization:
    """Write what a user lets an application have."""
    return Authorization(
        id=row.id,
        client_id=row.client_id,
        client_name=row.client_name,
        scopes=model.words(row.scopes),
        created_at=rfc3339(row.created_ms),
        updated_at=rfc3339(row.updated_ms),
    )


def present_organization(row: OrganizationRow, role: str | None) -> Organization:
    """Write an organisation as somebody sees it who has this role in it."""
    return Organization(row.id, row.name, role, rfc3339(row.created_ms), rfc3339(row.updated_ms))


def present_member(row: KnownMember, whole: bool) -> Member:
    """Write a member as callers see one; the address only for ``whole``."""
    email = row.email if whole else None
    return Member(row.user_id, row.role, row.display_name, email, rfc3339(row.joined_ms))


def present_invitation(row: InvitationRow) -> Invitation:
    """Write an invitation as owners and admins see it."""
    return Invitation(
        id=row.id,
        organization_id=row.organization_id,
        email=row.email,
        role=row.role,
        inviter_id=row.inviter_id,
        created_at=rfc3339(row.created_ms),
        expires_at=rfc3339(row.expires_ms),
    )


def present_own_invitation(row: OwnInvitationRow) -> OwnInvitation:
    """Write an invitation as the invited see it."""
    return OwnInvitation(
        row.id, row.organization_id, row.organization_name, row.role, rfc3339(row.expires_ms)
    )


def present_passkey(row: PasskeyRow) -> Passkey:
    """Write a passkey as its user sees it."""
    return Passkey(
        id=row.id,
        name=row.name,
        aaguid=row.aaguid,
        backup_eligible=row.backup_eligible,
        backed_up=row.backed_up,
        created_at=rfc3339(row.created_ms),
        last_used_at=None if row.used_ms is None else rfc3339(row.used_ms),
    )


def present_impersonation(row: ImpersonationRow) -> ImpersonationInfo:
    """Write who acts, or acted, as whom."""
    return ImpersonationInfo(
        id=row.id,
        user_id=row.user_id,
        impersonator_id=row.impersonator_id,
        reason=row.reason,
        write=row.writes,
        started_at=rfc3339(row.started_ms),
        expires_at=rfc3339(row.expires_ms),
        ended_at=None if row.ended_ms is None else rfc3339(row.ended_ms),
        ended_by=row.ended_by,
    )
