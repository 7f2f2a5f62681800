"""Contracts of users who come from elsewhere."""

from typing import Annotated, Literal

import msgspec

from mainspring import Call, FieldError, Input
from mainspring.services.users.api.errors import ScopeNotHeld
from mainspring.services.users.api.settings import WRITE, service
from mainspring.services.users.api.structs import DisplayName, Locale, RoleNames
from mainspring.services.users.model import USER_ROLE

IMPORTED_MAX = 100  # users in one call


class ImportedUser(Input, frozen=True):
    """Somebody from elsewhere, with the hash of their password as it was stored there.

    Argon2, bcrypt, Django's PBKDF2 and scrypt, and Firebase's scrypt are taken; without one they
    log in by mail or by an issuer, or reset the password.
    """

    email: Annotated[str, msgspec.Meta(max_length=1_000)]  # judged for each: ImportOutcome
    password_hash: Annotated[str, msgspec.Meta(max_length=1_000)] = ""
    email_verified: bool = False
    display_name: DisplayName = ""
    locale: Locale | None = None
    roles: RoleNames = msgspec.field(default_factory=lambda: [USER_ROLE])


class UserImport(Input, frozen=True):
    """Users to make."""

    users: Annotated[list[ImportedUser], msgspec.Meta(min_length=1, max_length=IMPORTED_MAX)]


class ImportOutcome(msgspec.Struct, frozen=True):
    """What became of one: ``known`` has an account of this address, which stays as it is.

    ``id`` is shown to those who may read users. ``errors`` say what is wrong with one refused.
    """

    status: Literal["created", "known", "refused"]
    id: str | None = None
    errors: list[FieldError] = []


class ImportReport(msgspec.Struct, frozen=True):
    """What became of each, in their order."""

    items: list[ImportOutcome]


@service.contract.operation(
    "POST /v1/users:import", scope=WRITE, secret=True, raises=(ScopeNotHeld,)
)
async def import_users(call: Call, batch: UserImport) -> ImportReport:
    """Make users who have passwords elsewhere; those that are well are made in one commit.

    The first log-in stores the password anew, as Argon2id. Nobody is mailed. Doing it again makes
    nobody twice. Emits users.user.created for each.
    """
