"""What somebody may do who acts as a user: each operation says it, and all ask here."""

from enum import StrEnum

from mainspring.kernel.caller import Caller
from mainspring.kernel.errors import NotForImpersonators


class Impersonated(StrEnum):
    """Whether an operation is for somebody who acts as a user (``Caller.impersonation``)."""

    READS = "reads"  # also for who only looks
    WRITES = "writes"  # for who was let write
    REFUSED = "refused"  # for the user alone


def require_in_person(impersonated: Impersonated, caller: Caller) -> None:
    """Let those pass who act for themselves, and who acts as a user where that is allowed.

    Raises NotForImpersonators.
    """
    acting = caller.impersonation
    if acting is None or impersonated is Impersonated.READS:
        return
    if impersonated is Impersonated.REFUSED:
        raise NotForImpersonators(
            "this is for the user alone: nobody does it who acts as them. Where it is not about "
            "them, leave the access token out"
        )
    if not acting.writes:
        raise NotForImpersonators(
            "you act as this user to look only: to change something begin anew with write: true"
        )
