"""The operation that makes what opens a stream."""

from mainspring import Call, Forbidden, Response, Unauthenticated, handles
from mainspring.ports.keyring import Keyring
from mainspring.services.users import api, streams
from mainspring.services.users.api.structs import StreamToken

_STREAMING = {("user", False), ("key", True)}  # who can open a stream: with a session, or without


@handles(api.create_stream_token)
async def create_stream_token(call: Call) -> Response[StreamToken]:
    caller = call.caller
    if caller.kind == "anonymous":
        raise Unauthenticated("log in, or send an API key; who is nobody needs no token")
    if caller.id is None or (caller.kind, caller.session_id is None) not in _STREAMING:
        raise Forbidden("only somebody who is logged in, or has an API key, can have one")
    opens_until_ms = call.now_ms + streams.OPENS_S * 1000
    stream = streams.Stream(caller.id, caller.session_id, call.until_ms, opens_until_ms)
    token = streams.write(call.use(Keyring), stream)
    return Response(StreamToken(token, streams.OPENS_S))
