"""Contracts of what the users service does after a call."""

from mainspring import Call, RetryPolicy
from mainspring.services.users.api.settings import service

MAILS = RetryPolicy(max_attempts=20, first_s=1.0, cap_s=600.0)


@service.contract.job(queue="mails", retry=MAILS)
async def send_token(call: Call, token_id: str) -> None:
    """Mail a token to its address. The token is derived here: neither table nor job holds it."""


@service.contract.job(queue="mails")
async def start_reset(call: Call, user_id: str | None) -> None:
    """Make the token of a password reset; for an address without an account there is none."""


@service.contract.job(queue="mails")
async def start_log_in(call: Call, user_id: str | None, token_id: str) -> None:
    """Make the token of a log-in by mail; for an address without an account there is none."""


@service.contract.job(queue="mails", retry=MAILS)
async def send_invitation(call: Call, invitation_id: str, mail_id: str) -> None:
    """Mail an invitation to its address. The token is derived here."""


@service.contract.job(queue="mails", max_attempts=20)
async def forget_mail(call: Call, person: str, again: bool = True) -> None:
    """Remove the mails to somebody who was erased, and those that were on their way just then."""


@service.contract.job(queue="platform", max_attempts=20)
async def end_impersonation(call: Call, impersonation_id: str) -> None:
    """Note that somebody's acting as a user has ended, when its time is up."""


@service.contract.job(queue="platform", max_attempts=10, coalesces=True)
async def scrub(call: Call) -> None:
    """Make what an erasure deleted unreadable in the database's own files as well."""
