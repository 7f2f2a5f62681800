"""The users service's public face: settings, operations, jobs and events.

``structs`` has what they take and answer, ``errors`` what they refuse.
"""

from importlib.resources import files
from typing import Annotated

import msgspec

from mainspring import (
    CachePolicy,
    Call,
    Instant,
    Page,
    PageQuery,
    Personal,
    RateClass,
    Response,
    RetryPolicy,
    Service,
)
from mainspring.services.users.api.errors import (
    BadMailToken,
    BadRefreshToken,
    EmailTaken,
    MailThrottled,
    PasswordThrottled,
    RefreshTokenReused,
    RoleBuiltIn,
    RoleTaken,
    ScopeNotHeld,
    SessionNeeded,
    SignUpClosed,
    TooManyApiKeys,
    WrongCredentials,
    WrongPassword,
)
from mainspring.services.users.api.structs import (
    ApiKey,
    EmailChange,
    EmailProof,
    Jwks,
    Login,
    MadeApiKey,
    NewApiKey,
    NewRole,
    NewUser,
    OwnChanges,
    PasswordChange,
    PasswordReset,
    Recovery,
    RefreshRequest,
    Removal,
    ResetRequest,
    Role,
    RoleChanges,
    Session,
    Tokens,
    User,
    UserChanges,
    UserQuery,
)

OWN, READ, WRITE = "users:own", "users:read", "users:write"
API_KEYS_OWN = "api_keys:own"
API_KEYS_READ, API_KEYS_WRITE = "api_keys:read", "api_keys:write"
ROLES_READ, ROLES_WRITE = "roles:read", "roles:write"
RECOVER = "machine:recover"
MAILS = RetryPolicy(max_attempts=20, first_s=1.0, cap_s=600.0)

DAY_S = 86_400
SESSIONS_MAX = 100  # per user; one more login ends the oldest
API_KEYS_MAX = 200  # per user


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


# Jobs


@service.contract.job(queue="mails", retry=MAILS)
async def send_token(call: Call, token_id: str) -> None:
    """Mail a token to its address. The token is derived here: neither table nor job holds it."""


@service.contract.job(queue="mails")
async def start_reset(call: Call, user_id: str | None) -> None:
    """Make the token of a password reset; for an address without an account there is none."""


@service.contract.job(queue="mails", max_attempts=20)
async def forget_mail(call: Call, person: str, again: bool = True) -> None:
    """Remove the mails to somebody who was erased, and those that were on their way just then."""


@service.contract.job(queue="platform", max_attempts=10, coalesces=True)
async def scrub(call: Call) -> None:
    """Make what an erasure deleted unreadable in the database's own files as well."""


# Operations


@service.contract.operation(
    "POST /v1/users",
    scope=None,
    status=201,
    rate=RateClass.LOGIN,
    raises=(EmailTaken, SignUpClosed, ScopeNotHeld),
)
async def create_user(call: Call, new: NewUser) -> Response[User]:
    """Sign up. A mail to prove the address is on its way. Emits users.user.created.

    Where somebody has the address already, the answer is the same and nobody is made; the mail says
    so to whoever reads it. Those with the scope users:write are told: EmailTaken.
    """


@service.contract.operation("GET /v1/users/me", scope=OWN, raises=(SessionNeeded,))
async def get_me(call: Call) -> Response[User]:
    """Read yourself; with an API key, its owner."""


@service.contract.operation("PATCH /v1/users/me", scope=OWN, raises=(SessionNeeded,))
async def update_me(call: Call, changes: OwnChanges) -> Response[User]:
    """Change your name. Emits users.user.updated."""


@service.contract.operation("DELETE /v1/users/me", scope=OWN, raises=(SessionNeeded,))
async def delete_me(call: Call, query: Removal) -> None:
    """Delete yourself, with all sessions and keys. Emits users.user.deleted, users.user.erased."""


@service.contract.operation(
    "POST /v1/users/me:change_email",
    scope=OWN,
    status=202,
    rate=RateClass.LOGIN,
    raises=(WrongPassword, SessionNeeded, PasswordThrottled, MailThrottled),
)
async def change_email(call: Call, change: EmailChange) -> None:
    """Ask for another address: it counts once the token mailed to it proves that you read it.

    Where somebody has the address already, the answer is the same, and the mail says so to them.
    """


@service.contract.operation("POST /v1/users/me:send_verification", scope=OWN, status=202)
async def send_verification(call: Call) -> None:
    """Mail the token that proves the address once more, at most once a minute."""


@service.contract.operation(
    "POST /v1/users:verify_email",
    scope=None,
    status=204,
    rate=RateClass.LOGIN,
    raises=(BadMailToken,),
)
async def verify_email(call: Call, given: EmailProof) -> None:
    """Prove an address with the token that was mailed to it. Emits users.user.updated.

    One that was asked for takes the place of the former; every session and API key of the user
    ends then.
    """


@service.contract.operation("GET /v1/users", scope=READ)
async def list_users(call: Call, query: UserQuery) -> Page[User]:
    """List users in the order they signed up, or find one by address.

    Emits users.user.listed, or users.user.read for the one that is found, once an hour.
    """


@service.contract.operation("GET /v1/users/{id}", scope=READ)
async def get_user(call: Call, id: str) -> Response[User]:
    """Read a user. Emits users.user.read once an hour for each reader and user."""


@service.contract.operation("PATCH /v1/users/{id}", scope=WRITE, raises=(EmailTaken, ScopeNotHeld))
async def update_user(call: Call, id: str, changes: UserChanges) -> Response[User | None]:
    """Change a user who may do no more than you. Emits users.user.updated.

    Another address must be proved anew. Roles are given and taken only by those who hold every
    scope the role gives. The user is answered to those who may read users, others hear 204.
    """


@service.contract.operation("DELETE /v1/users/{id}", scope=WRITE, raises=(ScopeNotHeld,))
async def delete_user(call: Call, id: str, query: Removal) -> None:
    """Delete a user who may do no more than you, with all sessions and keys.

    With ``erase`` the person's key is destroyed as well, also when the user was deleted before:
    then what the user held at that time counts.
    Emits users.user.deleted, users.user.erased.
    """


@service.contract.operation(
    "POST /v1/users/me:change_password",
    scope=OWN,
    raises=(WrongPassword, SessionNeeded, PasswordThrottled),
)
async def change_password(call: Call, change: PasswordChange) -> None:
    """Change your password; your other sessions and your API keys end.

    With ``keep_api_keys`` the keys stay. Emits users.password.changed.
    """


@service.contract.operation(
    "POST /v1/users:request_password_reset", scope=None, status=202, rate=RateClass.LOGIN
)
async def request_password_reset(call: Call, request: ResetRequest) -> None:
    """Mail a token to the address if somebody has signed up with it; the answer does not tell."""


@service.contract.operation(
    "POST /v1/users:reset_password", scope=None, rate=RateClass.LOGIN, raises=(BadMailToken,)
)
async def reset_password(call: Call, reset: PasswordReset) -> None:
    """Set a password with the token that was mailed; every session and API key of the user ends.

    The address counts as proved. Emits users.password.changed.
    """


@service.contract.operation(
    "POST /v1/sessions",
    scope=None,
    status=201,
    rate=RateClass.LOGIN,
    secret=True,
    raises=(WrongCredentials, PasswordThrottled),
)
async def create_session(call: Call, login: Login) -> Response[Tokens]:
    """Log in. Emits users.session.created.

    A wrong password and an unknown address are answered alike, and counted; after five in a row the
    address waits, up to a quarter of an hour.
    """


@service.contract.operation(
    "POST /v1/sessions/refresh",
    scope=None,
    secret=True,
    raises=(BadRefreshToken, RefreshTokenReused),
)
async def refresh_session(call: Call, given: RefreshRequest) -> Tokens:
    """Trade the newest refresh token for the next one and a new access token.

    The one before it is answered with the newest again for 10 s, so an answer that was lost or two
    refreshes at once do no harm. Any older one ends the session (users.session.revoked).
    """


@service.contract.operation("GET /v1/sessions", scope=OWN, raises=(SessionNeeded,))
async def list_sessions(call: Call, query: PageQuery) -> Page[Session]:
    """List your sessions, the oldest first."""


@service.contract.operation("DELETE /v1/sessions", scope=OWN, raises=(SessionNeeded,))
async def delete_sessions(call: Call) -> None:
    """Log out everywhere, here too. Emits users.session.revoked for each session."""


@service.contract.operation("DELETE /v1/sessions/{id}", scope=OWN)
async def delete_session(call: Call, id: str) -> None:
    """Log out; before this is answered the session's tokens hold no more.

    Those with the scope users:write end the sessions of others. Emits users.session.revoked.
    """


@service.contract.operation(
    "GET /.well-known/jwks.json",
    scope=None,
    rate=RateClass.UNLIMITED,
    cache=CachePolicy(public=True, max_age_s=300),
)
async def get_jwks(call: Call) -> Jwks:
    """Read the public keys that access tokens are signed with (RFC 7517)."""


@service.contract.operation(
    "POST /v1/api_keys",
    scope=API_KEYS_OWN,
    status=201,
    secret=True,
    raises=(ScopeNotHeld, TooManyApiKeys),
)
async def create_api_key(call: Call, new: NewApiKey) -> Response[MadeApiKey]:
    """Make an API key; the key itself is shown this once. Emits users.api_key.created.

    It never does more than its maker may, now or later, and ends with its maker: a key when that
    key expires or is revoked, and everything a user made when the user goes or resets the password.
    """


@service.contract.operation("GET /v1/api_keys", scope=API_KEYS_OWN)
async def list_api_keys(call: Call, query: PageQuery) -> Page[ApiKey]:
    """List API keys, the oldest first: all with the scope api_keys:read, else your own.

    A key that belongs to no user lists those that were made with it.
    """


@service.contract.operation("GET /v1/api_keys/{id}", scope=API_KEYS_OWN)
async def get_api_key(call: Call, id: str) -> Response[ApiKey]:
    """Read what is known of an API key; the key itself is not."""


@service.contract.operation("DELETE /v1/api_keys/{id}", scope=API_KEYS_OWN, raises=(ScopeNotHeld,))
async def delete_api_key(call: Call, id: str) -> None:
    """Revoke an API key and every key made with it; before this is answered they hold no more.

    Your own, and those made with it; of others those that do no more than you. Emits
    users.api_key.revoked for each.
    """


@service.contract.operation("POST /v1/api_keys:recover", scope=RECOVER, status=204)
async def recover_api_key(call: Call, wanted: Recovery) -> None:
    """Make the key with every scope that the machine itself asks for.

    Only `mainspring admin key --recover` can: no key or user is a machine, whatever they hold.
    Emits users.api_key.created, users.api_key.recovered.
    """


@service.contract.operation(
    "POST /v1/roles", scope=ROLES_WRITE, status=201, raises=(RoleTaken, ScopeNotHeld)
)
async def create_role(call: Call, new: NewRole) -> Response[Role]:
    """Make a role of scopes that you hold yourself. Emits users.role.created."""


@service.contract.operation("GET /v1/roles", scope=ROLES_READ)
async def list_roles(call: Call, query: PageQuery) -> Page[Role]:
    """List roles by name."""


@service.contract.operation("GET /v1/roles/{name}", scope=ROLES_READ)
async def get_role(call: Call, name: str) -> Response[Role]:
    """Read a role."""


@service.contract.operation(
    "PATCH /v1/roles/{name}", scope=ROLES_WRITE, raises=(RoleBuiltIn, ScopeNotHeld)
)
async def update_role(call: Call, name: str, changes: RoleChanges) -> Response[Role | None]:
    """Give a role other scopes; its holders have them at once. Emits users.role.updated.

    The role is answered to those who may read roles, others hear 204.
    """


@service.contract.operation(
    "DELETE /v1/roles/{name}", scope=ROLES_WRITE, raises=(RoleBuiltIn, ScopeNotHeld)
)
async def delete_role(call: Call, name: str) -> None:
    """Delete a role and take it from everyone who holds it. Emits users.role.deleted."""
