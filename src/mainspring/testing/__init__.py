"""What a team tests its own services with: a platform it drives, real servers, conformance suites.

``Platform`` is the one to begin with; ``docs/howto/test-your-app.md`` is its page.
"""

from mainspring.testing.client import Client, HttpAnswer
from mainspring.testing.outgoing import Outgoing, Sent
from mainspring.testing.platform import Failed, JobSeen, Platform, UnexpectedFailure
from mainspring.testing.servers import PostgresServer

__all__ = [
    "Client",
    "Failed",
    "HttpAnswer",
    "JobSeen",
    "Outgoing",
    "Platform",
    "PostgresServer",
    "Sent",
    "UnexpectedFailure",
]
