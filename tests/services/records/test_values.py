"""What a field takes, what it keeps of it, and that what was acknowledged is what is stored."""

import json

import pytest

from mainspring.kernel.errors import Invalid
from mainspring.services.records.api import UniqueTaken
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
    assert [f.pointer for f in refused.value.faults] == ["/mail"]
