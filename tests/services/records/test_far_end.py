"""Lists under rules that reach further: read from the far end where an index leads there."""

import time
from typing import Any

import pytest

from mainspring.kernel.call import Caller
from mainspring.kernel.table import Statement
from mainspring.services.records.far_end import Search
from mainspring.services.records.operations import lists
from mainspring.services.records.operations.lists import visible
from mainspring.services.records.schema_cache import named
from tests.services.records.platform import ANNA, BERT, KEY, NOBODY, Platform

ROWS = 100_000
TEAMS = 200
LITTLE_S = 0.02  # to ask all of these records for their teams takes hundreds of milliseconds
RULE = "record.project.team.owner == caller.id"
MEMBER = f"{RULE} || record.project.team.members.exists(m, m.user == caller.id)"
# Copies of one record, with the links that it would have.
COPY = Statement(
    "test.copy",
    """INSERT INTO records_records (collection, id, version, schema_version, data)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)
    SELECT r.collection, printf('rec_01mcc5zz%018d', n.i), 1, r.schema_version,
      replace(replace(r.data, r.id, printf('rec_01mcc5zz%018d', n.i)), :project,
        (SELECT value FROM json_each(:projects) WHERE key = n.i % json_array_length(:projects)))
    FROM n CROSS JOIN records_records AS r WHERE r.id = :id""",
    postgres="""INSERT INTO records_records (collection, id, version, schema_version, data)
    SELECT r.collection, 'rec_01mcc5zz' || lpad(i::text, 18, '0'), 1, r.schema_version,
      replace(replace(r.data, r.id, 'rec_01mcc5zz' || lpad(i::text, 18, '0')), (:project::text),
        (:projects::text)::jsonb ->> (i % jsonb_array_length((:projects::text)::jsonb)))
    FROM generate_series(1, (:rows::bigint)::int) AS i CROSS JOIN records_records AS r
    WHERE r.id = :id""",
)
LINK = Statement(
    "test.link",
    """INSERT INTO records_links (collection, record, field, target_collection, target)
    SELECT r.collection, r.id, 'project', l.target_collection, r.data ->> '$.project'
    FROM records_records AS r CROSS JOIN records_links AS l
    WHERE l.record = :id AND r.collection = l.collection AND r.id > 'rec_01mcc5zz'""",
    postgres="""INSERT INTO records_links (collection, record, field, target_collection, target)
    SELECT r.collection, r.id, 'project', l.target_collection, r.data::jsonb ->> 'project'
    FROM records_records AS r CROSS JOIN records_links AS l
    WHERE l.record = :id AND r.collection = l.collection AND r.id > 'rec_01mcc5zz'""",
)


ANALYZE_RECORDS = Statement("test.analyze", "SELECT 1", postgres="ANALYZE records_records")
ANALYZE_LINKS = Statement("test.analyze_links", "SELECT 1", postgres="ANALYZE records_links")


async def _tasks(platform: Platform, rule: str, teams: int, *, indexed: bool) -> list[Any]:
    """One project for each team; Anna owns the first, and Bert is in the second."""
    text = {"type": "text", "max": 40}
    on = {"indexes": [["owner"]]} if indexed else {}
    await platform.make("teams", {"name": "owner", **text}, **on)
    team = {"name": "team", "type": "relation", "collection": "teams"}
    on = {"indexes": [["user"]]} if indexed else {}
    await platform.make("members", team, {"name": "user", **text}, **on)
    await platform.make("projects", team)
    project = {"name": "project", "type": "relation", "collection": "projects"}
    rules = {"list": rule}
    await platform.make("tasks", project, {"name": "title", **text}, rules=rules)
    projects = []
    for i in range(teams):
        made = await platform.add("teams", owner=ANNA.id if i == 0 else f"user_{i}")
        if i < 2:
            await platform.add("members", team=made["id"], user=BERT.id if i else "user_x")
        projects.append(await platform.add("projects", team=made["id"]))
    return projects


async def _search(platform: Platform, caller: Caller) -> Search | None:
    call = platform.call(caller)
    tasks = await named(call, "tasks", "records:read")
    asked = await visible(call, tasks, None)
    search = Search(tasks, asked.others)
    return search if search.of(asked.condition) is None else None


@pytest.mark.parametrize("indexed", [True, False])
async def test_what_is_found_from_the_far_end_is_what_the_rule_allows(
    platform: Platform, indexed: bool
) -> None:
    projects = await _tasks(platform, MEMBER, 4, indexed=indexed)
    tasks = [await platform.add("tasks", project=projects[i % 4]["id"]) for i in range(12)]
    await platform.add("tasks", title="of no project")
    for caller, own in ((ANNA, 0), (BERT, 1)):
        expected = [t for t in tasks if t["project"] == projects[own]["id"]]
        assert await platform.everything("tasks", caller, limit=2) == expected
        backwards = await platform.everything("tasks", caller, limit=2, sort="-id")
        assert backwards == expected[::-1]
        by_title = await platform.everything("tasks", caller, limit=2, sort="title")
        assert by_title == expected
        counted = await platform.run("aggregate_records", caller, collection="tasks", query={})
        assert counted.value.items[0].count == 3
        assert (await _search(platform, caller) is None) is indexed
    assert await platform.everything("tasks", NOBODY) == []


async def test_too_many_at_the_far_end_are_not_looked_up(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    projects = await _tasks(platform, RULE, 2, indexed=True)
    tasks = [await platform.add("tasks", project=projects[0]["id"]) for _ in range(4)]
    monkeypatch.setattr(lists, "TARGETS_MAX", 0)
    assert await platform.everything("tasks", ANNA, limit=3) == tasks
    monkeypatch.setattr(lists, "FOUND_MAX", 3)
    platform.clock.move(lists.REMEMBERED_MS / 1000)
    assert await platform.everything("tasks", ANNA, limit=3) == tasks


async def test_what_is_kept_of_a_rule_is_of_one_caller_and_of_the_collections_as_they_are(
    platform: Platform,
) -> None:
    projects = await _tasks(platform, RULE, 2, indexed=False)
    tasks = [await platform.add("tasks", project=each["id"]) for each in projects]

    async def is_found() -> bool:
        call = platform.call(ANNA)
        found = await visible(call, await named(call, "tasks", "records:read"), None)
        return found.far is not None

    assert not await is_found()
    await platform.run("update_collection", name="teams", change={"indexes": [["owner"]]})
    await platform.work()
    assert await is_found()
    assert await platform.everything("tasks", ANNA) == tasks[:1]
    assert await platform.everything("tasks", BERT) == []
    assert await platform.everything("tasks", ANNA, filter="title == 'x'") == []
    team = (await platform.everything("teams"))[0]
    moved = {"owner": BERT.id}
    await platform.run("update_record", collection="teams", id=team["id"], body=moved)
    assert await platform.everything("tasks", ANNA) == []
    assert await platform.everything("tasks", BERT) == tasks[:1]
    change = {"rules": {"list": f"!({RULE})"}}
    await platform.run("update_collection", name="tasks", change=change)
    assert await platform.everything("tasks", ANNA) == tasks
    assert await platform.everything("tasks", BERT) == tasks[1:]


async def test_a_list_over_its_budget_names_the_index_that_helps(platform: Platform) -> None:
    await _tasks(platform, RULE, 2, indexed=False)
    curious = Caller("user", ANNA.id, scopes=frozenset({"collections:read"}))

    for caller, detail in (
        (curious, "an index on ['owner'] of the collection 'teams' would help"),
        (ANNA, "an index of a related collection would help: who may read them is told which"),
    ):
        call = platform.call(caller)
        tasks = await named(call, "tasks", "records:read")
        asked = await visible(call, tasks, None)
        sort = lists.read_sort(tasks, None)
        assert lists.advised(call, tasks, asked, sort) == detail


@pytest.mark.more
@pytest.mark.parametrize(("rule", "caller"), [(RULE, ANNA), (MEMBER, BERT)])
async def test_a_rule_through_two_relations_costs_little_more_than_the_plain_list(
    platform: Platform, rule: str, caller: Caller
) -> None:
    projects = await _tasks(platform, rule, TEAMS, indexed=True)
    task = await platform.add("tasks", project=projects[0]["id"])
    ids = "[" + ",".join(f'"{p["id"]}"' for p in projects) + "]"
    copy = COPY(rows=ROWS, project=projects[0]["id"], projects=ids, id=task["id"])
    await platform.database.commit([copy, LINK(id=task["id"])])
    if platform.database.dialect == "postgres":  # as its autovacuum does in a while
        await platform.database.commit([ANALYZE_RECORDS(), ANALYZE_LINKS()])
    own = (await platform.page("tasks", caller, limit=500))["items"]
    assert len(own) >= ROWS / TEAMS - 1

    async def best_s(who: Caller) -> float:
        took = []
        for _ in range(15):
            start = time.perf_counter()
            await platform.page("tasks", who)
            took.append(time.perf_counter() - start)
        return min(took)

    plain_s, ruled_s = await best_s(KEY), await best_s(caller)
    print(f"plain {plain_s * 1e3:.2f} ms, by the rule {ruled_s * 1e3:.2f} ms")
    assert ruled_s <= plain_s + LITTLE_S
