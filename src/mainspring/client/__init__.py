"""The client of a platform that runs elsewhere: ``from mainspring.client import Client``.

``Client`` waits, ``AsyncClient`` is awaited. Each has a namespace per built-in service, whose
methods are made of the operations' declarations (``mainspring.client.generated``).
"""

from mainspring.client.async_client import AsyncClient as AsyncClient
from mainspring.client.client import Client as Client
from mainspring.client.core import Record as Record
from mainspring.client.core import Reply as Reply
from mainspring.client.errors import ApiError as ApiError
from mainspring.client.errors import BadRequest as BadRequest
from mainspring.client.errors import ClientError as ClientError
from mainspring.client.errors import Conflict as Conflict
from mainspring.client.errors import Forbidden as Forbidden
from mainspring.client.errors import Gone as Gone
from mainspring.client.errors import Invalid as Invalid
from mainspring.client.errors import NotFound as NotFound
from mainspring.client.errors import NotSent as NotSent
from mainspring.client.errors import OutcomeUnknown as OutcomeUnknown
from mainspring.client.errors import PositionGone as PositionGone
from mainspring.client.errors import PreconditionFailed as PreconditionFailed
from mainspring.client.errors import RateLimited as RateLimited
from mainspring.client.errors import StreamEnded as StreamEnded
from mainspring.client.errors import TooLarge as TooLarge
from mainspring.client.errors import Unauthenticated as Unauthenticated
from mainspring.client.errors import Unavailable as Unavailable
from mainspring.client.errors import Unreachable as Unreachable
from mainspring.client.sse import StreamEvent as StreamEvent
from mainspring.client.webhooks import verify_webhook as verify_webhook
