"""What operations of the users service take and answer."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from mainspring import ForeignForm, Input, Instant, PageQuery, Personal
from mainspring.kernel.email_address import EMAIL_CHARS_MAX
from mainspring.kernel.language_tag import LANGUAGE_TAG_CHARS_MAX
from mainspring.services.users.api.profiles import Profile
from mainspring.services.users.model import (
    KEY_ADDRESSES_MAX,
    PASSWORD_CHARS_MAX,
    PASSWORD_CHARS_MIN,
    ROLE_PATTERN,
    SCOPE_PATTERN,
    USER_ROLE,
)

SCOPES_MAX = 200  # per key or role
ROLES_MAX = 50  # per user

Email = Annotated[
    str,
    msgspec.Meta(min_length=3, max_length=EMAIL_CHARS_MAX, extra_json_schema={"format": "email"}),
]
NewPassword = Annotated[
    str,
    msgspec.Meta(
        min_length=PASSWORD_CHARS_MIN,
        max_length=PASSWORD_CHARS_MAX,
        description="not a common one, nor made of the e-mail address",
    ),
]
Password = Annotated[str, msgspec.Meta(max_length=PASSWORD_CHARS_MAX)]
Locale = Annotated[str, msgspec.Meta(max_length=LANGUAGE_TAG_CHARS_MAX)]  # BCP 47
DisplayName = Annotated[str, msgspec.Meta(max_length=200)]
Token = Annotated[str, msgspec.Meta(max_length=200)]
Code = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
Scope = Annotated[
    str,
    msgspec.Meta(
        pattern=SCOPE_PATTERN, max_length=200, description="`records:read`, `records:*` or `*`"
    ),
]
Scopes = Annotated[list[Scope], msgspec.Meta(max_length=SCOPES_MAX)]
RoleName = Annotated[
    str, msgspec.Meta(pattern=ROLE_PATTERN, description="lower case letters, digits, '_'")
]
RoleNames = Annotated[list[RoleName], msgspec.Meta(max_length=ROLES_MAX)]


# What is answered


class User(msgspec.Struct, frozen=True):
    """A person who can log in, unless disabled by an administrator, who gave a reason.

    ``locale`` is the language they are addressed in (BCP 47), null where nobody has said.
    """

    id: str
    email: Annotated[str, Personal]
    email_verified: bool
    display_name: Annotated[str, Personal]
    roles: list[str]
    created_at: Instant
    updated_at: Instant
    disabled_at: Instant | None = None
    disabled_reason: Annotated[str, Personal] = ""
    profile: Annotated[dict[str, Any], Personal] = msgspec.field(default_factory=dict)
    locale: Annotated[str | None, Personal] = None


class Whereabouts(msgspec.Struct, frozen=True):
    """About where an address is, as far as is known: ``country`` by its ISO 3166 code."""

    country: str | None
    city: str | None


class Session(msgspec.Struct, frozen=True):
    """A login and everything refreshed from it. ``current`` is the one that asks.

    ``device`` is like `Firefox on Windows`; it, ``address`` and ``user_agent`` are of the last
    log-in or refresh, and what a client says of itself. ``place`` is about where that address is,
    null where nobody knows. ``last_used_at`` is of that too, or of a
    step-up. In a session with an ``impersonator_id`` that one acts as you, and what it shows
    of a device is empty.
    """

    id: str
    created_at: Instant
    refreshed_at: Instant
    expires_at: Instant
    last_used_at: Instant
    device: str
    address: str
    place: Whereabouts | None
    user_agent: str
    current: bool
    impersonator_id: str | None


class Tokens(msgspec.Struct, frozen=True):
    """What a client holds while logged in. ``expires_in`` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int
    user: User
    session_id: str
    token_type: str = "Bearer"  # noqa: S105


class StreamToken(msgspec.Struct, frozen=True):
    """What opens a stream as ``?stream_token=…``, within ``expires_in`` seconds."""

    token: str
    expires_in: int


class LogInAsked(msgspec.Struct, frozen=True):
    """What the browser that asked keeps: the mailed code counts only together with it."""

    request: str
    expires_in: int


class ApiKey(msgspec.Struct, frozen=True):
    """An API key without the key itself; ``prefix`` is how it begins.

    ``maker_id`` is the user or key that made it, ``owner_id`` the user whose it is. It is good from
    its ``addresses``, and those of its makers; from everywhere where there are none.
    ``last_used_at`` is at most ten minutes old while it is used.
    """

    id: str
    name: str
    prefix: str
    scopes: list[str]
    owner_id: str | None
    created_at: Instant
    expires_at: Instant | None
    maker_id: str | None
    addresses: list[str] = []
    last_used_at: Instant | None = None


class MadeApiKey(ApiKey, frozen=True, kw_only=True):
    """A new API key with the key itself, which is shown this once."""

    key: str


class KeyLineage(msgspec.Struct, frozen=True):
    """A key's line: the keys that it was made with, nearest first, as far as you may see them.

    ``made`` are those that were made with it, and with these: what ends when it does. ``more`` says
    that there are more than are shown.
    """

    makers: list[ApiKey]
    made: list[ApiKey]
    more: bool


class Role(msgspec.Struct, frozen=True):
    """A name for scopes that users can hold together."""

    name: str
    scopes: list[str]
    created_at: Instant
    updated_at: Instant


class Jwk(msgspec.Struct, frozen=True):
    """A public key (RFC 7517, RFC 8037)."""

    kty: str
    crv: str
    x: str
    kid: str
    alg: str
    use: str


class Jwks(msgspec.Struct, frozen=True):
    """The public keys that access tokens are signed with, the current one first."""

    keys: list[Jwk]


class TotpEnrolment(msgspec.Struct, frozen=True):
    """An authenticator app to be: the secret, shown this once, and the URI of its QR code."""

    secret: str
    uri: str


class Passkey(msgspec.Struct, frozen=True):
    """A passkey without its key. ``backup_eligible`` ones are copied to their user's other devices.

    ``aaguid`` says of which make it is, where its maker tells.
    """

    id: str
    name: Annotated[str, Personal]
    aaguid: str
    backup_eligible: bool
    backed_up: bool
    created_at: Instant
    last_used_at: Instant | None


class MadePasskey(Passkey, frozen=True):
    """A new passkey. ``recovery_codes`` come with the first second factor, and are shown once."""

    recovery_codes: list[str] | None


class PasskeyOptions(msgspec.Struct, frozen=True):
    """What a page hands to the browser, which answers it within ``expires_in`` seconds.

    ``public_key`` is for ``PublicKeyCredential.parseCreationOptionsFromJSON()`` or
    ``parseRequestOptionsFromJSON()`` (WebAuthn Level 3, 5.1).
    """

    public_key: dict[str, Any]
    expires_in: int


class RecoveryCodes(msgspec.Struct, frozen=True):
    """Codes that stand in for the second factor, each once; shown this once."""

    recovery_codes: list[str]


class Factors(msgspec.Struct, frozen=True):
    """How somebody can prove who they are: ``recovery_codes`` counts those that are left."""

    totp: bool
    totp_confirmed_at: Instant | None
    passkeys: int
    recovery_codes: int


class BegunLogin(msgspec.Struct, frozen=True):
    """Where to send the browser, and for how many seconds the issuer's answer is waited for."""

    url: str
    expires_in: int


class LinkedIdentity(msgspec.Struct, frozen=True):
    """Somebody at an issuer: ``provider`` is its name in the settings."""

    id: str
    provider: str
    issuer: str
    subject: str
    created_at: Instant


class FreshToken(msgspec.Struct, frozen=True):
    """An access token that says of the session that its user was there just now."""

    access_token: str
    expires_in: int
    token_type: str = "Bearer"  # noqa: S105


class Organization(msgspec.Struct, frozen=True):
    """A group of people. ``role`` is your own in it; null where you are no member."""

    id: str
    name: str
    role: str | None
    created_at: Instant
    updated_at: Instant


class Member(msgspec.Struct, frozen=True):
    """Somebody in an organisation. ``email`` is shown to its owners and admins, else null."""

    user_id: str
    role: str
    display_name: str
    email: str | None
    joined_at: Instant


class Invitation(msgspec.Struct, frozen=True):
    """That whoever reads an address may join an organisation, until it expires."""

    id: str
    organization_id: str
    email: str
    role: str
    inviter_id: str
    created_at: Instant
    expires_at: Instant


class OwnInvitation(msgspec.Struct, frozen=True):
    """An invitation to your address."""

    id: str
    organization_id: str
    organization_name: str
    role: str
    expires_at: Instant


# What is taken


CaptchaToken = Annotated[str, msgspec.Meta(max_length=4_096)]


class NewUser(Input, frozen=True):
    """A sign-up. ``roles`` other than ``user`` are given only by those who may grant them.

    Without a ``locale`` who signs up is taken to read what ``Accept-Language`` likes best.
    """

    email: Email
    password: NewPassword
    display_name: DisplayName = ""
    roles: RoleNames = msgspec.field(default_factory=lambda: [USER_ROLE])
    captcha: CaptchaToken | None = None
    locale: Locale | None = None


class OwnChanges(Input, frozen=True):
    """What users change about themselves without more ado. ``profile`` is a merge patch."""

    display_name: DisplayName | UnsetType = UNSET
    profile: Profile | UnsetType = UNSET
    locale: Locale | UnsetType | None = UNSET


class UserChanges(Input, frozen=True):
    """What an administrator changes about a user; ``roles`` replaces all of them.

    ``profile`` is a merge patch.
    """

    email: Email | UnsetType = UNSET
    display_name: DisplayName | UnsetType = UNSET
    roles: RoleNames | UnsetType = UNSET
    profile: Profile | UnsetType = UNSET
    locale: Locale | UnsetType | None = UNSET


class Disabling(Input, frozen=True):
    """Why somebody may do nothing for now; those who may read users read it."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]


class Removal(Input, frozen=True):
    """``erase`` destroys the person's key: their fields in every event are gone for good."""

    erase: bool = False


class PasswordChange(Input, frozen=True):
    """The password as it is, and as it is to be.

    Your API keys end, unless ``keep_api_keys``: whoever knew the old password may have made some.
    """

    password: Password
    new_password: NewPassword
    keep_api_keys: bool = False


class EmailChange(Input, frozen=True):
    """Another address, which the password allows and a mail to it proves."""

    email: Email
    password: Password


class EmailProof(Input, frozen=True):
    """The token out of a verification mail."""

    token: Token


class EmailUndo(Input, frozen=True):
    """The token out of the mail to the former address, and a new password."""

    token: Token
    password: NewPassword


class ResetRequest(Input, frozen=True):
    """The address of somebody who forgot the password."""

    email: Email
    captcha: CaptchaToken | None = None


class PasswordReset(Input, frozen=True):
    """The token out of a reset mail, and the new password."""

    token: Token
    password: NewPassword


class Login(Input, frozen=True):
    """An address and its password."""

    email: Annotated[str, msgspec.Meta(max_length=EMAIL_CHARS_MAX)]
    password: Password
    captcha: CaptchaToken | None = None


class NewLogin(Input, frozen=True):
    """Which issuer, and where the browser comes back to: one of ``login_redirects``.

    ``code_challenge`` is the S256 of a secret that the app keeps (RFC 7636): only who has that
    ends the log-in. ``state`` comes back as it is.
    """

    provider: Annotated[str, msgspec.Meta(max_length=63)]
    redirect_uri: Annotated[str, msgspec.Meta(max_length=2_000)]
    code_challenge: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{43}$", max_length=43)]
    state: Annotated[str, msgspec.Meta(max_length=500)] = ""


class LoginCode(Input, frozen=True):
    """The code that the browser brought back, and the secret of ``code_challenge``."""

    code: Token
    code_verifier: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9._~-]{43,128}$", max_length=128)]


class IssuerAnswer(ForeignForm, frozen=True):
    """What an issuer sends back with the browser (RFC 6749, 4.1.2; RFC 9207)."""

    state: Annotated[str, msgspec.Meta(max_length=200)] = ""
    code: Annotated[str, msgspec.Meta(max_length=4_096)] = ""
    error: Annotated[str, msgspec.Meta(max_length=200)] = ""
    iss: Annotated[str, msgspec.Meta(max_length=2_000)] | None = None


class TotpCode(Input, frozen=True):
    """A code that the authenticator app shows now."""

    code: Code


PasskeyJson = Annotated[
    dict[str, Any],
    msgspec.Meta(
        max_length=20,
        description="the PublicKeyCredential, as its toJSON() writes it (WebAuthn Level 3, 5.1)",
    ),
]
PasskeyName = Annotated[str, msgspec.Meta(max_length=100)]


class FactorProof(Input, frozen=True):
    """A code that the authenticator app shows now, a recovery code, or what a passkey signed."""

    code: Code | None = None
    recovery_code: Code | None = None
    passkey: PasskeyJson | None = None


class NewPasskey(Input, frozen=True):
    """What the browser answers to the options, and what its user calls it."""

    credential: PasskeyJson
    name: PasskeyName = ""


class PasskeyChanges(Input, frozen=True):
    """What a passkey is called from now on."""

    name: PasskeyName


class PasskeyWish(Input, frozen=True):
    """With the ``challenge`` of factor_required a passkey is its second factor."""

    challenge: Token | None = None


class PasskeyLogin(Input, frozen=True):
    """What the browser answers to the options of a log-in."""

    credential: PasskeyJson


class SecondStep(FactorProof, frozen=True, kw_only=True):
    """The challenge of ``factor_required``, and the second factor."""

    challenge: Token


class StepUp(FactorProof, frozen=True, kw_only=True):
    """Who you are once more: the second factor where there is one, else the password."""

    password: Password | None = None


class LogInWish(Input, frozen=True):
    """The address of somebody who logs in by mail."""

    email: Email
    captcha: CaptchaToken | None = None


class LogInProof(Input, frozen=True):
    """Either the ``token`` of the mailed link, or the mailed ``code`` with its ``request``."""

    token: Token | None = None
    request: Token | None = None
    code: Annotated[str, msgspec.Meta(pattern="^[0-9]{6}$", max_length=6)] | None = None


class RefreshRequest(Input, frozen=True):
    """The newest refresh token of a session."""

    refresh_token: Token


class NewApiKey(Input, frozen=True):
    """What a key is for and what it may do: at most what its maker may.

    With ``addresses`` it is good from these alone, as `192.0.2.7`, `192.0.2.0/24` or
    `2001:db8::/32`.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1, max_length=SCOPES_MAX)]
    expires_at: Instant | None = None
    addresses: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=2, max_length=64)]],
        msgspec.Meta(max_length=KEY_ADDRESSES_MAX),
    ] = msgspec.field(default_factory=list)


class Recovery(Input, frozen=True):
    """The key that a machine wants: how it begins, and its SHA-256 in hexadecimal."""

    prefix: Annotated[str, msgspec.Meta(pattern=r"^msk_[A-Za-z0-9_-]{8}$", max_length=12)]
    key_hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$", max_length=64)]


class NewRole(Input, frozen=True):
    """A role to be."""

    name: RoleName
    scopes: Scopes


class RoleChanges(Input, frozen=True):
    """The role's scopes from now on."""

    scopes: Scopes


class UserQuery(PageQuery, frozen=True):
    """Which users; with ``email`` the one whose address it is, in any spelling."""

    email: Annotated[str, msgspec.Meta(max_length=EMAIL_CHARS_MAX)] | None = None
