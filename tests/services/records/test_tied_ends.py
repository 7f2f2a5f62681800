"""What goes with a record, how much and its files; what writes make of lists and of stamps."""

from typing import Any

from mainspring import testing
from mainspring.kernel.errors import Invalid
from mainspring.services.records.api import BATCH_MAX, ENDED_MAX, StillReferenced
from tests.services.records.platform import KEY, Platform, read
from tests.services.records.test_relations import LINKS, refused

TITLE = {"name": "title", "type": "text", "max": 40}
PARENT = {"name": "parent", "type": "relation", "collection": "boxes", "on_delete": "cascade"}


async def test_more_than_a_thousand_do_not_go_with_one(platform: Platform) -> None:
    await platform.make("boxes", TITLE)
    await platform.make("things", PARENT)
    box = await platform.add("boxes", title="full")
    items = [{"action": "create", "data": {"parent": box["id"]}}] * BATCH_MAX
    batch = {"collection": "things", "batch": {"items": items}}
    made = read(await platform.run("batch_records", **batch))["items"]
    over = await platform.add("things", parent=box["id"])
    delete = {"collection": "boxes", "id": box["id"]}
    failure = await refused(platform.run("delete_record", **delete), StillReferenced)
    assert f"more than {ENDED_MAX:,} records" in failure.detail
    # Nothing is half done.
    assert await platform.get("boxes", box["id"]) == box
    assert await platform.get("things", made[0]["id"]) == made[0]
    assert await platform.database.read(LINKS, ()) == [BATCH_MAX + 1]
    told = len(await platform.events())
    await platform.run("delete_record", collection="things", id=over["id"])
    await platform.run("delete_record", **delete)
    assert await platform.database.read(LINKS, ()) == [0]
    assert (await platform.page("things"))["items"] == []
    ended = [data["subject"] for _, data in (await platform.events())[told:]]
    assert sorted(ended) == sorted([over["id"], box["id"], *(item["id"] for item in made)])


async def test_files_go_with_a_cascade(whole: testing.Platform) -> None:
    file = {"name": "scan", "type": "file"}
    for name, fields in (("boxes", [TITLE, file]), ("things", [PARENT, file])):
        new = {"name": name, "fields": fields}
        (await whole.admin.post("/v1/collections", new)).expect(201)
    boxes, things = [f"/v1/collections/{name}/records" for name in ("boxes", "things")]
    kept = (await whole.admin.post(boxes, {})).expect(201)["id"]
    box = (await whole.admin.post(boxes, {})).expect(201)["id"]
    thing = (await whole.admin.post(things, {"parent": box})).expect(201)["id"]
    for path in (f"{boxes}/{box}", f"{boxes}/{kept}", f"{things}/{thing}"):
        (await whole.admin.post(f"{path}/files/scan", content=path.encode())).expect(201)
    (await whole.admin.delete(f"{boxes}/{box}")).expect(204)
    await whole.drain()
    left = [p for p in (whole.app.data_dir / "blobs").rglob("*") if p.is_file()]
    assert len(left) == 1
    assert (await whole.admin.get(f"{boxes}/{kept}/files/scan")).text == f"{boxes}/{kept}"


async def test_operators_change_lists_within_their_bounds(platform: Platform) -> None:
    field: dict[str, Any] = {"name": "tags", "type": "text", "max": 5, "many": True}
    await platform.make("boxes", TITLE)
    await platform.make("posts", {**field, "max_items": 3}, {**PARENT, "many": True, "name": "at"})
    ids = [(await platform.add("boxes", title="a"))["id"] for _ in range(2)]
    post = await platform.add("posts", tags=["a"])

    async def change(**body: Any) -> Any:
        where = {"collection": "posts", "id": post["id"]}
        sent = {f"${name}": value for name, value in body.items()}
        return read(await platform.run("update_record", KEY, **where, body=sent))

    assert (await change(append={"tags": ["b", "a"]}))["tags"] == ["a", "b", "a"]
    failure = await refused(change(append={"tags": ["c"]}), Invalid)
    assert failure.errors[0].pointer == "/$append/tags"
    assert (await change(remove={"tags": ["b"]}))["tags"] == ["a", "a"]
    for wrong in (["toolong"], [1]):
        failure = await refused(change(append={"tags": wrong}), Invalid)
        assert failure.errors[0].pointer.startswith("/$append/tags")
    assert (await change(remove={"tags": ["a"]}))["tags"] == []
    # A relation's links follow, and it points at nothing twice.
    assert (await change(append={"at": ids}))["at"] == ids
    assert await platform.database.read(LINKS, ()) == [2]
    failure = await refused(change(append={"at": ids[:1]}), Invalid)
    assert failure.errors[0].pointer.startswith("/at/2")
    assert (await change(remove={"at": ids[:1]}))["at"] == ids[1:]
    assert await platform.database.read(LINKS, ()) == [1]


async def test_an_upload_is_stamped(whole: testing.Platform, platform: Platform) -> None:
    editor = {
        "name": "editor",
        "type": "text",
        "max": 64,
        "stamp": "caller.id",
        "stamp_on": "write",
    }
    author = {**editor, "name": "author", "stamp_on": "create"}
    rules = {"view": "true", "create": "true", "update": "record.editor == caller.id"}
    await platform.make("posts", {"name": "scan", "type": "file"}, editor, author, rules=rules)
    post = await platform.add("posts", KEY)
    bert = await whole.as_user("bert@example.com")
    path = f"/v1/collections/posts/records/{post['id']}"
    # The rule is asked of the record as it is, too: whoever is not its editor becomes none so.
    assert (await bert.post(f"{path}/files/scan", content=b"x")).status == 403
    rules["update"] = "caller != null && record.author != null"
    changed = {"name": "posts", "change": {"rules": rules}}
    await platform.run("update_collection", **changed)
    stamped = (await bert.post(f"{path}/files/scan", content=b"x")).expect(201)
    assert (stamped["editor"], stamped["author"]) == (bert.id, KEY.id)
    assert stamped["scan"]["size_bytes"] == 1
