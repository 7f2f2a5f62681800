"""What every ``HttpClient`` must do. Run each of ``CHECKS`` against a receiver of your own.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    async def test_http_client(check, receiver):
        await check(MakeClient(open_the_adapter), receiver)

``MakeClient`` opens a client that may reach private addresses, or one that may not. The receiver
listens on loopback and echoes (``Receiver``); its paths say what else it does.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol

from mainspring.ports.http_client import ANSWER_BYTES_MAX, HttpClient, WebError


class MakeClient(Protocol):
    """Makes a client that was not opened yet; ``private`` lets it reach private addresses."""

    def __call__(self, *, private: bool) -> HttpClient:
        """Return the client."""
        ...


class EchoServer(Protocol):
    """A server on loopback, and how many requests reached it.

    ``/echo`` answers 200 with the body it got and an ``X-Sent`` header that holds the request's
    ``X-Test``; ``/moved`` answers 302 to ``/echo``; ``/long`` answers more than
    ``ANSWER_BYTES_MAX`` bytes; ``/cookie`` sets one and answers with the ``Cookie`` it got;
    ``/never`` does not answer.
    """

    url: str
    count: int


@asynccontextmanager
async def _opened(make: MakeClient, *, private: bool = True) -> AsyncIterator[HttpClient]:
    client = make(private=private)
    await client.open()
    try:
        yield client
    finally:
        await client.close()


async def _failure(sending: Awaitable[object]) -> str:
    try:
        await sending
    except WebError as error:
        return error.code
    raise AssertionError("an answer came where none may")


async def check_a_post_arrives_as_it_was_given(make: MakeClient, server: EchoServer) -> None:
    """Body and headers go out as they are; the answer's headers are in lower case."""
    async with _opened(make) as client:
        answer = await client.post(server.url + "/echo", b"\0a", {"X-Test": "v"}, timeout_s=10)
    assert (answer.status, answer.body, answer.headers["x-sent"]) == (200, b"\0a", "v"), answer
    assert not answer.public, "loopback is not public"


async def check_a_get_is_under_the_same_rules(make: MakeClient, server: EchoServer) -> None:
    """It brings no body, is cut at the same length, and goes to no private address."""
    async with _opened(make) as client:
        answer = await client.get(server.url + "/echo", {"X-Test": "v"}, timeout_s=10)
        assert (answer.status, answer.body, answer.headers["x-sent"]) == (200, b"", "v"), answer
        answer = await client.get(server.url + "/moved", {}, timeout_s=10)
        assert answer.status == 302, answer
        answer = await client.get(server.url + "/long", {}, timeout_s=10)
        assert len(answer.body) == ANSWER_BYTES_MAX, len(answer.body)
        assert await _failure(client.get(server.url + "/never", {}, timeout_s=0.2)) == "timed_out"
    async with _opened(make, private=False) as client:
        code = await _failure(client.get(server.url + "/echo", {}, timeout_s=10))
    assert code == "address_refused", code


async def check_a_redirect_is_an_answer(make: MakeClient, server: EchoServer) -> None:
    """It is not followed: where it leads was not checked."""
    async with _opened(make) as client:
        answer = await client.post(server.url + "/moved", b"", {}, timeout_s=10)
    assert (answer.status, server.count) == (302, 1), answer


async def check_a_long_answer_is_cut(make: MakeClient, server: EchoServer) -> None:
    """No more of a body is held than ``ANSWER_BYTES_MAX``."""
    async with _opened(make) as client:
        answer = await client.post(server.url + "/long", b"", {}, timeout_s=10)
    assert len(answer.body) == ANSWER_BYTES_MAX, len(answer.body)


async def check_cookies_are_not_kept(make: MakeClient, server: EchoServer) -> None:
    """What one request was given, the next one does not send."""
    async with _opened(make) as client:
        for _ in range(2):
            answer = await client.post(server.url + "/cookie", b"", {}, timeout_s=10)
    assert answer.body == b"", answer.body


async def check_a_slow_answer_times_out(make: MakeClient, server: EchoServer) -> None:
    """``timeout_s`` bounds the whole of it."""
    async with _opened(make) as client:
        code = await _failure(client.post(server.url + "/never", b"", {}, timeout_s=0.2))
    assert code == "timed_out", code


async def check_private_addresses_are_refused(make: MakeClient, server: EchoServer) -> None:
    """By ``check`` and by ``post``, and nothing reaches the receiver."""
    async with _opened(make, private=False) as client:
        checked = ""
        try:
            client.check(server.url)
        except WebError as error:
            checked = error.code
        assert checked == "address_refused", "a loopback address may be asked for"
        code = await _failure(client.post(server.url + "/echo", b"", {}, timeout_s=10))
    assert (code, server.count) == ("address_refused", 0), code


async def check_what_is_no_url_is_refused(make: MakeClient, server: EchoServer) -> None:
    """Only http and https, without a user; a good one is normalised."""
    async with _opened(make) as client:
        assert client.check("https://Example.COM/A") == "https://example.com/A"
        for url in ("ftp://example.com/", "http://user@example.com/", "example.com", "http:///x"):
            code = await _failure(client.post(url, b"", {}, timeout_s=10))
            assert code == "url_refused", (url, code)


async def check_a_name_that_leads_nowhere(make: MakeClient, server: EchoServer) -> None:
    """It is said in one way, whatever the reason (RFC 6761: ``.invalid`` never resolves)."""
    async with _opened(make) as client:
        code = await _failure(client.post("http://no.invalid/", b"", {}, timeout_s=10))
    assert code == "name_not_resolved", code


CHECKS: tuple[Callable[[MakeClient, EchoServer], Awaitable[None]], ...] = tuple(
    check for name, check in list(globals().items()) if name.startswith("check_")
)
