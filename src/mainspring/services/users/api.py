"""The users service's public face: settings, what operations take and answer, events, errors."""

from importlib.resources import files
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from mainspring import (
    Conflict,
    Forbidden,
    Input,
    Instant,
    Invalid,
    PageQuery,
    Personal,
    RateLimited,
    Service,
    Unauthenticated,
)
from mainspring.kernel.email_address import EMAIL_CHARS_MAX
from mainspring.services.users.model import (
    PASSWORD_CHARS_MAX,
    PASSWORD_CHARS_MIN,
    ROLE_PATTERN,
    SCOPE_PATTERN,
    USER_ROLE,
)

DAY_S = 86_400
SESSIONS_MAX = 100  # per user; one more login ends the oldest
API_KEYS_MAX = 200  # per user
SCOPES_MAX = 200  # per key or role
ROLES_MAX = 50  # per user


class UsersSettings(msgspec.Struct, frozen=True):
    """``[users]``: who may sign up, how long logins last, what mails say.

    ``verify_url`` and ``reset_url`` are pages of the product; ``{token}`` in them is replaced.
    Where they are empty, mails show the token itself. With ``verify_before_log_in`` an address that
    was not proved yet logs in like one that has no account.
    """

    sign_up: bool = True
    verify_before_log_in: bool = False
    access_token_s: Annotated[int, msgspec.Meta(ge=10, le=3_600)] = 900
    session_idle_s: Annotated[int, msgspec.Meta(ge=60)] = 30 * DAY_S
    session_max_s: Annotated[int, msgspec.Meta(ge=60)] = 365 * DAY_S
    verify_token_s: Annotated[int, msgspec.Meta(ge=60)] = 3 * DAY_S
    reset_token_s: Annotated[int, msgspec.Meta(ge=60)] = 3_600
    mail_every_s: Annotated[int, msgspec.Meta(ge=0)] = 60
    product: Annotated[str, msgspec.Meta(max_length=100)] = "Mainspring"
    verify_url: str = ""
    reset_url: str = ""

    def __post_init__(self) -> None:
        for url in (self.verify_url, self.reset_url):
            if url and (not url.startswith(("https://", "http://")) or "{token}" not in url):
                raise ValueError(
                    "verify_url and reset_url must begin with http:// or https:// and hold {token}"
                )


service = Service(
    "users",
    doc="Users, their sessions, API keys and roles.",
    migrations=files("mainspring.services.users") / "migrations",
    settings=UsersSettings,
    handlers=(
        "mainspring.services.users.authenticate",
        "mainspring.services.users.jobs",
        "mainspring.services.users.operations",
        "mainspring.services.users.visibility",
    ),
)

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
DisplayName = Annotated[str, msgspec.Meta(max_length=200)]
Token = Annotated[str, msgspec.Meta(max_length=200)]
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
    """A person who can log in."""

    id: str
    email: Annotated[str, Personal]
    email_verified: bool
    display_name: Annotated[str, Personal]
    roles: list[str]
    created_at: Instant
    updated_at: Instant


class Session(msgspec.Struct, frozen=True):
    """A login and everything refreshed from it. ``current`` is the one that asks."""

    id: str
    created_at: Instant
    refreshed_at: Instant
    expires_at: Instant
    current: bool


class Tokens(msgspec.Struct, frozen=True):
    """What a client holds while logged in. ``expires_in`` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int
    user: User
    session_id: str
    token_type: str = "Bearer"  # noqa: S105


class ApiKey(msgspec.Struct, frozen=True):
    """An API key without the key itself; ``prefix`` is how it begins.

    ``maker_id`` is the user or key that made it, ``owner_id`` the user whose it is.
    """

    id: str
    name: str
    prefix: str
    scopes: list[str]
    owner_id: str | None
    created_at: Instant
    expires_at: Instant | None
    maker_id: str | None


class MadeApiKey(ApiKey, frozen=True):
    """A new API key with the key itself, which is shown this once."""

    key: str


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


# What is taken


class NewUser(Input, frozen=True):
    """A sign-up. ``roles`` other than ``user`` are given only by those who may grant them."""

    email: Email
    password: NewPassword
    display_name: DisplayName = ""
    roles: RoleNames = msgspec.field(default_factory=lambda: [USER_ROLE])


class OwnChanges(Input, frozen=True):
    """What users change about themselves without more ado."""

    display_name: DisplayName | UnsetType = UNSET


class UserChanges(Input, frozen=True):
    """What an administrator changes about a user; ``roles`` replaces all of them."""

    email: Email | UnsetType = UNSET
    display_name: DisplayName | UnsetType = UNSET
    roles: RoleNames | UnsetType = UNSET


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


class ResetRequest(Input, frozen=True):
    """The address of somebody who forgot the password."""

    email: Email


class PasswordReset(Input, frozen=True):
    """The token out of a reset mail, and the new password."""

    token: Token
    password: NewPassword


class Login(Input, frozen=True):
    """An address and its password."""

    email: Annotated[str, msgspec.Meta(max_length=EMAIL_CHARS_MAX)]
    password: Password


class RefreshRequest(Input, frozen=True):
    """The newest refresh token of a session."""

    refresh_token: Token


class NewApiKey(Input, frozen=True):
    """What a key is for and what it may do: at most what its maker may."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1, max_length=SCOPES_MAX)]
    expires_at: Instant | None = None


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


# Events


@service.event("users.user.created", person="id")
class UserCreated(User, frozen=True):
    """Somebody signed up."""


@service.event("users.user.updated", person="id")
class UserUpdated(User, frozen=True):
    """Something about a user changed: the name, the address or its proof, the roles."""


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
    """A user has another password; ``how`` is ``change`` or ``reset``."""

    id: str
    how: str


@service.event("users.session.created")
class SessionCreated(msgspec.Struct, frozen=True):
    """Somebody logged in."""

    id: str
    user_id: str
    expires_at: Instant


@service.event("users.session.revoked")
class SessionRevoked(msgspec.Struct, frozen=True):
    """A session ended before its time.

    ``reason`` is ``logout``, ``password``, ``email``, ``too_many``, ``refresh_token_reused`` or
    ``deleted``.
    """

    id: str
    user_id: str
    reason: str


@service.event("users.api_key.created", person="owner_id", scope="api_keys:read")
class ApiKeyCreated(msgspec.Struct, frozen=True):
    """A key was made. Its name is its owner's to give, and erased with the owner."""

    id: str
    name: Annotated[str, Personal]
    prefix: str
    scopes: list[str]
    owner_id: str | None
    expires_at: Instant | None
    maker_id: str | None = None


@service.event("users.api_key.revoked", scope="api_keys:read")
class ApiKeyRevoked(msgspec.Struct, frozen=True):
    """A key holds no more."""

    id: str
    owner_id: str | None


@service.event("users.api_key.recovered", scope="api_keys:read")
class ApiKeyRecovered(msgspec.Struct, frozen=True):
    """An administrator's key was made on the machine itself (`mainspring admin key --recover`)."""

    id: str
    prefix: str


@service.event("users.role.created", subject="name", scope="roles:read")
class RoleCreated(msgspec.Struct, frozen=True):
    """A role was made."""

    name: str
    scopes: list[str]


@service.event("users.role.updated", subject="name", scope="roles:read")
class RoleUpdated(msgspec.Struct, frozen=True):
    """A role gives other scopes from now on."""

    name: str
    scopes: list[str]


@service.event("users.role.deleted", subject="name", scope="roles:read")
class RoleDeleted(msgspec.Struct, frozen=True):
    """A role is gone; nobody holds it."""

    name: str


# Errors


class EmailTaken(Conflict):
    """Somebody has signed up with this address. Said to those who may write users."""

    code, title = "email_taken", "The e-mail address is taken"


class SignUpClosed(Forbidden):
    """Settings let only administrators make users."""

    code, title = "sign_up_closed", "Sign-up is closed"


class WrongCredentials(Unauthenticated):
    """No such address, or not its password: nobody learns which. It is counted."""

    code, title = "wrong_credentials", "Wrong e-mail address or password"
    commits_on_failure = True


class WrongPassword(Forbidden):
    """Not the caller's password. It is counted."""

    code, title = "wrong_password", "Wrong password"
    commits_on_failure = True


class PasswordThrottled(RateLimited):
    """Too many wrong passwords for this address; it waits, whoever asks."""

    code, title = "password_throttled", "Too many wrong passwords"


class MailThrottled(RateLimited):
    """You had mails sent to too many addresses."""

    code, title = "mail_throttled", "Too many mails"


class BadRefreshToken(Unauthenticated):
    """Not a refresh token of a live session."""

    code, title = "refresh_token_invalid", "The refresh token does not hold"


class RefreshTokenReused(Unauthenticated):
    """An old refresh token came back: two parties hold it, so its session is ended."""

    code, title = "refresh_token_reused", "The refresh token was used before"
    commits_on_failure = True


class BadMailToken(Invalid):
    """Not a token that was mailed, or it was used or has expired."""

    code, title = "token_invalid", "The token does not hold"


class SessionNeeded(Forbidden):
    """An API key cannot do this; a person who logged in can."""

    code, title = "session_needed", "Log in to do this"


class ScopeNotHeld(Forbidden):
    """Nobody gives, or acts on, more than they hold."""

    code, title = "scope_not_held", "You do not hold these scopes yourself"


class RoleTaken(Conflict):
    """There is a role of this name."""

    code, title = "role_taken", "The role exists"


class RoleBuiltIn(Conflict):
    """The platform itself needs this role as it is."""

    code, title = "role_built_in", "A built-in role"


class TooManyApiKeys(Conflict):
    """A user holds as many keys as one may."""

    code, title = "too_many_api_keys", "Too many API keys"
