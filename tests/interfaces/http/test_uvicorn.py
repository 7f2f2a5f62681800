"""What the server takes from the inside of uvicorn: a release without it is told of here."""

import asyncio
import inspect

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl as inside
from uvicorn.server import ServerState

from mainspring.interfaces.http.server import Cycle, Protocol

GIVEN_TO_A_CYCLE = {
    "scope", "transport", "flow", "logger", "access_logger", "access_log", "default_headers",
    "message_event", "expect_100_continue", "keep_alive", "on_response",
}  # fmt: skip
OF_A_CYCLE = {
    "disconnected", "response_started", "response_complete", "waiting_for_100_continue",
    "keep_alive", "message_event", "on_response", "flow", "transport", "scope", "default_headers",
}  # fmt: skip
OF_A_CONNECTION = {
    "app", "access_logger", "client", "cycle", "expect_100_continue", "flow", "headers", "logger",
    "loop", "parser", "pipeline", "scope", "server_state", "transport", "url",
}  # fmt: skip


class NoTransport(asyncio.Transport):
    """Enough of a transport for a connection to begin."""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return ("127.0.0.1", 1) if name in {"peername", "sockname"} else default

    def close(self) -> None:
        """Nothing is open."""


def test_a_status_line_is_whole() -> None:
    assert inside.STATUS_LINE[200] == b"HTTP/1.1 200 OK\r\n"


def test_a_cycle_is_made_of_what_it_is_given() -> None:
    taken = set(inspect.signature(inside.RequestResponseCycle.__init__).parameters) - {"self"}
    assert taken == GIVEN_TO_A_CYCLE


async def test_a_connection_and_its_cycle_have_what_is_read_of_them() -> None:
    async def app(scope: object, receive: object, send: object) -> None: ...

    config = uvicorn.Config(app, http=inside.HttpToolsProtocol, log_config=None)
    config.load()
    connection = inside.HttpToolsProtocol(config, ServerState(), {})
    transport = NoTransport()
    connection.connection_made(transport)
    connection.on_message_begin()
    connection.on_url(b"/")
    assert set(vars(connection)) >= OF_A_CONNECTION
    given = dict.fromkeys(GIVEN_TO_A_CYCLE) | {"transport": transport}
    assert set(vars(inside.RequestResponseCycle(**given))) >= OF_A_CYCLE  # type: ignore[arg-type]
    connection.connection_lost(None)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(Protocol, inside.HttpToolsProtocol), (Cycle, inside.RequestResponseCycle)],
)
def test_what_is_overridden_is_there_to_be(ours: type, theirs: type) -> None:
    own = {"abort", "drain", "draining", "leave", "taken", "whole"}
    public = {name for name in vars(ours) if not name.startswith("_")} - own
    methods = {name for name in public if inspect.isfunction(vars(ours)[name])}
    assert not {name for name in methods if not hasattr(theirs, name)}
    called = {"_unset_keepalive_if_required", "_start_asgi_task", "_should_upgrade"}
    assert theirs is not inside.HttpToolsProtocol or all(hasattr(theirs, name) for name in called)


def test_the_parser_says_which_version_and_whether_to_go_on() -> None:
    parser = httptools.HttpRequestParser(object())
    parser.feed_data(b"GET / HTTP/1.0\r\n\r\n")
    assert (parser.get_http_version(), parser.get_method()) == ("1.0", b"GET")
    assert parser.should_keep_alive() is False
