"""Streams, uploads, downloads and mounted apps."""

import asyncio
from hashlib import sha256
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from mainspring.interfaces.http import exchange, streams
from mainspring.kernel.errors import Timeout
from mainspring.kernel.media import file_name
from tests.deadline import DEADLINE_S
from tests.interfaces.conftest import READER, WRITER, Site, Start

TICKS = [b'id: %d\nevent: tick\ndata: {"n": %d}\ndata: {}\n\n' % (n, n) for n in (1, 2, 3)]


async def test_a_stream_is_server_sent_events(site: Site) -> None:
    answer, body = await site.ask("GET", "/v1/ticks")
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert answer.headers["Cache-Control"] == "no-store"
    assert body == b"".join(TICKS)


async def test_head_of_a_stream_ends(site: Site) -> None:
    answer, body = await site.ask("HEAD", "/v1/ticks?wait=true")
    assert (answer.status, body) == (200, b"")
    assert answer.headers["Content-Type"] == "text/event-stream"


async def test_a_stream_resumes_where_the_last_event_was(site: Site) -> None:
    _, body = await site.ask("GET", "/v1/ticks?after=0", Last_Event_ID="2")
    assert body == TICKS[2]
    _, body = await site.ask("GET", "/v1/ticks?after=1")
    assert body == b"".join(TICKS[1:])


async def test_a_stream_is_ndjson_for_those_who_ask(site: Site) -> None:
    answer, body = await site.ask("GET", "/v1/ticks", Accept="application/x-ndjson")
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert body == b"".join(b'{"n": %d} {}\n' % n for n in (1, 2, 3))
    answer, problem = await site.ask("GET", "/v1/ticks", Accept="image/png")
    assert (answer.status, problem["code"]) == (406, "not_acceptable")


async def test_a_stream_that_fails_at_once_has_a_status(site: Site) -> None:
    answer, _ = await site.ask("GET", "/v1/ticks?after=9")
    assert answer.status == 409
    answer, _ = await site.ask("GET", "/v1/ticks", Authorization="Bearer no")
    assert answer.status == 401


async def test_a_stream_ends_when_its_key_is_revoked(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CHECK_S", 0.02)
    answer = await site.http.get("/v1/ticks?wait=true", headers=READER)
    async with asyncio.timeout(DEADLINE_S):
        await site.gates.entered.wait()
        seen = await answer.content.readuntil(TICKS[1])
        assert seen == TICKS[0] + TICKS[1]
        site.keys.revoked.add("key_reader")
        await site.ask("POST", "/v1/keys/key_reader:revoke")
        rest = await answer.content.read()
    said = rest.replace(b": still here\n\n", b"")
    assert said.startswith(b'event: end\ndata: {"end":"unauthenticated",')


async def test_a_silent_stream_is_kept_alive(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CHECK_S", 0.02)
    answer = await site.http.get("/v1/ticks?wait=true", headers=READER)
    async with asyncio.timeout(DEADLINE_S):
        assert (await answer.content.readuntil(b": still here\n\n")).endswith(b"here\n\n")
        site.gates.opened.set()
        assert (await answer.content.read()).endswith(TICKS[2])


async def test_a_download_streams_its_body_with_its_own_headers(site: Site) -> None:
    answer, body = await site.ask("GET", "/v1/download")
    assert body == b"one two"
    assert answer.headers["Cache-Control"] == "max-age=60"
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    answer, body = await site.ask("HEAD", "/v1/download")
    assert (answer.status, body) == (200, b"")


async def test_a_download_is_not_sent_twice_and_fails_with_a_status(site: Site) -> None:
    answer, body = await site.ask("GET", "/v1/download", If_None_Match='"0", "1"')
    assert (answer.status, body, answer.headers["ETag"]) == (304, b"", '"1"')
    assert "Content-Type" not in answer.headers
    again, _ = await site.ask("GET", "/v1/download", If_None_Match='"0"')
    lost, problem = await site.ask("GET", "/v1/lost")
    assert (again.status, lost.status, problem["code"]) == (200, 404, "not_found")


async def test_a_redirect_to_any_text_is_a_header(site: Site) -> None:
    for sent, location in (("a%0D%0AX:y", "a%0D%0AX:y"), ("%E2%82%AC", "%E2%82%AC")):
        answer, _ = await site.ask("GET", f"/l/{sent}")
        assert answer.headers["Location"] == f"https://example.org/{location}"
        assert "X" not in answer.headers


async def test_an_upload_is_stored_before_it_is_answered(site: Site) -> None:
    data = bytes(range(256)) * 300
    answer, stored = await site.ask(
        "PUT", "/v1/files/a", data, Content_Type="Image/PNG; x=y",
        Content_Disposition="attachment; filename*=UTF-8''caf%C3%A9.png",
    )  # fmt: skip
    assert answer.status == 201
    assert stored == {
        "sha256": sha256(data).hexdigest(), "size_bytes": len(data), "filename": "café.png",
        "media_type": "image/png",
    }  # fmt: skip
    assert site.stored() == [data]


async def test_an_upload_that_is_refused_leaves_nothing(site: Site) -> None:
    async def chunked() -> Any:
        for _ in range(20):
            yield b"x" * 10_000

    cases: list[tuple[Any, dict[str, str], int]] = [
        (b"x" * 100_001, {}, 413), (chunked(), {}, 413),
        (b"x", {"Content-Type": "multipart/form-data; boundary=x"}, 415),
        (b"x", {"Content-Encoding": "gzip"}, 415), (b"x", {"Content-Type": "nonsense"}, 400),
        (b"x", {"Authorization": "Bearer no"}, 401), (b"x", dict(READER), 403),
    ]  # fmt: skip
    for data, headers, status in cases:
        answer = await site.http.put("/v1/files/a", data=data, headers={**WRITER, **headers})
        assert answer.status == status
    assert site.stored() == []


async def test_an_upload_that_may_not_come_is_refused_before_its_body(site: Site) -> None:
    head = (
        b"PUT /v1/files/forbidden HTTP/1.1\r\nHost: x\r\nContent-Length: 50000\r\n"
        b"Authorization: Bearer msk_writer\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(head)
    async with asyncio.timeout(DEADLINE_S):
        assert (await reader.readline()).startswith(b"HTTP/1.1 403 ")
    writer.close()
    assert site.stored() == []


async def test_an_upload_that_trickles_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "BODY_BYTES_PER_S_MIN", 1 << 60)

    wire = SimpleNamespace(address="", network="")
    sent = [(b"transfer-encoding", b"chunked")]
    asked = exchange.Exchange(wire, "PUT", b"/", b"", "/", sent)  # type: ignore[arg-type]
    asked.body_came(b"x")
    with pytest.raises(Timeout):
        _ = [chunk async for chunk in asked.body_chunks(1e-9)]


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ("", None), ("attachment", None), ("attachment; filename=a.txt", "a.txt"),
        ('attachment; filename="a b.txt"', "a b.txt"), ('attachment; filename="a\\"b"', 'a"b'),
        ('attachment; filename="../../etc/passwd"', "passwd"), ('filename="C:\\\\x\\\\y"', "y"),
        ('filename=".."', None), ('filename="a\tb"', "ab"), ("filename*=utf-8''%00a%2Fb", "b"),
        ('filename="' + "x" * 300 + '"', "x" * 255),
        ("attachment; filename=old.txt; filename*=UTF-8''new.txt", "new.txt"),
    ],
)  # fmt: skip
def test_names_of_files_are_only_names(disposition: str, name: str | None) -> None:
    assert file_name(disposition) == name


class Mounted:
    """An ASGI app that says what it was given, and whether it was started."""

    def __init__(self) -> None:
        self.started = self.stopped = False

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                if message["type"] == "lifespan.startup":
                    self.started = True
                    scope["state"]["from"] = "lifespan"
                    await send({"type": "lifespan.startup.complete"})
                else:
                    self.stopped = True
                    await send({"type": "lifespan.shutdown.complete"})
                    return
        if scope["path"].endswith("/boom"):
            raise RuntimeError("secret")
        said = {
            "caller": scope["mainspring.caller"].actor, "root": scope["root_path"],
            "path": scope["path"], "state": scope["state"].get("from"),
        }  # fmt: skip
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 203, "headers": headers})
        await send({"type": "http.response.body", "body": msgspec.json.encode(said)})


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """An app without a lifespan."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    """Return without an answer."""


async def leaves(scope: Any, receive: Any, send: Any) -> None:
    """Cancel the task that answers."""
    task = asyncio.current_task()
    if scope["type"] == "http" and task is not None:
        task.cancel()
        await asyncio.sleep(0)


@pytest.mark.parametrize(("app", "status"), [(nothing, 500), (leaves, 503)])
async def test_a_mounted_app_that_does_not_answer_is_answered_for(
    start: Start, app: Any, status: int
) -> None:
    site = await start(mounts={"/bad": (app, None)})
    answer, problem = await site.ask("GET", "/bad")
    assert answer.status == status
    assert problem["status"] == status


async def test_a_mounted_app_is_behind_the_gateway(start: Start) -> None:
    mounted = Mounted()
    site = await start(
        mounts={"/shop": (mounted, "notes:write"), "/open": (mounted, None), "/bare": (bare, None)},
        limits={"anonymous": "5/m"},
    )
    assert mounted.started
    answer, said = await site.ask("GET", "/shop/cart?x=1")
    assert answer.status == 203
    assert said == {
        "caller": "key_writer", "root": "/shop", "path": "/shop/cart", "state": "lifespan",
    }  # fmt: skip
    assert answer.headers["Request-Id"]
    assert answer.headers["RateLimit-Policy"]
    assert (await site.http.get("/shop")).status == 401
    assert (await site.ask("GET", "/shop", **READER))[0].status == 403
    assert (await site.ask("GET", "/shopping"))[0].status == 404
    # Where no scope is needed, a credential of the app's own is none of ours.
    answer, said = await site.ask("GET", "/open", Authorization="Basic dTpw")
    assert said["caller"] == "anonymous"
    assert (await site.ask("GET", "/bare"))[0].status == 200
    answer, problem = await site.ask("GET", "/open/boom")
    assert answer.status == 500
    assert "secret" not in str(problem)
    statuses = [(await site.http.get("/open")).status for _ in range(6)]
    assert statuses[-1] == 429
    await site.server.drain(1)
    assert mounted.stopped


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b'{"n":1}', [b'{"n":1}']),
        (b"", [b""]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\rb\r\nc\n", [b"a", b"b", b"c", b""]),
        (b"\x0ba\xc2\x85b", [b"\x0ba\xc2\x85b"]),  # no ends of lines to an event stream
    ],
)
def test_each_line_of_an_item_is_a_line_of_data(data: bytes, lines: list[bytes]) -> None:
    sent = streams.as_sse(streams.StreamItem(data))
    assert sent == b"".join(b"data: " + line + b"\n" for line in lines) + b"\n"
