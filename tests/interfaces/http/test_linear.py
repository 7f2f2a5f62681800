"""What anyone may send is read in time that grows no faster than it does.

Each parser is fed hostile input at one length and at four times that length. Work in C leaves no
steps to count, so the time of this process is taken, the best of several runs: quadratic work is
sixteen times as much, and linear work at most what ``GROWTH_MAX`` leaves room for.
"""

import contextlib
import gc
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Annotated, Any

import msgspec
import pytest

from mainspring.cel.syntax import parse
from mainspring.gateway.identify import read_credential
from mainspring.interfaces.http.compression import accepts_gzip
from mainspring.interfaces.http.conditional import not_modified
from mainspring.interfaces.http.cors import Cors
from mainspring.interfaces.http.exchange import Exchange
from mainspring.interfaces.http.hosts import Hosts
from mainspring.interfaces.http.proxies import Proxies
from mainspring.interfaces.http.router import Router, decode_segment
from mainspring.interfaces.http.server_settings import CorsSettings
from mainspring.interfaces.rest.arguments import parse_key, require_json
from mainspring.kernel.call import Call
from mainspring.kernel.errors import Failure
from mainspring.kernel.etag import tag_matches
from mainspring.kernel.media import file_name, media_type
from mainspring.kernel.operation import Input, Operation
from mainspring.runtime.events.positions import parse_position
from tests.requests import Requests

BYTES = 64 * 1024
GROWTH_MAX = 9.0  # from n to 4n: linear is 4, quadratic 16
FLOOR_S = 0.1  # below it there is nothing to compare: quadratic work takes far longer
RUNS = 3


class Part(Input):
    name: Annotated[str, msgspec.Meta(max_length=5)]
    codes: list[int] = []  # noqa: RUF012


class Whole(Input):
    parts: list[Part] = []  # noqa: RUF012
    labels: dict[str, list[int]] = {}  # noqa: RUF012
    anything: Any = None


class Query(Input):
    name: str | None = None
    tag: tuple[str, ...] = ()


async def whole(call: Call, body: Whole) -> None: ...
async def raw(call: Call, body: msgspec.Raw) -> None: ...
async def query(call: Call, query: Query) -> None: ...


WHOLE = Requests(Operation("t.whole", "POST /v1/t", whole, scope=None))
RAW = Requests(Operation("t.raw", "POST /v1/t", raw, scope=None))
QUERY = Requests(Operation("t.query", "GET /v1/t", query, scope=None))
ROUTER: Router[int] = Router()
for _template in ("/v1/{a}/b", "/v1/{a}:go", "/v1/c/{a}/{b}:go", "/v1/{a}/{b}/{c}/d"):
    ROUTER.add("GET", _template, 1)
PROXIES = Proxies(["127.0.0.0/8"])
HOSTS = Hosts(["*.example.org"])
CORS = Cors(CorsSettings(origins=("https://*.example.com", "https://app.example")))


def _body(inputs: Requests) -> Callable[[bytes], object]:
    return lambda text: inputs.read((), b"", text, "application/json")


def _exchange(headers: list[tuple[bytes, bytes]]) -> None:
    wire = SimpleNamespace(address="127.0.0.1", network="127.0.0.1")
    asked = Exchange(wire, "POST", b"/", b"", "/", [(b"host", b"x"), *headers])  # type: ignore[arg-type]
    asked.read_headers(HOSTS)


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda text: read(text.decode("latin-1"))


def _credential(text: bytes) -> object:
    return read_credential(text)


def _media_type(text: str) -> None:
    with contextlib.suppress(ValueError):
        media_type(text)


def _of(unit: bytes, before: bytes = b"", after: bytes = b"") -> Callable[[int], bytes]:
    return lambda size: before + unit * (size // len(unit)) + after


BODIES = {
    "escapes in a string without an end": _of(rb"\"", b"[" * 65 + b'"'),
    "quotes": _of(b'"'), "strings without an end": _of(b'"\\', b"[" * 65),
    "brackets": _of(b"["), "closed brackets": _of(b"[],", b"[", b"1]"),
    "braces": _of(b'{"a":', b"", b"1"), "pairs": _of(b"[]", b"[" * 60 + b'"', b'"' + b"]" * 60),
    "a long number": _of(b"9"), "a long fraction": _of(b"0", b"0."), "spaces": _of(b" "),
    "unknown members": lambda size: (
        b"{" + b",".join(b'"x%d":0' % i for i in range(size // 8)) + b"}"),
    "wrong items": _of(b"7,", b'{"parts":[', b"7]}"),
    "wrong items under a long name": lambda size: (
        b'{"labels":{"' + b"y" * size + b'":[' + b'"",' * (size // 3) + b'""]}}'),
    "a long unknown member": _of(b"` - at `$", b'{"', b'":1}'),
    "zeros under a long name": lambda size: (
        b'{"anything":{"' + b"y" * size + b'":[' + b'"\\u0000",' * (size // 9) + b"1]}}"),
    "surrogates under a long name": lambda size: (
        b'{"anything":{"' + b"y" * size + b'":[' + b'"\\ud800",' * (size // 9) + b"1]}}"),
    "zeros": _of(b'"\\u0000",', b'{"anything":[', b"1]}"),
    "no text": _of(b"\xff", b'"', b'"'),
}  # fmt: skip
HEADERS = {
    "commas": _of(b","), "quotes": _of(b'"'), "escapes": _of(b'\\"', b'"'), "spaces": _of(b" "),
    "spaces before an end": _of(b" ", b"a", b"\x01"), "semicolons": _of(b";"),
    "semicolons before an equals sign": _of(b";", b"", b"="),
    "letters": _of(b"a", b"", b"\x01"), "equals": _of(b"="), "stars": _of(b"*"),
    "tags": _of(b'"a", '), "weak tags": _of(b'W/"'), "suffixes": _of(b"-gzip", b'"', b'"'),
    "weights": _of(b"a;q=0.1,"), "weights without an end": _of(b"a;q=", b""),
    "hops": _of(b'for="[::1]:80";proto=http, '), "addresses": _of(b"127.0.0.1, "),
    "digits": _of(b"1"), "dots": _of(b"."), "colons": _of(b":"), "slashes": _of(b"/"),
    "percent signs": _of(b"%"), "encoded": _of(b"%41"), "names": _of(b"filename="),
    "quoted names": _of(b'filename="'), "coded names": _of(b"filename*=utf-8'"),
    "names with spaces": _of(b"filename "), "charsets": _of(b"charset", b"application/json;"),
    "charsets with spaces": _of(b"charset= ", b"application/json;"),
    "dashes": _of(b"-"), "bearers": _of(b"Bearer "), "high": _of(b"\xe9"),
}  # fmt: skip
READERS: dict[str, Callable[[bytes], object]] = {
    "Forwarded": _text(lambda text: PROXIES.origin("127.0.0.1", "http", text)),
    "X-Forwarded-For": _text(lambda text: PROXIES.origin("127.0.0.1", "http", None, (text, text))),
    "both": _text(lambda text: PROXIES.origin("127.0.0.1", "http", text, (text, text))),
    "Authorization": _credential,
    "Accept-Encoding": _text(accepts_gzip),
    "Content-Type": _text(require_json),
    "Content-Disposition": _text(file_name),
    "Content-Type of an upload": _text(_media_type),
    "Host": HOSTS.require,
    "If-Match": _text(lambda text: tag_matches(text, '"1"', weak=False)),
    "If-None-Match": _text(lambda text: not_modified(text, '"1"')),
    "Idempotency-Key": _text(parse_key),
    "Origin": CORS.headers,
    "traceparent": lambda text: _exchange([(b"traceparent", text)]),
    "query": lambda text: QUERY.read((), text, b"", None),
    "path": _text(lambda text: ROUTER.find("/v1/" + text)),
    "segment": _text(decode_segment),
    "filter": _text(lambda text: parse(text, "/filter")),
    "cursor": _text(lambda text: parse_position(text, "/after")),
}


def _cost_s(read: Callable[[bytes], object], sent: bytes) -> float:
    gc.disable()  # a collection costs what everything else alive costs, and not this input
    begun_s = time.process_time()
    with contextlib.suppress(Failure):
        read(sent)
    cost_s = time.process_time() - begun_s
    gc.enable()
    return cost_s


def _is_linear(read: Callable[[bytes], object], make: Callable[[int], bytes]) -> bool:
    long = make(4 * BYTES)
    if _cost_s(read, long) < FLOOR_S:
        return True
    short = make(BYTES)
    best_s = min(_cost_s(read, short) for _ in range(RUNS))
    return min(_cost_s(read, long) for _ in range(RUNS)) < GROWTH_MAX * best_s


@pytest.mark.parametrize("hostile", BODIES)
@pytest.mark.parametrize("inputs", [WHOLE, RAW], ids=["typed", "raw"])
def test_a_body_is_read_in_linear_time(inputs: Requests, hostile: str) -> None:
    assert _is_linear(_body(inputs), BODIES[hostile])


@pytest.mark.parametrize("hostile", HEADERS)
@pytest.mark.parametrize("reader", READERS)
def test_a_header_is_read_in_linear_time(reader: str, hostile: str) -> None:
    assert _is_linear(READERS[reader], HEADERS[hostile])


def test_headers_that_come_often_are_joined_in_linear_time() -> None:
    def read(sent: bytes) -> None:
        _exchange([(b"x", b"y" * 8)] * (len(sent) // 8))

    assert _is_linear(read, _of(b"y" * 8))


def test_quadratic_work_is_noticed() -> None:
    def read(sent: bytes) -> None:
        for at in range(0, len(sent), 8):
            sent.count(b"z", 0, at)

    assert not _is_linear(read, _of(b"y"))
