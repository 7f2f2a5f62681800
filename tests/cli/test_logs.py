"""Logs: one JSON line per entry, ids of the call, and no secret in any of them."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from mainspring.cli.logs import HIDDEN, TEXT_CHARS_MAX, redact, scrub, set_up
from mainspring.kernel.call import ANONYMOUS, Call, Context
from mainspring.kernel.clock import SystemClock, SystemEntropy
from mainspring.kernel.current_call import CURRENT_CALL
from mainspring.kernel.ids import IdMaker
from mainspring.kernel.table import Query, Rows
from mainspring.settings import LogSettings

JWT = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c2VyXzEifQ.c2lnbmF0dXJl-_x"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], root.level = before


def entries(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_json_where_nobody_watches(stream: io.StringIO) -> None:
    set_up(LogSettings(), stream)
    structlog.get_logger().info("started", port=8080, nested={"a": [1, 2.5, None, True]})
    (entry,) = entries(stream)
    assert entry["message"] == "started"
    assert entry["level"] == "info"
    assert str(entry["time"]).endswith("Z")
    assert entry["port"] == 8080
    assert entry["nested"] == {"a": [1, 2.5, None, True]}


class Empty:
    """A database without rows."""

    async def read(self, query: Query[Any], values: tuple[Any, ...]) -> list[Any]:
        return []

    async def page(self, query: Query[Any], values: tuple[Any, ...], bytes_max: int) -> Rows[Any]:
        return Rows([], more=False)


def test_a_line_carries_the_ids_of_its_call(stream: io.StringIO) -> None:
    set_up(LogSettings(), stream)
    context = Context(Empty(), IdMaker(SystemClock(), SystemEntropy()), {}, {})
    call = Call(context, ANONYMOUS, now_ms=0, request_id="req_1", correlation_id="req_0")
    token = CURRENT_CALL.set(call)
    structlog.get_logger().info("paid")
    logging.getLogger("bank").info("slow")
    CURRENT_CALL.reset(token)
    structlog.get_logger().info("idle")
    first, second, last = entries(stream)
    for entry in (first, second):
        assert (entry["request_id"], entry["correlation_id"]) == ("req_1", "req_0")
    assert "request_id" not in last


def test_text_is_for_people(stream: io.StringIO) -> None:
    set_up(LogSettings(format="text"), stream)
    structlog.get_logger().warning("slow", seconds=2)
    line = stream.getvalue()
    assert "slow" in line
    assert "seconds=2" in line
    assert not line.startswith("{")


def test_less_severe_lines_are_left_out(stream: io.StringIO) -> None:
    set_up(LogSettings(level="warning"), stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("aiohttp.client").info("quiet")
    structlog.get_logger().error("loud")
    assert [entry["message"] for entry in entries(stream)] == ["loud"]


def test_the_standard_library_takes_the_same_way(stream: io.StringIO) -> None:
    logging.getLogger("aiohttp.server").addHandler(logging.StreamHandler(io.StringIO()))
    set_up(LogSettings(), stream)
    logging.getLogger("aiohttp.server").warning("Bearer %s refused", "abcdef123456")
    (entry,) = entries(stream)
    assert entry["message"] == f"Bearer {HIDDEN} refused"
    assert entry["logger"] == "aiohttp.server"
    assert entry["level"] == "warning"


def test_a_traceback_is_one_line_and_scrubbed(stream: io.StringIO) -> None:
    set_up(LogSettings(), stream)
    try:
        raise RuntimeError("cannot use msk_abcdefghijklmnop")
    except RuntimeError:
        structlog.get_logger().exception("failed")
        logging.getLogger("somewhere").exception("failed")
    for entry in entries(stream):
        assert "Traceback" in str(entry["exception"])
        assert "abcdefghijklmnop" not in json.dumps(entry)


@pytest.mark.parametrize(
    "name",
    ["Authorization", "password", "new_password", "refresh_token", "access-token", "secret", "key",
     "api_key", "client_secret", "Cookie", "set-cookie", "credentials", "secrets", "token_hash"],
)  # fmt: skip
def test_a_value_is_hidden_by_its_name(name: str) -> None:
    entry = redact(None, "", {name: "hunter2", "deep": {name: ["hunter2"]}})
    assert entry == {name: HIDDEN, "deep": {name: HIDDEN}}


@pytest.mark.parametrize("name", ["keyboard", "monkey", "key_id", "tokenizer", "author", "event"])
def test_an_innocent_name_is_shown(name: str) -> None:
    assert redact(None, "", {name: "hunter2"}) == {name: "hunter2"}


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("msk_0123456789abcdef", f"msk_{HIDDEN}"),
        ("whsec_MfKQ9r8GKYqrTwjU+/=", f"whsec_{HIDDEN}"),
        ("msr_01m7y8993be009ex9kys3ddttj_1_abc-DEF", f"msr_{HIDDEN}"),
        (f"got {JWT}.", f"got {HIDDEN}."),
        (f"Authorization: Bearer {JWT}", f"Authorization: Bearer {HIDDEN}"),
        ("postgresql://ann:hunter2@db/shop", f"postgresql://ann:{HIDDEN}@db/shop"),
        ("at postgresql://ann:p@ss/w@db/shop: no", f"at postgresql://{HIDDEN}@db/shop: no"),
        ("postgresql://ann:hunter2", f"postgresql://{HIDDEN}"),
        ("http://127.0.0.1:8080/v1/users", "http://127.0.0.1:8080/v1/users"),
        ("GET http://[::1]:8080/v1?x=a@b", "GET http://[::1]:8080/v1?x=a@b"),
        ("user_01jd0000000000000000000000", "user_01jd0000000000000000000000"),
    ],
)
def test_a_value_is_hidden_by_its_shape(text: str, seen: str) -> None:
    assert scrub(text) == seen
    assert redact(None, "", {"event": text, "x": (text,), "y": {"z": text.encode()}}) == {
        "event": seen, "x": [seen], "y": {"z": seen},
    }  # fmt: skip


def test_headers_as_pairs_are_hidden_too() -> None:
    headers = [(b"authorization", b"hunter2"), (b"accept", b"*/*")]
    assert redact(None, "", {"headers": headers}) == {
        "headers": [["authorization", HIDDEN], ["accept", "*/*"]]
    }


def test_a_value_is_bounded() -> None:
    assert len(scrub("a" * (TEXT_CHARS_MAX + 100))) == TEXT_CHARS_MAX + 3
    deep: object = "end"
    for _ in range(50):
        deep = [deep]
    assert "..." in str(redact(None, "", {"x": deep}))
