"""What the users service tells of."""

from typing import Annotated

import msgspec

from mainspring import Instant, Personal
from mainspring.services.users.api.settings import (
    API_KEYS_READ,
    OAUTH_CLIENTS_READ,
    ROLES_READ,
    service,
)
from mainspring.services.users.api.structs import User


@service.event("users.user.created", person="id")
class UserCreated(User, frozen=True):
    """Somebody signed up."""


@service.event("users.user.updated", person="id")
class UserUpdated(User, frozen=True):
    """Something about a user changed: the name, the address or its proof, the roles."""


@service.event("users.user.disabled", person="id")
class UserDisabled(msgspec.Struct, frozen=True):
    """Nothing that stands for this user holds until an administrator enables it again."""

    id: str
    reason: Annotated[str, Personal]


@service.event("users.user.enabled")
class UserEnabled(msgspec.Struct, frozen=True):
    """A user who was disabled may log in again; API keys of theirs hold again."""

    id: str


@service.event("users.user.deleted")
class UserDeleted(msgspec.Struct, frozen=True):
    """A user is gone, with all sessions and keys."""

    id: str


@service.event("users.user.erased", erases="id")
class UserErased(msgspec.Struct, frozen=True):
    """A person's key was destroyed: what events held of them can no longer be read."""

    id: str


@service.event("users.user.read")
class UserRead(msgspec.Struct, frozen=True):
    """An administrator looked at a user. Once an hour for each ``reader`` and user."""

    id: str
    reader: str


@service.event("users.user.listed", subject="reader")
class UsersListed(msgspec.Struct, frozen=True):
    """An administrator listed users, or looked for an address that nobody has. Once an hour."""

    reader: str


@service.event("users.impersonation.started", person="user_id")
class ImpersonationStarted(msgspec.Struct, frozen=True):
    """Somebody acts as a user from now on, in a session of this id."""

    id: str
    user_id: str
    impersonator_id: str
    reason: Annotated[str, Personal]
    write: bool
    expires_at: Instant


@service.event("users.impersonation.ended")
class ImpersonationEnded(msgspec.Struct, frozen=True):
    """Nobody acts as this user any more by this session. ``ended_by`` says what ended it.

    ``stopped``, ``expired``, or as of users.session.revoked, of the session that it was begun in
    too.
    """

    id: str
    user_id: str
    impersonator_id: str
    ended_by: str


@service.event("users.password.refused", subject="account")
class PasswordRefused(msgspec.Struct, frozen=True):
    """A wrong password. Of those in a row the 1st, 5th, 10th, 20th, 40th and so on leave it.

    ``account`` is a keyed hash of the address, ``user_id`` is null where nobody has it.
    """

    account: str
    user_id: str | None
    failures: int


@service.event("users.password.changed")
class PasswordChanged(msgspec.Struct, frozen=True):
    """A user has another password; ``how`` is ``change``, ``reset``, ``log_in`` or ``undo``.

    By mail somebody logged in whose address nobody had proved, or took a change of address back.
    """

    id: str
    how: str


@service.event("users.totp.enabled")
class TotpEnabled(msgspec.Struct, frozen=True):
    """A user logs in with an authenticator app as well from now on."""

    id: str


@service.event("users.totp.disabled")
class TotpDisabled(msgspec.Struct, frozen=True):
    """A user's authenticator app counts no more; ``how`` is ``user`` or ``admin``."""

    id: str
    how: str


@service.event("users.passkey.created")
class PasskeyCreated(msgspec.Struct, frozen=True):
    """A user logs in with this passkey from now on."""

    id: str
    passkey_id: str


@service.event("users.passkey.deleted")
class PasskeyDeleted(msgspec.Struct, frozen=True):
    """A passkey counts no more; ``how`` is ``user``, ``admin``, ``undo``, ``log_in`` or ``reset``.

    ``passkey_id`` is null where all that a user had, or has had since a theft, have ended.
    """

    id: str
    passkey_id: str | None
    how: str


@service.event("users.passkey.refused")
class PasskeyRefused(msgspec.Struct, frozen=True):
    """A passkey that counts how often it signs has gone back: there may be a copy of it."""

    id: str
    passkey_id: str


@service.event("users.recovery_codes.created")
class RecoveryCodesCreated(msgspec.Struct, frozen=True):
    """A user has other recovery codes; the former hold no more."""

    id: str


@service.event("users.recovery_code.used")
class RecoveryCodeUsed(msgspec.Struct, frozen=True):
    """A recovery code stood in for the second factor; so many are ``left``."""

    id: str
    left: int


@service.event("users.factor.refused")
class FactorRefused(msgspec.Struct, frozen=True):
    """A wrong code. Of those in a row the 1st, 5th, 10th, 20th, 40th and so on leave it."""

    id: str
    failures: int


@service.event("users.mail.bounced")
class MailBounced(msgspec.Struct, frozen=True):
    """A mail server refused a mail to a user for good; ``reason`` is what it said.

    ``purpose`` is what the mail was for: ``verify_email``, ``reset_password`` and so on.
    """

    id: str
    purpose: str
    reason: str


@service.event("users.identity.linked")
class IdentityLinked(msgspec.Struct, frozen=True):
    """A user logs in with an issuer from now on."""

    id: str
    identity_id: str
    provider: str


@service.event("users.identity.unlinked")
class IdentityUnlinked(msgspec.Struct, frozen=True):
    """A user logs in with this issuer no more."""

    id: str
    identity_id: str
    provider: str


@service.event("users.session.created")
class SessionCreated(msgspec.Struct, frozen=True):
    """Somebody logged in."""

    id: str
    user_id: str
    expires_at: Instant


@service.event("users.session.stepped_up")
class SessionSteppedUp(msgspec.Struct, frozen=True):
    """Somebody proved once more, in a session, who they are."""

    id: str
    user_id: str


@service.event("users.session.revoked")
class SessionRevoked(msgspec.Struct, frozen=True):
    """A session ended before its time.

    ``reason`` is ``logout``, ``password``, ``email``, ``too_many``, ``refresh_token_reused``,
    ``disabled`` or ``deleted``.
    """

    id: str
    user_id: str
    reason: str


@service.event("users.organization.created", subject="organization_id")
class OrganizationCreated(msgspec.Struct, frozen=True):
    """An organisation was made."""

    organization_id: str
    name: str


@service.event("users.organization.updated", subject="organization_id")
class OrganizationUpdated(msgspec.Struct, frozen=True):
    """An organisation has another name."""

    organization_id: str
    name: str


@service.event("users.organization.deleted", subject="organization_id")
class OrganizationDeleted(msgspec.Struct, frozen=True):
    """An organisation is gone, and nobody belongs to it."""

    organization_id: str


@service.event("users.member.added", subject="user_id")
class MemberAdded(msgspec.Struct, frozen=True):
    """A user belongs to an organisation from now on, by an invitation or because they made it."""

    organization_id: str
    user_id: str
    role: str
    invitation_id: str | None


@service.event("users.member.updated", subject="user_id")
class MemberUpdated(msgspec.Struct, frozen=True):
    """A member of an organisation has another role in it."""

    organization_id: str
    user_id: str
    role: str


@service.event("users.member.removed", subject="user_id")
class MemberRemoved(msgspec.Struct, frozen=True):
    """A user belongs to an organisation no more.

    ``reason`` is ``left``, ``removed``, ``deleted`` (the user) or ``organization_deleted``.
    """

    organization_id: str
    user_id: str
    reason: str


@service.event("users.invitation.created", subject="invitation_id")
class InvitationCreated(msgspec.Struct, frozen=True):
    """An address was invited into an organisation by ``inviter``. The event does not hold it."""

    organization_id: str
    invitation_id: str
    role: str
    inviter: str


@service.event("users.invitation.revoked", subject="invitation_id")
class InvitationRevoked(msgspec.Struct, frozen=True):
    """An invitation was taken back."""

    organization_id: str
    invitation_id: str


@service.event("users.invitation.declined", subject="invitation_id")
class InvitationDeclined(msgspec.Struct, frozen=True):
    """Whoever was invited declined."""

    organization_id: str
    invitation_id: str


@service.event("users.api_key.created", person="owner_id", scope=API_KEYS_READ)
class ApiKeyCreated(msgspec.Struct, frozen=True):
    """A key was made. Its name is its owner's to give, and erased with the owner."""

    id: str
    name: Annotated[str, Personal]
    prefix: str
    scopes: list[str]
    owner_id: str | None
    expires_at: Instant | None
    maker_id: str | None = None


@service.event("users.api_key.revoked", scope=API_KEYS_READ)
class ApiKeyRevoked(msgspec.Struct, frozen=True):
    """A key holds no more."""

    id: str
    owner_id: str | None


@service.event("users.api_key.recovered", scope=API_KEYS_READ)
class ApiKeyRecovered(msgspec.Struct, frozen=True):
    """An administrator's key was made on the machine itself (`mainspring admin key --recover`)."""

    id: str
    prefix: str


@service.event("users.role.created", subject="name", scope=ROLES_READ)
class RoleCreated(msgspec.Struct, frozen=True):
    """A role was made."""

    name: str
    scopes: list[str]


@service.event("users.role.updated", subject="name", scope=ROLES_READ)
class RoleUpdated(msgspec.Struct, frozen=True):
    """A role gives other scopes from now on."""

    name: str
    scopes: list[str]


@service.event("users.role.deleted", subject="name", scope=ROLES_READ)
class RoleDeleted(msgspec.Struct, frozen=True):
    """A role is gone; nobody holds it."""

    name: str


@service.event("users.oauth_client.created", scope=OAUTH_CLIENTS_READ)
class OAuthClientCreated(msgspec.Struct, frozen=True):
    """Another application was registered, which logs people in from here."""

    id: str
    name: str
    public: bool
    redirect_uris: list[str]
    scopes: list[str]
    skips_consent: bool
    introspects: bool


@service.event("users.oauth_client.updated", scope=OAUTH_CLIENTS_READ)
class OAuthClientUpdated(OAuthClientCreated, frozen=True):
    """Something about an application changed; ``secret_rotated`` says whether its secret did."""

    secret_rotated: bool = False


@service.event("users.oauth_client.deleted", scope=OAUTH_CLIENTS_READ)
class OAuthClientDeleted(msgspec.Struct, frozen=True):
    """An application is gone, with all its tokens."""

    id: str


@service.event("users.oauth_consent.granted")
class OAuthConsentGranted(msgspec.Struct, frozen=True):
    """A user lets an application have these scopes from now on."""

    id: str
    user_id: str
    client_id: str
    scopes: list[str]


@service.event("users.oauth_consent.revoked")
class OAuthConsentRevoked(msgspec.Struct, frozen=True):
    """A user took back what an application was let have."""

    id: str
    user_id: str
    client_id: str


@service.event("users.oauth_grant.created")
class OAuthGrantCreated(msgspec.Struct, frozen=True):
    """An application has tokens: of a user who logged in there, or its own (``user_id`` null)."""

    id: str
    user_id: str | None
    client_id: str
    scopes: list[str]


@service.event("users.oauth_grant.revoked")
class OAuthGrantRevoked(msgspec.Struct, frozen=True):
    """Tokens of an application ended before their time.

    ``reason`` is ``client``, ``consent``, ``replay``, or what ended the user's sessions.
    """

    id: str
    user_id: str | None
    client_id: str
    reason: str
