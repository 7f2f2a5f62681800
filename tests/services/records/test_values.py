"""What a field takes, what it keeps of it, and that what was acknowledged is what is stored."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.kernel.errors import Invalid
from mainspring.services.records import service
from mainspring.services.records.api import UniqueTaken
from mainspring.services.records.fields import NORMALISERS
from tests.services.records.platform import Platform, read

TOLD_APART = [
    ({"on": 1}, {"on": True}),
    ({"on": 0}, {"on": False}),
    ({"on": 1}, {"on": 1.0}),
    ([1, [0, {"x": 1}]], [1, [0, {"x": True}]]),
    (True, 1),
    (0.0, -0.0),
    ("1", 1),
    ({"a": None}, {}),
]


def written(value: object) -> str:
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize(("old", "new"), TOLD_APART)
@pytest.mark.parametrize("way", ["PATCH", "PUT", "batch"])
async def test_a_change_of_type_alone_is_stored(
    platform: Platform, old: object, new: object, way: str
) -> None:
    await platform.make("posts", {"name": "meta", "type": "json"})
    made = await platform.add("posts", meta=old)
    for value in (new, old):
        if way == "batch":
            items = [{"action": "update", "id": made["id"], "data": {"meta": value}}]
            outcome = await platform.run(
                "batch_records", collection="posts", batch={"items": items}
            )
            answered = read(outcome)["items"][0]
        else:
            operation = "update_record" if way == "PATCH" else "replace_record"
            answered = read(
                await platform.run(
                    operation, collection="posts", id=made["id"], body={"meta": value}
                )
            )
        assert written(answered["meta"]) == written(value)
        assert written((await platform.get("posts", made["id"]))["meta"]) == written(value)
    assert [t for t, _ in await platform.events()].count("records.record.updated") == 2


async def test_the_same_value_again_changes_nothing(platform: Platform) -> None:
    await platform.make("posts", {"name": "meta", "type": "json"})
    made = await platform.add("posts", meta={"a": 1, "b": [True]})
    outcome = await platform.run(
        "update_record", collection="posts", id=made["id"], body={"meta": {"b": [True], "a": 1}}
    )
    assert (read(outcome), outcome.etag) == (made, '"1"')


# E-mail addresses


@pytest.mark.parametrize(
    "spelling", ["Anna@bücher.example", "Anna@XN--BCHER-KVA.example", "Anna@bu\u0308cher.EXAMPLE"]
)
async def test_one_address_in_two_spellings_is_one(platform: Platform, spelling: str) -> None:
    await platform.make("people", {"name": "mail", "type": "email", "unique": True})
    made = await platform.add("people", mail="Anna@BÜCHER.example")
    assert made["mail"] == "Anna@xn--bcher-kva.example"
    with pytest.raises(UniqueTaken):
        await platform.add("people", mail=spelling)


@pytest.mark.parametrize("text", ["a\uff20b@c", '"a b"@c.de', "a\n@b.de", "a\u200b@b.de"])
async def test_what_is_no_address_is_refused(platform: Platform, text: str) -> None:
    await platform.make("people", {"name": "mail", "type": "email"})
    with pytest.raises(Invalid) as refused:
        await platform.add("people", mail=text)
    assert [f.pointer for f in refused.value.errors] == ["/mail"]


# URLs


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("HTTPS://User:SeCret@Example.ORG/Path?Q=A#F", "https://User:SeCret@example.org/Path?Q=A#F"),
        ("http://a:P@SS@B.de/", "http://a:P@SS@b.de/"),
        ("http://a.de", "http://a.de"),
        ("http://a.de/?", "http://a.de/?"),
        ("http://a.de/#", "http://a.de/#"),
        ("http://a.de:/x", "http://a.de:/x"),
        ("http://a.de:080/x", "http://a.de:080/x"),
        ("http://[2001:DB8::1]:80/x", "http://[2001:db8::1]:80/x"),
        ("http://a.de/%c3%a4/%7Eann/../b?x=%2f", "http://a.de/%C3%A4/%7Eann/../b?x=%2F"),
        ("http://u:%aB%zz@a.de/", "http://u:%AB%zz@a.de/"),
        ("http://B\u00dcCHER.example/\u00e4|b", "http://b\u00dccher.example/\u00e4|b"),
        ("http://a.de/x;y,z='(*)!", "http://a.de/x;y,z='(*)!"),
    ],
)  # fmt: skip
async def test_of_a_url_only_what_means_nothing_is_normalised(
    platform: Platform, sent: str, kept: str
) -> None:
    await platform.make("sites", {"name": "url", "type": "url"})
    made = await platform.add("sites", url=sent)
    assert (await platform.get("sites", made["id"]))["url"] == kept
    assert NORMALISERS["url"](kept) == kept


@pytest.mark.parametrize(
    "text",
    ["", "a", "ftp://a", "http:a", "http:///a", "http://", "http://u@", "http://a b/",
     "http://a/ b", "http://a/\n", "http://a/\t", "http://a\\@b.de/", "http://a:65536/", "http://a:x/",
     "http://[::1/", "http://[x]/", "http://a/\u2028", "http://\u3000/", " http://a",
     "javascript:1"],
)  # fmt: skip
async def test_what_is_no_url_is_refused(platform: Platform, text: str) -> None:
    await platform.make("sites", {"name": "url", "type": "url"})
    with pytest.raises(Invalid) as refused:
        await platform.add("sites", url=text)
    assert [f.pointer for f in refused.value.errors] == ["/url"]


@given(
    scheme=st.sampled_from(["http", "HTTPS"]),
    user=st.from_regex(r"\A([A-Za-z0-9%:!$&'()*+,;=._~-]{1,12}@)?\Z"),
    host=st.from_regex(r"\A[A-Za-z0-9.-]{1,12}\Z"),
    port=st.sampled_from(["", ":", ":80", ":65535"]),
    rest=st.from_regex(r"\A([/?#][A-Za-z0-9%/?#:@!$&'()*+,;=._~|\[\]-]{0,20})?\Z"),
)
def test_a_url_comes_back_with_nothing_but_its_case_changed(
    scheme: str, user: str, host: str, port: str, rest: str
) -> None:
    kept = NORMALISERS["url"](f"{scheme}://{user}{host}{port}{rest}")
    assert kept == NORMALISERS["url"](kept)
    upper = re.compile(r"%[0-9A-Fa-f]{2}")
    user, rest = (upper.sub(lambda m: m[0].upper(), text) for text in (user, rest))
    assert kept == f"{scheme.lower()}://{user}{host.lower()}{port}{rest}"


# Numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("5.0", 5), ("1e3", 1_000), ("-0.0", 0), ("-7.0e0", -7), ("12.5e1", 125),
     ("9007199254740991", 2**53 - 1), ("9007199254740991.0", 2**53 - 1)],
)  # fmt: skip
async def test_an_integer_is_one_however_it_is_written(
    platform: Platform, text: str, value: int
) -> None:
    await platform.make("things", {"name": "n", "type": "integer", "unique": True})
    made = await sent(platform, "create_record", f'{{"n":{text}}}')
    assert json.dumps(made["n"]) == str(value)
    assert (await platform.page("things", filter=f"n == {value}"))["items"] == [made]
    with pytest.raises(UniqueTaken):
        await platform.add("things", n=value)


@pytest.mark.parametrize(
    "text",
    ["5.5", "1e-3", "9007199254740992", "9007199254740992.0", "1e300", "-1e16", "true", '"5"',
     "1e400", "123456789012345678901234567890", "4503599627370495.5"],
)  # fmt: skip
async def test_what_is_no_integer_is_refused(platform: Platform, text: str) -> None:
    await platform.make("things", {"name": "n", "type": "integer"})
    with pytest.raises(Invalid) as refused:
        await sent(platform, "create_record", f'{{"n":{text}}}')
    assert [f.pointer for f in refused.value.errors] == ["/n"]


async def test_bounds_between_integers_are_kept_to(platform: Platform) -> None:
    await platform.make("things", {"name": "n", "type": "integer", "min": 0.5, "max": 2.5})
    for n in (1, 2):
        await platform.add("things", n=n)
    for n in (0, 3):
        with pytest.raises(Invalid):
            await platform.add("things", n=n)


async def test_a_default_is_kept_as_a_value_would_be(platform: Platform) -> None:
    made = await platform.make(
        "things",
        {"name": "n", "type": "integer", "default": 5.0},
        {"name": "x", "type": "number", "default": 5},
        {"name": "mail", "type": "email", "default": "a@B.example"},
        {"name": "at", "type": "datetime", "default": "2026-01-01T01:00:00+01:00"},
    )
    defaults = [field["default"] for field in made["fields"]]
    assert json.dumps(defaults) == json.dumps([5, 5.0, "a@b.example", "2026-01-01T00:00:00.000Z"])
    record = await platform.add("things")
    assert json.dumps([record[name] for name in ("n", "x", "mail", "at")]) == json.dumps(defaults)


# Text


async def test_the_most_that_a_text_takes_is_shown(platform: Platform) -> None:
    made = await platform.make("posts", {"name": "text", "type": "text"})
    assert made["fields"][0]["max"] == 5_000
    await platform.add("posts", text="x" * 5_000)
    with pytest.raises(Invalid):
        await platform.add("posts", text="x" * 5_001)
    shown = read(await platform.run("get_collection", name="posts"))
    assert shown["fields"] == made["fields"]
    same = read(await platform.run("update_collection", name="posts", change={"fields": [
        {"name": "text", "type": "text", "max": 6_000}]}))  # fmt: skip
    assert same["fields"][0]["max"] == 6_000


# All errors of a body


async def test_all_that_is_wrong_with_a_record_is_told(platform: Platform) -> None:
    await platform.make(
        "posts",
        {"name": "title", "type": "text", "required": True},
        {"name": "n", "type": "integer"},
        {"name": "mail", "type": "email"},
        {"name": "site", "type": "url"},
        {"name": "due", "type": "datetime"},
    )
    wrong = {"n": "x", "mail": "no", "site": "ftp://a", "due": 5, "other": 1}
    for body, missing in ((wrong, ["/title"]), ({**wrong, "title": None}, ["/title"])):
        with pytest.raises(Invalid) as refused:
            await platform.add("posts", **body)
        assert sorted(f.pointer for f in refused.value.errors) == sorted(
            ["/n", "/mail", "/site", "/due", "/other", *missing]
        )
    with pytest.raises(Invalid) as refused:
        await platform.add("posts", title="a", mail="no", site="ftp://a", due="soon", n=1.5)
    assert sorted(f.pointer for f in refused.value.errors) == ["/due", "/mail", "/n", "/site"]


async def test_errors_of_a_record_are_bounded(platform: Platform) -> None:
    await platform.make("posts", {"name": "n", "type": "integer"})
    with pytest.raises(Invalid) as refused:
        await platform.add("posts", **{f"field_{i}" * 10: i for i in range(10_000)})
    assert len(refused.value.errors) <= 100
    assert refused.value.errors_more == 10_000 - len(refused.value.errors)


@pytest.mark.parametrize("text", ['"\\ud800"', '{"\\udfff":1}', '["\\ud83d"]'])
async def test_a_lone_surrogate_is_no_text(platform: Platform, text: str) -> None:
    await platform.make("posts", {"name": "meta", "type": "json"})
    with pytest.raises(Invalid) as refused:
        await sent(platform, "create_record", f'{{"meta":{text}}}')
    assert refused.value.errors[0].pointer.startswith("/meta")


async def sent(platform: Platform, operation: str, body: str, **args: object) -> dict[str, Any]:
    """Send the bytes of a body as they are."""
    found = service.operations[f"records.{operation}"]
    call = platform.call()
    raw = {"collection": "things", "body": msgspec.Raw(body.encode()), **args}
    if "meta" in body:
        raw["collection"] = "posts"
    outcome = await platform.runtime.dispatcher.run(found, call, raw)
    made: dict[str, Any] = read(outcome)
    return made
