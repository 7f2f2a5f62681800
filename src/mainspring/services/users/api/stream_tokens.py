"""The contract of what opens a stream where no header can be sent."""

from mainspring import Call, Impersonated, Response
from mainspring.services.users.api.settings import service
from mainspring.services.users.api.structs import StreamToken


@service.contract.operation(
    "POST /v1/stream_tokens", scope=None, status=201, secret=True, impersonated=Impersonated.READS
)
async def create_stream_token(call: Call) -> Response[StreamToken]:
    """Make a token that opens a stream where no header can be sent, as by ``EventSource``.

    It is good for streams only, as ``?stream_token=…``, and has to be used within a minute. What it
    opened lasts, and may do, as long and as much as what you came with: your access token or key.
    """
