"""Whether a caller may use an operation at all. Rows have rules of their own, in their service."""

from mainspring.gateway.identify import challenge
from mainspring.kernel.call import Caller
from mainspring.kernel.errors import Forbidden


def authorise(scope: str | None, caller: Caller) -> None:
    """Let the caller pass when it holds the scope; None lets anyone pass.

    Raises Unauthenticated for an anonymous caller and Forbidden for a known one (RFC 6750).
    """
    if scope is None or caller.allows(scope):
        return
    if caller.kind == "anonymous":
        raise challenge()
    raise Forbidden(
        f"this needs the scope {scope}",
        headers={
            "WWW-Authenticate": (
                f'Bearer realm="mainspring", error="insufficient_scope", scope="{scope}"'
            )
        },
    )
