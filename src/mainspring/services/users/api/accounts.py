"""Contracts of what is done with users."""

from mainspring import Call, Impersonated, Page, RateClass, Response
from mainspring.services.users.api.errors import (
    BadMailToken,
    CaptchaRefused,
    CaptchaRequired,
    EmailTaken,
    MailThrottled,
    PasswordThrottled,
    ScopeNotHeld,
    SessionNeeded,
    SignUpClosed,
    WrongPassword,
)
from mainspring.services.users.api.settings import OWN, READ, RECENT_S, WRITE, service
from mainspring.services.users.api.structs import (
    Disabling,
    EmailChange,
    EmailProof,
    EmailUndo,
    NewUser,
    OwnChanges,
    Removal,
    User,
    UserChanges,
    UserQuery,
)


@service.contract.operation(
    "POST /v1/users",
    scope=None,
    status=201,
    rate=RateClass.LOGIN,
    raises=(EmailTaken, SignUpClosed, ScopeNotHeld, MailThrottled, CaptchaRequired, CaptchaRefused),
)
async def create_user(call: Call, new: NewUser) -> Response[User]:
    """Sign up. A mail to prove the address is on its way. Emits users.user.created.

    Where somebody has the address already, the answer is the same and nobody is made; the mail says
    so to whoever reads it. Those with the scope users:write are told: EmailTaken.
    """


@service.contract.operation("GET /v1/users/me", scope=OWN, raises=(SessionNeeded,))
async def get_me(call: Call) -> Response[User]:
    """Read yourself; with an API key, its owner."""


@service.contract.operation(
    "PATCH /v1/users/me", scope=OWN, raises=(SessionNeeded,), impersonated=Impersonated.WRITES
)
async def update_me(call: Call, changes: OwnChanges) -> Response[User]:
    """Change your name. Emits users.user.updated."""


@service.contract.operation(
    "DELETE /v1/users/me", scope=OWN, recent_s=RECENT_S, raises=(SessionNeeded,)
)
async def delete_me(call: Call, query: Removal) -> None:
    """Delete yourself, with all sessions and keys. Emits users.user.deleted, users.user.erased."""


@service.contract.operation(
    "POST /v1/users/me:change_email",
    scope=OWN,
    status=202,
    rate=RateClass.LOGIN,
    recent_s=RECENT_S,
    raises=(WrongPassword, SessionNeeded, PasswordThrottled, MailThrottled),
)
async def change_email(call: Call, change: EmailChange) -> None:
    """Ask for another address: it counts once the token mailed to it proves that you read it.

    Where somebody has the address already, the answer is the same, and the mail says so to them.
    """


@service.contract.operation(
    "POST /v1/users/me:send_verification", scope=OWN, status=202, impersonated=Impersonated.WRITES
)
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

    One that was asked for takes the place of the former, which is told and can undo it for a week;
    every session and API key of the user ends then.
    """


@service.contract.operation(
    "POST /v1/users:undo_email_change",
    scope=None,
    status=204,
    rate=RateClass.LOGIN,
    raises=(BadMailToken,),
)
async def undo_email_change(call: Call, undo: EmailUndo) -> None:
    """Take back a change of address, with the token that was mailed to the former one.

    The former address counts again, with the password given here; every session and API key of the
    user ends, and so does what was mailed since. Emits users.user.updated, users.password.changed.
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


@service.contract.operation("POST /v1/users/{id}:disable", scope=WRITE, raises=(ScopeNotHeld,))
async def disable_user(call: Call, id: str, given: Disabling) -> Response[User | None]:
    """Let a user who may do no more than you do nothing until you enable it again.

    Before this is answered no session, token, API key, stream or job of theirs holds. Sessions end;
    API keys hold again with their user, and records stay. Log-in says so (account_disabled) to who
    proves to be the user, and to nobody else. Emits users.user.disabled, users.session.revoked.
    """


@service.contract.operation("POST /v1/users/{id}:enable", scope=WRITE, raises=(ScopeNotHeld,))
async def enable_user(call: Call, id: str) -> Response[User | None]:
    """Let a user log in again who was disabled. Emits users.user.enabled."""


@service.contract.operation("DELETE /v1/users/{id}", scope=WRITE, raises=(ScopeNotHeld,))
async def delete_user(call: Call, id: str, query: Removal) -> None:
    """Delete a user who may do no more than you, with all sessions and keys.

    With ``erase`` the person's key is destroyed as well, also when the user was deleted before:
    then what the user held at that time counts.
    Emits users.user.deleted, users.user.erased.
    """
