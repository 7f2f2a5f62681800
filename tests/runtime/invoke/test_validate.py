"""Input: typed, bounded, and refused with a pointer to what is wrong."""

import math
from typing import Annotated, Any, Literal

import msgspec
import pytest

from mainspring.interfaces.http.problem import body_of
from mainspring.interfaces.http.router import decode_segment
from mainspring.kernel.call import Call
from mainspring.kernel.errors import Failure, Invalid, Malformed, NotFound, UnsupportedMedia
from mainspring.kernel.field_errors import escape
from mainspring.kernel.operation import Input, Operation
from tests.requests import Requests

JSON = "application/json"


class Inner(Input):
    name: str


class Body(Input):
    title: Annotated[str, msgspec.Meta(max_length=5)]
    inner: list[Inner] = []  # noqa: RUF012
    labels: dict[str, int] = {}  # noqa: RUF012
    anything: Any = None


class Choice(Input):
    kind: Literal["new", "old"] | None = None
    codes: list[
        Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$", description="three capitals")]
    ] = []  # noqa: RUF012
    plain: Annotated[str, msgspec.Meta(pattern="^x$")] = "x"


class Parts(Input):
    parts: list[msgspec.Raw]


class Query(Input):
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 50
    name: str | None = None
    above: float | None = None
    on: bool = False
    tag: tuple[str, ...] = ()


async def write(call: Call, id: str, body: Body) -> None: ...
async def choose(call: Call, body: Choice) -> None: ...
async def write_raw(call: Call, body: msgspec.Raw) -> None: ...
async def write_parts(call: Call, body: Parts) -> None: ...
async def write_maybe(call: Call, body: Body | None) -> None: ...
async def read(call: Call, query: Query) -> None: ...
async def read_number(call: Call, number: int) -> None: ...
async def read_one(call: Call, id: str) -> None: ...
async def bare(call: Call) -> None: ...


WRITE = Requests(Operation("t.write", "POST /v1/t/{id}", write, scope=None))
CHOOSE = Requests(Operation("t.choose", "POST /v1/t", choose, scope=None))
RAW = Requests(Operation("t.raw", "POST /v1/t", write_raw, scope=None))
PARTS = Requests(Operation("t.parts", "POST /v1/t", write_parts, scope=None))
MAYBE = Requests(Operation("t.maybe", "POST /v1/t", write_maybe, scope=None))
READ = Requests(Operation("t.read", "GET /v1/t", read, scope=None))
READ_ONE = Requests(Operation("t.one", "GET /v1/t/{id}", read_one, scope=None))
NUMBER = Requests(Operation("t.number", "GET /v1/t/{number}", read_number, scope=None))
BARE = Requests(Operation("t.bare", "POST /v1/t", bare, scope=None))


def failure(inputs: Requests, body: bytes = b"", query: bytes = b"", media: str | None = JSON,
            path: tuple[str, ...] = ()) -> Failure:  # fmt: skip
    with pytest.raises(Failure) as caught:
        inputs.read(path, query, body, media)
    return caught.value


def test_a_body_becomes_a_struct() -> None:
    body = b'{"title": "hi", "inner": [{"name": "x"}]}'
    args = WRITE.read(("one",), b"", body, "application/json; charset=UTF-8")
    assert args == {"id": "one", "body": Body(title="hi", inner=[Inner(name="x")])}


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{}", "/title"),
        (b'{"title": 1}', "/title"),
        (b'{"title": "too long"}', "/title"),
        (b'{"title": "x", "more": 1}', "/more"),
        (b'{"title": "x", "a/b~c": 1}', "/a~1b~0c"),
        (b'{"title": "x", "inner": [{"name": "x"}, {"name": null}]}', "/inner/1/name"),
        (b'{"title": "x", "inner": [{}]}', "/inner/0/name"),
        (b'{"title": "x", "labels": {"k": "v"}}', "/labels/k"),
        (b'{"title": "\\u0000"}', "/title"),
        (b'{"title": "x", "anything": [{"k": "a\\u0000"}]}', "/anything/0/k"),
        (b'{"title": "x", "anything": {"k\\u0000": 1}}', "/anything"),
        (b'{"title": "\\ud800"}', "/title"),
        (b'{"title": "x", "anything": ["\\udfff\\ud800"]}', "/anything/0"),
        (b'{"title": "x", "anything": 1e999}', "/anything"),
        (b"[]", ""),
        (b'"text"', ""),
        (b"null", ""),
    ],
)
def test_what_breaks_a_rule_is_pointed_at(body: bytes, pointer: str) -> None:
    refused = failure(WRITE, body, path=("one",))
    assert isinstance(refused, Invalid)
    assert [error.pointer for error in refused.errors] == [pointer]


class Square(Input, tag="square"):
    side: int


class Circle(Input, tag="circle"):
    radius: int
    name: str


class Drawing(Input):
    shapes: Annotated[list[Square | Circle], msgspec.Meta(max_length=3)]
    by: Inner | None = None
    sizes: tuple[int, int] = (0, 0)
    marks: dict[Annotated[str, msgspec.Meta(max_length=2)], Inner] = {}  # noqa: RUF012


async def draw(call: Call, body: Drawing) -> None: ...


DRAW = Requests(Operation("t.draw", "POST /v1/t", draw, scope=None))


@pytest.mark.parametrize(
    ("inputs", "body", "pointers"),
    [
        (WRITE, b'{"title": 1, "labels": {"a": "x", "b": 1, "c": null}, "z": 1, "y": 2}',
         ["/title", "/labels/a", "/labels/c", "/z", "/y"]),
        (WRITE, b'{"inner": [{"name": 1}, {}, {"name": "x", "more": 1}, 7], "title": "too long"}',
         ["/inner/0/name", "/inner/1/name", "/inner/2/more", "/inner/3", "/title"]),
        (WRITE, b'{"x` - at `$.y": 1, "a/b~c": 2, "inner": 3}',
         ["/x` - at `$.y", "/a~1b~0c", "/inner", "/title"]),
        (WRITE, b'{"title": "\\u0000", "labels": {"a\\u0000": 1}, "anything": ["\\u0000"]}',
         ["/title", "/labels", "/anything/0"]),
        (CHOOSE, b'{"kind": "young", "codes": ["eur", "USD", 3], "plain": "y", "?": 0}',
         ["/kind", "/codes/0", "/codes/2", "/plain", "/?"]),
        (DRAW, b'{"by": {"name": 1, "x": 1}, "sizes": [1, "2"], "shapes": [{"type": "square"}, '
               b'{"type": "circle", "radius": "1"}, {"type": "cube"}, {"type": "square", "side": 1}'
               b'], "marks": {"long": {"name": "x"}, "ok": {"name": 2}}}',
         ["/by/name", "/by/x", "/sizes/1", "/shapes", "/shapes/0/side", "/shapes/1/radius",
          "/shapes/1/name", "/shapes/2/type", "/marks/long", "/marks/ok/name"]),
    ],
)  # fmt: skip
def test_all_errors_of_a_body_are_told(inputs: Requests, body: bytes, pointers: list[str]) -> None:
    path = ("one",) if inputs is WRITE else ()
    refused = failure(inputs, body, path=path)
    assert isinstance(refused, Invalid)
    assert [error.pointer for error in refused.errors] == pointers
    assert refused.errors_more == 0


def test_all_errors_of_a_query_are_told() -> None:
    refused = failure(READ, query=b"limit=0&on=maybe&above=null&other=1&name=a&name=b&q=2")
    assert {error.pointer for error in refused.errors} == {
        "/limit", "/on", "/above", "/other", "/name", "/q",
    }  # fmt: skip
    assert {error.pointer for error in failure(BARE, query=b"a=1&b=2").errors} == {"/a", "/b"}


@pytest.mark.parametrize(
    ("inputs", "body", "count"),
    [
        (WRITE, b'{"title": "x", "inner": [' + b",".join([b"7"] * 15_000) + b"]}", 15_000),
        (WRITE, b'{"title": "x"' + b"".join(b',"x%d":0' % i for i in range(50_000)) + b"}", 50_000),
        (WRITE, b'{"title": "x", "%b": 1}' % (b"y" * 500_000), 1),
        (WRITE, b'{"title": "x", "labels": {"%b": "x"}}' % (b"y" * 500_000), 1),
        (RAW, b'{"%b": [%b]}' % (b"y" * 100_000, b",".join([b'"\\u0000"'] * 50_000)), 50_000),
        (RAW, b'{"%b": [%b]}' % (b"y" * 100_000, b",".join([b'"\\ud800"'] * 50_000)), 50_000),
    ],
)  # fmt: skip
def test_errors_are_bounded_and_the_rest_is_counted(
    inputs: Requests, body: bytes, count: int
) -> None:
    refused = failure(inputs, body, path=("one",) if inputs is WRITE else ())
    assert len(refused.errors) + refused.errors_more == count
    told = body_of(refused, instance="/", request_id="req_1")
    assert len(told) < 32_000
    assert (b'"errors_more":%d' % refused.errors_more in told) is (count > 1)


def test_what_is_no_json_behind_its_first_error_is_malformed() -> None:
    for body in (b'{"title": 1', b'{"title": 1, "inner": [}', b'{"title": 1, "x": "\xff"}'):
        assert isinstance(failure(WRITE, body, path=("one",)), Malformed)


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        (b'{"kind": "young"}', "/kind", "Expected one of new, old"),
        (b'{"codes": ["EUR", "euro"]}', "/codes/1", "Expected three capitals"),
        (b'{"plain": "y"}', "/plain", "Expected `str` matching regex '^x$'"),
    ],
)
def test_what_may_stand_there_instead_is_named(body: bytes, pointer: str, detail: str) -> None:
    (error,) = failure(CHOOSE, body).errors
    assert (error.pointer, error.detail) == (pointer, detail)


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b'{"title": "x"} x', b"{'title': 1}", b'{"title": NaN}', b"\xff",
        b'{"title": "x", "anything": Infinity}', b'{"title": "\xff"}', b'{"title": "\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"title": "x"}', b'{"title": "x",}', b'{"title": "x", "anything": 01}',
        b'{"title": "x", "anything": ' + b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000,
        b'{"title": "x", "anything": ' + b"[" * 70 + b"]" * 70 + b"}",
        b'{"title": "x", "anything": ' + b'{"a":' * 500_000 + b"1" + b"}" * 500_000 + b"}",
    ],
)  # fmt: skip
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    assert isinstance(failure(WRITE, body, path=("one",)), Malformed)


@pytest.mark.parametrize("body", [b"[" * 65 + b"]" * 65, b'{"a": "\xff"}', b'["\xed\xa0\x80"]',
                                  b"[1,]", b"", b"[" * 200_000])  # fmt: skip
def test_a_raw_body_is_json_too(body: bytes) -> None:
    assert isinstance(failure(RAW, body), Malformed)


def test_a_raw_body_holds_no_nul_and_no_lone_surrogate() -> None:
    assert failure(RAW, b'{"a": ["\\u0000"]}').errors[0].pointer == "/a/0"
    assert failure(RAW, b'{"a": ["\\ud800"]}').errors[0].pointer == "/a/0"


def test_escapes_that_look_alike_pass() -> None:
    for body in (b'"\\\\u0000"', b'"\\ud83d\\ude00"', b'"' + b"[" * 100 + b'"'):
        assert bytes(RAW.read((), b"", body, JSON)["body"]) == body
    wide = b"[" + b",".join([b"{}"] * 1_000) + b"]"
    assert bytes(RAW.read((), b"", wide, JSON)["body"]) == wide


@pytest.mark.parametrize(
    "media", [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonx",
              "application/json; charset=latin-1", "multipart/form-data; boundary=x"],
)  # fmt: skip
def test_another_media_type_is_refused(media: str | None) -> None:
    assert isinstance(failure(WRITE, b'{"title": "x"}', media=media, path=("a",)), UnsupportedMedia)


@pytest.mark.parametrize(
    "media", ["application/json;charset=utf-8", "Application/JSON", "application/merge-patch+json"]
)
def test_json_has_many_names(media: str) -> None:
    assert WRITE.read(("a",), b"", b'{"title": "x"}', media)["body"].title == "x"


def test_a_body_may_be_left_out_only_where_it_is_optional() -> None:
    assert MAYBE.read((), b"", b"", None) == {"body": None}
    assert BARE.read((), b"", b"", None) == BARE.read((), b"", b" {} ", JSON) == {}
    assert isinstance(failure(BARE, b'{"x": 1}'), Invalid)


def test_a_query_is_read_by_its_types() -> None:
    args = READ.read((), b"limit=7&name=a%20b+c&tag=x&tag=%C3%A9&on=true&above=1.5&", b"", None)
    assert args["query"] == Query(limit=7, name="a b c", tag=("x", "é"), on=True, above=1.5)
    assert READ.read((), b"name=null", b"", None)["query"].name == "null"
    assert READ.read((), b"", b"", None)["query"] == Query()


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        (b"limit=0", "/limit"), (b"limit=501", "/limit"), (b"limit=", "/limit"),
        (b"limit=x", "/limit"), (b"limit=1&limit=2", "/limit"), (b"on=maybe", "/on"),
        (b"above=nan", "/above"), (b"above=-inf", "/above"), (b"above=null", "/above"),
        (b"other=1", "/other"), (b"=1", "/"), (b"name=%00", ""),
    ],
)  # fmt: skip
def test_a_query_that_does_not_fit_is_pointed_at(query: bytes, pointer: str) -> None:
    refused = failure(READ, query=query)
    assert isinstance(refused, Invalid)
    assert [error.pointer for error in refused.errors] == [pointer]


def test_a_query_is_bounded_and_text() -> None:
    assert isinstance(failure(READ, query=b"name=%ff"), Invalid)
    assert isinstance(failure(READ, query=b"a=1&" * 200), Invalid)
    assert isinstance(failure(READ, query=b"name=" + b"x" * 20_000), Invalid)
    assert isinstance(failure(BARE, query=b"x=1"), Invalid)


def test_a_path_value_of_another_type_is_nowhere() -> None:
    assert NUMBER.read(("7",), b"", b"", None) == {"number": 7}
    assert isinstance(failure(NUMBER, path=("seven",)), NotFound)


def test_a_path_is_read_by_its_names_in_whatever_order_a_handler_takes_them() -> None:
    async def swapped(call: Call, second: str, first: int) -> None: ...

    read = Requests(Operation("t.two", "GET /v1/{first}/{second}", swapped, scope=None))
    assert read.read(("1", "x"), b"", b"", None) == {"first": 1, "second": "x"}


def test_segments_are_text() -> None:
    assert decode_segment("a%2Fb%20%C3%A9") == "a/b é"
    for segment in ("%ff", "%ed%a0%80"):
        with pytest.raises(NotFound):
            decode_segment(segment)
    assert isinstance(failure(READ_ONE, path=("\0",)), NotFound)


def test_pointers_are_escaped() -> None:
    assert escape("a/b~") == "a~1b~0"


def test_numbers_stay_what_they_are() -> None:
    read = WRITE.read(
        ("a",), b"", b'{"title": "x", "anything": [1, -0.0, 12345678901234567890]}', JSON
    )
    one, zero, long = read["body"].anything
    assert (one, long) == (1, 12345678901234567890)
    assert math.copysign(1, zero) == -1


@pytest.mark.parametrize(
    ("inputs", "body", "status"),
    [
        (RAW, b'{"a": "\\u0000", "b": 1e999}', 422),
        (PARTS, b'{"parts": [{"a": "\\u0000", "b": 1e999}]}', 422),
        (RAW, b'{"a": "\xff"}', 400),
        (PARTS, b'{"parts": [{"a": "\xff"}]}', 400),
    ],
)
def test_what_is_passed_on_unread_is_refused_like_the_rest(
    inputs: Requests, body: bytes, status: int
) -> None:
    assert failure(inputs, body).status == status
