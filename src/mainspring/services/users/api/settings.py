"""The service itself: its settings, the scopes it knows and its bounds."""

from importlib.resources import files
from typing import Annotated, Literal

import msgspec

from mainspring import Service

OWN, READ, WRITE = "users:own", "users:read", "users:write"
API_KEYS_OWN = "api_keys:own"
API_KEYS_READ, API_KEYS_WRITE = "api_keys:read", "api_keys:write"
ROLES_READ, ROLES_WRITE = "roles:read", "roles:write"
RECOVER = "machine:recover"
DAY_S = 86_400
SESSIONS_MAX = 100  # per user; one more login ends the oldest
API_KEYS_MAX = 200  # per user
RECENT_S = 900  # how long ago who does something dangerous may have proved who they are


class UsersSettings(msgspec.Struct, frozen=True):
    """``[users]``: who may sign up, how long logins last, what mails say.

    ``verify_url``, ``reset_url``, ``log_in_url`` and ``undo_url`` are pages of the product;
    ``{token}`` in them is replaced. Where they are empty, mails show the token itself. With
    ``verify_before_log_in`` an address that was not proved yet logs in like one that has no
    account.
    """

    sign_up: bool = True
    verify_before_log_in: bool = False
    access_token_s: Annotated[int, msgspec.Meta(ge=10, le=3_600)] = 900
    session_idle_s: Annotated[int, msgspec.Meta(ge=60)] = 30 * DAY_S
    session_max_s: Annotated[int, msgspec.Meta(ge=60)] = 365 * DAY_S
    verify_token_s: Annotated[int, msgspec.Meta(ge=60)] = 3 * DAY_S
    reset_token_s: Annotated[int, msgspec.Meta(ge=60)] = 3_600
    mail_every_s: Annotated[int, msgspec.Meta(ge=0)] = 60
    mails_per_address_day: Annotated[int, msgspec.Meta(ge=1)] = 30
    mails_per_caller_hour: Annotated[int, msgspec.Meta(ge=1)] = 300
    product: Annotated[str, msgspec.Meta(max_length=100)] = "Mainspring"
    verify_url: str = ""
    reset_url: str = ""
    log_in_links: bool = False
    log_in_token_s: Annotated[int, msgspec.Meta(ge=60, le=3_600)] = 900
    log_in_url: str = ""
    undo_token_s: Annotated[int, msgspec.Meta(ge=60)] = 7 * DAY_S
    undo_url: str = ""
    quiet_notices: tuple[Literal["api_key_created", "sessions_ended"], ...] = ()

    def __post_init__(self) -> None:
        for url in (self.verify_url, self.reset_url, self.log_in_url, self.undo_url):
            if url and (not url.startswith(("https://", "http://")) or "{token}" not in url):
                raise ValueError(
                    "verify_url, reset_url, log_in_url and undo_url must begin with http:// or "
                    "https:// and hold {token}"
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
