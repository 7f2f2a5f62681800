"""Downloads over HTTP: ranges, conditions, what browsers show, and links; of both engines."""

from typing import Any

import pytest

from mainspring import testing
from mainspring.kernel.byte_range import BytePart, WantedRange
from mainspring.testing.client import Client, HttpAnswer

TEXT = bytes(range(65, 91)) * 10
HTML = b"<!doctype html><script>alert(1)</script>"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + b"\0" * 40
RULES = {"view": "record.name == 'open' || record.name == caller.id", "update": "true"}


async def _file(whole: testing.Platform, content: bytes = TEXT, **field: Any) -> tuple[str, str]:
    """Return where a record and its file are."""
    key = await whole.as_key("*")
    fields = [{"name": "photo", "type": "file", **field}, {"name": "name", "type": "text"}]
    new = {"name": "people", "fields": fields, "rules": RULES}
    (await key.post("/v1/collections", new)).expect(201)
    made = (await key.post("/v1/collections/people/records", {"name": "open"})).expect(201)
    record = f"/v1/collections/people/records/{made['id']}"
    sent = await key.post(f"{record}/files/photo", content=content, content_type="text/plain")
    sent.expect(201)
    return record, f"{record}/files/photo"


async def _get(client: Client, path: str, **headers: str) -> HttpAnswer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.get(path, headers=named)


async def test_a_range_is_answered_by_itself(whole: testing.Platform) -> None:
    _, path = await _file(whole)
    key, size = await whole.as_key("*"), len(TEXT)
    full = await key.get(path)
    assert (full.status, full.body, full.headers["accept-ranges"]) == (200, TEXT, "bytes")
    assert full.etag is not None
    for wanted, first, last in (
        ("bytes=0-0", 0, 0), ("bytes=5-9", 5, 9), ("bytes=250-", 250, size - 1),
        ("bytes=-3", size - 3, size - 1), ("bytes=0-99999999999999999999999", 0, size - 1),
        ("Bytes = 1-2", 1, 2), ("bytes=-1000", 0, size - 1),
    ):  # fmt: skip
        part = await _get(key, path, Range=wanted)
        assert (part.status, part.body) == (206, TEXT[first : last + 1]), wanted
        assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
        assert part.headers["content-length"] == str(last + 1 - first)
        assert (part.etag, part.headers["cache-control"]) == (full.etag, "private, no-cache")
    for ignored in ("bytes=1-2,4-5", "bytes=9-5", "lines=1-2", "bytes=", "bytes=-", "x"):
        whole_of_it = await _get(key, path, Range=ignored)
        assert (whole_of_it.status, whole_of_it.body) == (200, TEXT), ignored
    for beyond in (f"bytes={size}-", "bytes=999-1000", "bytes=-0"):
        refused = await _get(key, path, Range=beyond)
        assert refused.expect(416)["code"] == "range_not_satisfiable"
        assert refused.headers["content-range"] == f"bytes */{size}"


async def test_conditions_come_before_the_range(whole: testing.Platform) -> None:
    _, path = await _file(whole)
    key = await whole.as_key("*")
    etag = (await key.get(path)).etag or ""
    for wanted in ("bytes=0-1", "bytes=999-", None):
        headers = {"If_None_Match": etag} | ({} if wanted is None else {"Range": wanted})
        held = await _get(key, path, **headers)
        assert (held.status, held.body, held.etag) == (304, b"", etag)
        assert "content-range" not in held.headers
    assert (await _get(key, path, Range="bytes=0-1", If_Range=etag)).status == 206
    for other in ('"other"', "W/" + etag, "Fri, 27 Nov 2026 10:00:00 GMT"):
        assert (await _get(key, path, Range="bytes=0-1", If_Range=other)).status == 200
    assert (await _get(key, path, If_Match='"other"')).status == 412
    head = await key.request("HEAD", path, headers={"Range": "bytes=0-1"})
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(TEXT)))
    assert head.headers["accept-ranges"] == "bytes"


async def test_an_empty_file_has_no_range(whole: testing.Platform) -> None:
    _, path = await _file(whole, b"")
    key = await whole.as_key("*")
    assert (await _get(key, path, Range="bytes=0-")).headers["content-range"] == "bytes */0"
    assert (await key.get(path)).body == b""


@pytest.mark.parametrize(
    ("content", "inline", "shown"),
    [(PNG, True, True), (PNG, False, False), (TEXT, True, True), (HTML, True, False),
     (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", True, False)],
)  # fmt: skip
async def test_only_what_cannot_run_is_harmless_and_only_where_the_field_lets_it(
    whole: testing.Platform, content: bytes, inline: bool, shown: bool
) -> None:
    _, path = await _file(whole, content, inline=inline)
    key = await whole.as_key("*")
    answer = await key.get(path)
    kind = answer.headers["content-disposition"].partition(";")[0]
    assert kind == ("inline" if shown else "attachment")
    policy = answer.headers["content-security-policy"]
    assert "sandbox" in policy
    assert "default-src 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    asked = await key.get(f"{path}?download=true")
    assert asked.headers["content-disposition"].startswith("attachment;")


async def test_a_public_rule_shows_a_file_to_who_sends_no_credentials(
    whole: testing.Platform,
) -> None:
    record, path = await _file(whole)
    assert (await whole.anonymous.get(path)).body == TEXT
    (await (await whole.as_key("*")).patch(record, {"name": "mine"})).expect(200)
    assert (await whole.anonymous.get(path)).status == 404


async def test_a_link_shows_what_its_maker_may_see_and_ends(whole: testing.Platform) -> None:
    record, path = await _file(whole)
    key, ann = await whole.as_key("*"), await whole.as_user("ann@example.com")
    (await key.patch(record, {"name": ann.id})).expect(200)
    (await whole.anonymous.post(f"{path}:link", {})).expect(404)
    (await ann.post(f"{path}:link", {"expires_in_s": 3_601})).expect(422)
    link = (await ann.post(f"{path}:link", {"expires_in_s": 60})).expect(200)
    assert link["expires_at"] > whole.now
    shown = await _get(whole.anonymous, link["url"], Range="bytes=1-2")
    assert (shown.status, shown.body) == (206, TEXT[1:3])
    assert shown.headers["referrer-policy"] == "no-referrer"
    assert "private" in shown.headers["cache-control"]
    # Its maker may not see it any more, and may again.
    (await key.patch(record, {"name": "another's"})).expect(200)
    assert (await whole.anonymous.get(link["url"])).status == 404
    (await key.patch(record, {"name": ann.id})).expect(200)
    assert (await whole.anonymous.get(link["url"])).status == 200
    token = link["url"].rpartition("/")[2]
    for wrong in (token[:-4], "x", token + "AAAA", token.swapcase()):
        assert (await whole.anonymous.get(f"/v1/linked_files/{wrong}")).status == 404
    by_key = await whole.as_key("records:read")
    other = (await by_key.post(f"{path}:link", {})).expect(200)
    (await key.delete(f"/v1/api_keys/{by_key.id}")).expect(204)
    assert (await whole.anonymous.get(other["url"])).status == 404
    whole.clock.move(61)
    assert (await whole.anonymous.get(link["url"])).status == 410


async def test_a_link_is_of_one_file(whole: testing.Platform) -> None:
    _, path = await _file(whole)
    key = await whole.as_key("*")
    link = (await key.post(f"{path}:link", {})).expect(200)
    (await key.post(path, content=b"another", content_type="text/plain")).expect(201)
    assert (await whole.anonymous.get(link["url"])).status == 404


def test_a_range_of_any_size_is_read() -> None:
    assert WantedRange(f"bytes=0-{'9' * 20_000}").of(10, None) == BytePart(0, 10)
    assert WantedRange(f"bytes={'0' * 20_000}1-").of(10, None) == BytePart(1, 9)
    assert WantedRange(f"bytes={'9' * 20_000}-").of(10, None) == BytePart(10**18, 0)
