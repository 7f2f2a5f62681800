"""The audit trail end to end on both engines: what is served is proved with the verifier."""

import asyncio
import base64
import io

import msgspec
import pytest
from structlog.testing import capture_logs

from mainspring.kernel import merkle
from mainspring.kernel.call import Caller
from mainspring.kernel.errors import Invalid, NotFound
from mainspring.kernel.table import Statement
from mainspring.services.audit.api import REFUSED, CheckpointRefused
from mainspring.services.audit.checkpoints import PUBLISHED_EVERY_MS, publish
from mainspring.services.audit.jobs import publish_checkpoint
from mainspring.services.audit.model import BadNote, VerifierKey, open_note
from mainspring.services.audit.store import FORGET_ALL
from mainspring.services.audit.verify import verify
from tests.kernel.inclusion import includes
from tests.services.log_platform import ORIGIN, LogPlatform, Named
from tests.tampering import LOSE_AFTER, REWRITE_BODY, REWRITE_LEAF

OTHER = Caller("system", tenant="other", scopes=frozenset({"*"}))
FORGET_CHECKPOINTS = Statement(
    "test.forget_checkpoints", "DELETE FROM audit_checkpoints WHERE size > :size"
)
FORGET_NODES = Statement("test.forget_nodes", "DELETE FROM tree_nodes WHERE level >= :level")


@pytest.fixture
async def platform(platform_server):
    async with LogPlatform.over(platform_server) as platform:
        yield platform


def decoded(text):
    return base64.b64decode(text)


async def test_entries_are_pages_of_exact_leaves(platform):
    await platform.write(7)
    cursor, seen = None, []
    while True:
        page = await platform.ask("audit.list_entries", query={"cursor": cursor, "limit": 3})
        seen += page["items"]
        if (cursor := page["next_cursor"]) is None:
            break
    assert [e["seq"] for e in seen] == list(range(1, 8))
    assert [e["index"] for e in seen] == list(range(7))
    assert [e["event"]["subject"] for e in seen] == [f"note_{i}" for i in range(7)]
    for entry in seen:
        exact = msgspec.json.encode(entry["event"])
        assert decoded(entry["leaf"]) == merkle.leaf_hash(exact)


async def test_entries_of_one_type_and_of_ones_own_tenant(platform):
    await platform.write(2)
    await platform.write(3, caller=OTHER)
    await platform.emit(Named("user_a", "Ada"))
    mine = (await platform.ask("audit.list_entries"))["items"]
    assert [e["seq"] for e in mine] == [1, 2, 6]
    theirs = (await platform.ask("audit.list_entries", caller=OTHER))["items"]
    assert [e["seq"] for e in theirs] == [3, 4, 5]
    named = (await platform.ask("audit.list_entries", query={"type": "notes.author.*"}))["items"]
    assert [e["seq"] for e in named] == [6]
    assert "Ada" not in str(named)


async def test_a_checkpoint_is_signed_and_proves_an_event(platform):
    ids = await platform.write(300)
    checkpoint = await platform.ask("audit.get_checkpoint")
    key = VerifierKey.parse(checkpoint["key"])
    signed = open_note(checkpoint["note"], key)
    assert (signed.origin, signed.size) == (ORIGIN, 300)
    assert signed.root == decoded(checkpoint["root"])
    assert signed.time == checkpoint["time"] == "2027-01-15T08:00:00.000Z"
    for at in (0, 255, 256, 299):
        proof = await platform.ask("audit.get_inclusion_proof", event_id=ids[at])
        assert proof["checkpoint"] == checkpoint["note"]
        assert includes(
            decoded(proof["leaf"]), proof["index"], 300,
            [decoded(h) for h in proof["path"]], signed.root,
        )  # fmt: skip


async def test_a_proof_at_a_chosen_size(platform):
    ids = await platform.write(20)
    proof = await platform.ask("audit.get_inclusion_proof", event_id=ids[4], query={"size": 9})
    assert (proof["size"], proof["checkpoint"]) == (9, None)
    path = [decoded(h) for h in proof["path"]]
    assert includes(decoded(proof["leaf"]), 4, 9, path, decoded(proof["root"]))
    for size in (4, 21, -1):
        with pytest.raises(Invalid):
            await platform.ask("audit.get_inclusion_proof", event_id=ids[4], query={"size": size})


async def test_who_may_not_know_of_an_event_finds_none(platform):
    (event_id,) = await platform.write(1)
    for unknown in ("evt_01jd0000000000000000000000", "note_1", "x" * 300):
        with pytest.raises(NotFound):
            await platform.ask("audit.get_inclusion_proof", event_id=unknown)
    with pytest.raises(NotFound):
        await platform.ask("audit.get_inclusion_proof", event_id=event_id, caller=OTHER)


async def test_checkpoints_are_published_at_most_once_a_second(platform):
    await platform.write(1)
    first = await platform.ask("audit.get_checkpoint")
    (newer,) = await platform.write(1)
    assert await platform.ask("audit.get_checkpoint") == first
    # but an event that it does not cover yet is proved at once
    assert (await platform.ask("audit.get_inclusion_proof", event_id=newer))["size"] == 2
    await platform.write(1)
    platform.clock.move(PUBLISHED_EVERY_MS / 1000)
    assert (await platform.ask("audit.get_checkpoint"))["size"] == 3


async def test_a_clock_that_was_ahead_holds_no_checkpoint_back(platform):
    platform.clock.move(365 * 24 * 3600)
    await platform.write(1)
    await platform.ask("audit.get_checkpoint")
    platform.clock.move(-365 * 24 * 3600)
    await platform.write(1)
    assert (await platform.ask("audit.get_checkpoint"))["size"] == 2


async def test_consistency_between_any_two_sizes(platform):
    await platform.write(300)
    for first, second in ((0, 300), (1, 300), (256, 257), (100, 299), (300, 300)):
        proof = await platform.ask(
            "audit.get_consistency_proof", query={"first": first, "second": second}
        )
        assert merkle.extends(
            first, decoded(proof["first_root"]), second, decoded(proof["second_root"]),
            [decoded(h) for h in proof["proof"]],
        )  # fmt: skip
    latest = await platform.ask("audit.get_consistency_proof", query={"first": 7})
    assert latest["second"] == 300
    for query in ({"first": 9, "second": 8}, {"first": 1, "second": 301}, {"first": -1}):
        with pytest.raises(Invalid):
            await platform.ask("audit.get_consistency_proof", query=query)


async def test_many_ask_for_checkpoints_at_once_while_the_log_grows(platform):
    async def asks():
        return [await platform.ask("audit.get_checkpoint") for _ in range(5)]

    await platform.write(10)
    asked, _ = await asyncio.gather(
        asyncio.gather(*(asks() for _ in range(8))), platform.write(300)
    )
    key = None
    roots = {}
    for checkpoint in [c for each in asked for c in each]:
        key = VerifierKey.parse(checkpoint["key"])
        signed = open_note(checkpoint["note"], key)
        assert roots.setdefault(signed.size, signed.root) == signed.root


async def exported(platform):
    out = io.BytesIO()
    told = []
    await platform.export(out, progress=lambda *at: told.append(at))
    return out.getvalue().splitlines(keepends=True), told


def key_of(platform):
    return str(VerifierKey(ORIGIN, platform.keyring.public_key()))


async def test_an_export_verifies_offline(platform):
    await platform.write(600)
    lines, told = await exported(platform)
    assert told[-1] == (600, 600)
    assert {at for at, _ in told} >= {256, 512, 600}
    assert len([line for line in lines if line.startswith(b'{"milestone"')]) == 2
    report = verify(lines, key_of(platform))
    assert report.problems == []
    assert (report.events, report.withheld, report.trusted) == (600, 0, True)


async def test_an_export_over_http_shows_other_tenants_as_leaves(platform):
    await platform.write(3)
    await platform.write(3, caller=OTHER)
    operation = platform.runtime.registry.operations["audit.export_log"]
    raw = await operation.handler(platform.call())
    lines = b"".join([chunk async for chunk in raw.body]).splitlines(keepends=True)
    report = verify(lines, key_of(platform), allow_withheld=True)
    assert (report.events, report.withheld, report.ok) == (6, 3, True)
    assert b'"tenant":"other"' not in b"".join(lines)


async def test_an_older_export_still_verifies_after_an_erasure(platform):
    await platform.emit(Named("user_a", "Ada Lovelace"), Named("user_b", "Bob"))
    old, _ = await exported(platform)
    await platform.erase("user_a")
    await platform.write(5)
    platform.clock.move(2)
    new, _ = await exported(platform)
    assert verify(old, key_of(platform)).ok
    assert verify(new, key_of(platform), older=old).ok
    assert b"Lovelace" not in b"".join(old + new)
    body = (await platform.ask("audit.list_entries"))["items"][0]["event"]
    shown = await platform.sealer.reveal(msgspec.json.encode(body).decode())
    assert msgspec.json.decode(shown)["data"]["name"] is None


async def test_a_row_changed_in_the_database_is_named(platform):
    await platform.write(10)
    await platform.database.commit([REWRITE_BODY(seq=4, body='{"id":"evt_forged","data":{}}')])
    lines, _ = await exported(platform)
    report = verify(lines, key_of(platform))
    assert [(p.kind, p.first) for p in report.problems] == [("changed", 4)]


async def test_nothing_is_signed_that_contradicts_what_was(platform):
    await platform.write(10)
    await platform.ask("audit.get_checkpoint")
    await platform.database.commit([REWRITE_LEAF(seq=4, leaf=merkle.leaf_hash(b"forged"))])
    await platform.write(5)
    platform.clock.move(2)
    with pytest.raises(CheckpointRefused, match="are not those that were signed for"):
        await platform.ask("audit.get_checkpoint")


async def test_a_log_that_lost_its_end_is_not_signed(platform):
    await platform.write(10)
    await platform.ask("audit.get_checkpoint")
    await platform.database.commit([LOSE_AFTER(seq=8)])
    platform.clock.move(2)
    with pytest.raises(CheckpointRefused, match="10 events were signed for and 8 are there"):
        await platform.ask("audit.get_checkpoint")


async def restore(platform, seq):
    """Bring the database back to where it was at this event; the keyring stands apart."""
    await platform.database.commit([LOSE_AFTER(seq=seq), FORGET_CHECKPOINTS(size=seq)])
    platform.count = seq
    platform.clock.move(2)


@pytest.mark.parametrize("grown", [0, 4, 8], ids=["shorter", "as long", "longer"])
async def test_a_restored_copy_signs_no_second_future_with_the_same_key(platform, grown):
    await platform.write(10)
    first = await platform.ask("audit.get_checkpoint")
    await restore(platform, 6)
    await platform.write(grown)
    with capture_logs() as lines:
        for name in ("audit.get_checkpoint", "audit.get_consistency_proof"):
            with pytest.raises(CheckpointRefused, match=r"signed for"):
                await platform.ask(name, query={"first": 0})
        with pytest.raises(CheckpointRefused):
            await exported(platform)
    told = [line for line in lines if line["event"] == "checkpoint_refused"]
    assert {line["log_level"] for line in told} == {"error"}
    assert "mainspring admin restored" in told[0]["advice"]

    await platform.keyring.rotate(for_new_log=True)
    await platform.database.commit([FORGET_ALL()])
    second = await platform.ask("audit.get_checkpoint")
    assert open_note(second["note"], VerifierKey.parse(second["key"])).size == 6 + grown
    with pytest.raises(BadNote, match="not signed by"):
        open_note(second["note"], VerifierKey.parse(first["key"]))


async def test_another_process_on_the_keyring_does_not_sign_it_either(platform):
    await platform.write(10)
    await platform.ask("audit.get_checkpoint")
    await restore(platform, 6)
    await platform.write(4)
    other = await platform.whole.another_process()
    with pytest.raises(CheckpointRefused, match="not those that were signed for"):
        await publish(
            other.database, other.runtime.event_log, other.keyring,
            origin=ORIGIN, now_ms=platform.clock.now_ms(),
        )  # fmt: skip


async def test_a_copy_that_only_lags_is_signed_when_it_has_caught_up(platform):
    """Nothing that was signed is lost where what was committed since is committed again."""
    await platform.write(10)
    before = await platform.ask("audit.get_checkpoint")
    await platform.database.commit([FORGET_CHECKPOINTS(size=0)])
    platform.clock.move(2)
    await platform.write(1)
    after = await platform.ask("audit.get_checkpoint")
    assert (after["size"], after["key"]) == (11, before["key"])


async def test_what_is_refused_can_be_alerted_on(platform):
    gauge = platform.whole.app.telemetry.gauge(REFUSED).of()
    await platform.write(3)
    await publish_checkpoint(platform.call())
    assert gauge.value == 0
    await restore(platform, 2)
    await publish_checkpoint(platform.call())
    assert gauge.value == 1
    await platform.keyring.rotate(for_new_log=True)
    await platform.database.commit([FORGET_ALL()])
    await publish_checkpoint(platform.call())
    assert gauge.value == 0


async def test_the_job_keeps_the_tree_and_forgets_old_checkpoints(platform):
    for _ in range(4):
        await platform.write(100)
        platform.clock.move(60)
        call = platform.call()
        await publish_checkpoint(call)
        await platform.runtime.dispatcher.commit(call)
    checkpoint = await platform.ask("audit.get_checkpoint")
    assert checkpoint["size"] == 400
    await platform.database.commit([FORGET_NODES(level=1)])
    proof = await platform.ask("audit.get_consistency_proof", query={"first": 100})
    assert proof["second_root"] == checkpoint["root"]
