"""Personal fields: sealed in the log, readable with the key, gone without it."""

from typing import Annotated

import msgspec
import pytest

from mainspring.adapters.database.sqlite import SqliteDatabase
from mainspring.adapters.keyring.file import FileKeyring
from mainspring.adapters.telemetry.rollups import Rollups
from mainspring.kernel.call import SYSTEM, Context
from mainspring.kernel.event import Personal, envelope
from mainspring.kernel.ids import IdMaker
from mainspring.kernel.registry import Registry
from mainspring.kernel.service import Service
from mainspring.kernel.table import Query
from mainspring.runtime.data_keys import DataKeys
from mainspring.runtime.events import field_encryption
from mainspring.runtime.events.field_encryption import KEY_HELD_S, FieldEncryption
from mainspring.runtime.invoke.dispatcher import Dispatcher, Idempotency
from mainspring.runtime.metrics.measures import MeasureBuffer
from mainspring.runtime.metrics.telemetry import Metrics
from mainspring.runtime.migrate import migrate
from mainspring.runtime.notifier import Notifier
from mainspring.runtime.tables import ANSWER, SUBJECT_KEY
from mainspring.testing.clock import FakeClock, SeededEntropy

EMAIL = "ada.lovelace@analytical.example"
ADA, BOB = "user_ada", "user_bob"

people = Service("users", doc="For these tests.")


@people.event("users.user.joined", subject="user_id", person="user_id")
class Joined(msgspec.Struct, frozen=True):
    user_id: str
    plan: str
    email: Annotated[str | None, Personal] = None
    address: Annotated[dict[str, str] | None, Personal] = None


@people.event("users.person.forgotten", subject="by", erases="user_id")
class Erased(msgspec.Struct, frozen=True):
    user_id: str
    by: str = "staff"


@people.operation("POST /v1/people", scope=None)
async def join(call) -> Joined:
    joined = Joined(ADA, "free", EMAIL)
    call.emit(joined)
    return joined


BODIES = Query("test.bodies", "SELECT body FROM events WHERE subject = :who ORDER BY id", str)


class Process:
    """What one process has: its own memory of keys over a shared database."""

    def __init__(self, database, keyring, clock, seed):
        entropy = SeededEntropy(seed)
        self.database = database
        self.sealer = FieldEncryption(
            database, DataKeys(database, keyring, clock, entropy), entropy, clock
        )
        ids = IdMaker(clock, entropy)
        context = Context(database, ids, {}, Registry([people]).event_types)
        telemetry = Rollups(clock)
        self.dispatcher = Dispatcher(
            database, context, clock, keyring, self.sealer, Metrics(telemetry),
            MeasureBuffer(database, Notifier(), telemetry),
        )  # fmt: skip
        self.dispatcher.on_commit(self.sealer.on_commit)

    def call(self, *events):
        call = self.dispatcher.call(SYSTEM, request_id="req")
        for event in events:
            call.emit(event)
        return call

    async def emit(self, *events):
        await self.dispatcher.commit(self.call(*events))

    async def erase(self, person):
        call = self.call(Erased(person))
        call.write(*self.sealer.erase(call, person))
        await self.dispatcher.commit(call)

    async def stored(self, person):
        return await self.database.read(BODIES, (person,))

    async def revealed(self, person, **options):
        return [
            msgspec.json.decode(await self.sealer.reveal(body, **options))
            for body in await self.stored(person)
        ]


@pytest.fixture
def clock():
    return FakeClock()


async def two_processes(database, folder, clock):
    await migrate(database, [])
    keyring = FileKeyring(folder / "keyring.json", clock=clock, entropy=SeededEntropy(1))
    await keyring.open()
    return [Process(database, keyring, clock, seed) for seed in (2, 3)]


@pytest.fixture
async def processes(database, tmp_path, clock):
    return await two_processes(database, tmp_path, clock)


@pytest.fixture
def process(processes):
    return processes[0]


async def test_the_log_holds_no_plain_text_and_a_reader_sees_it(process):
    await process.emit(Joined(ADA, "free", EMAIL, {"city": "London"}))
    (body,) = await process.stored(ADA)
    assert EMAIL not in body
    assert "London" not in body
    assert msgspec.json.decode(body)["data"]["plan"] == "free"
    (event,) = await process.revealed(ADA)
    assert event["data"] == {
        "user_id": ADA, "plan": "free", "email": EMAIL, "address": {"city": "London"},
    }  # fmt: skip
    assert "sealedfields" not in event


async def test_a_reader_who_may_not_see_it_gets_null_and_the_names(process):
    await process.emit(Joined(ADA, "free", EMAIL))
    (event,) = await process.revealed(ADA, allowed=False)
    assert event["data"]["email"] is None
    assert event["data"]["plan"] == "free"
    assert event["sealedfields"] == "email"


async def test_what_is_absent_is_not_sealed(process):
    await process.emit(Joined(ADA, "free"))
    (body,) = await process.stored(ADA)
    assert "sealed" not in body
    assert await process.sealer.reveal(body) == body


async def test_the_same_value_never_looks_the_same(process):
    await process.emit(Joined(ADA, "free", EMAIL), Joined(ADA, "free", EMAIL))
    first, second = (msgspec.json.decode(body)["data"] for body in await process.stored(ADA))
    assert first["email"]["sealed"] != second["email"]["sealed"]
    assert [e["data"]["email"] for e in await process.revealed(ADA)] == [EMAIL, EMAIL]


async def test_one_key_a_person_whoever_comes_first(processes):
    # Two calls of one process in one commit, then another process that never saw the key made.
    one, two = processes
    await one.dispatcher.commit_all(
        [one.call(Joined(ADA, "a", EMAIL)), one.call(Joined(ADA, "b", EMAIL))]
    )
    await two.emit(Joined(ADA, "c", EMAIL))
    for process in processes:
        assert [e["data"]["email"] for e in await process.revealed(ADA)] == [EMAIL] * 3


async def test_a_commit_that_fails_leaves_the_next_one_to_keep_the_key(process):
    failed = process.call(Joined(ADA, "a", EMAIL))
    await process.sealer.encode(failed.events[0], failed)  # and never committed
    await process.emit(Joined(ADA, "b", EMAIL))
    (event,) = await process.revealed(ADA)
    assert event["data"]["email"] == EMAIL


async def test_two_processes_make_a_key_at_once_and_one_runs_again(processes):
    one, two = processes
    late = two.call(Joined(ADA, "late", EMAIL))
    _, keep = await two.sealer.encode(late.events[0], late)
    await one.emit(Joined(ADA, "first", EMAIL))
    with pytest.raises(field_encryption.Rerun):
        await two.database.commit(keep)
    await two.emit(Joined(ADA, "again", EMAIL))
    assert [e["data"]["email"] for e in await two.revealed(ADA)] == [EMAIL, EMAIL]


async def test_erasure_takes_one_person_and_changes_no_byte_of_the_log(process):
    await process.emit(Joined(ADA, "free", EMAIL), Joined(BOB, "free", "bob@x.example"))
    before = await process.stored(ADA)
    await process.erase(ADA)
    assert (await process.stored(ADA))[:1] == before
    event = (await process.revealed(ADA))[0]
    assert event["data"]["email"] is None
    assert event["sealedfields"] == "email"
    assert (await process.revealed(BOB))[0]["data"]["email"] == "bob@x.example"


async def test_an_erased_person_does_not_come_back_by_a_late_event(processes):
    one, two = processes
    await one.emit(Joined(ADA, "free", EMAIL))
    await one.erase(ADA)
    for process in processes:
        await process.emit(Joined(ADA, "late", EMAIL))
    late = [b for b in await one.stored(ADA) if '"late"' in b]
    assert len(late) == 2
    for body in late:
        assert msgspec.json.decode(body)["data"]["email"] == {"sealed": None, "person": ADA}
    assert [e["data"]["email"] for e in (await two.revealed(ADA)) if "email" in e["data"]] == [
        None
    ] * 3


@people.event("users.user.renamed", subject="user_id", person="user_id")
class Renamed(msgspec.Struct, frozen=True):
    user_id: str
    name: Annotated[str, Personal]


async def test_a_struct_has_null_or_nothing_where_somebody_was_erased(process):
    await process.emit(Joined(ADA, "free", EMAIL), Renamed(ADA, "Ada"))
    joined, renamed = [envelope(body) for body in await process.stored(ADA)]
    assert await process.sealer.read(joined, Joined) == Joined(ADA, "free", EMAIL)
    assert await process.sealer.read(renamed, Renamed) == Renamed(ADA, "Ada")
    await process.erase(ADA)
    assert await process.sealer.read(joined, Joined) == Joined(ADA, "free")
    assert await process.sealer.read(renamed, Renamed) == Renamed(ADA, "")


async def test_a_person_without_events_can_be_erased(process):
    await process.erase(ADA)
    await process.emit(Joined(ADA, "late", EMAIL))
    assert EMAIL not in "".join(await process.stored(ADA))
    assert (await process.revealed(ADA))[-1]["data"]["email"] is None


async def test_another_process_forgets_the_key_within_its_bound(processes, clock):
    one, two = processes
    await one.emit(Joined(ADA, "free", EMAIL))
    assert (await two.revealed(ADA))[0]["data"]["email"] == EMAIL
    await one.erase(ADA)
    assert (await one.revealed(ADA))[0]["data"]["email"] is None
    clock.move(KEY_HELD_S)
    assert (await two.revealed(ADA))[0]["data"]["email"] is None


async def test_a_sealed_value_opens_only_where_it_was_sealed(process):
    await process.emit(Joined(ADA, "free", EMAIL), Joined(BOB, "free", "bob@x.example"))
    (body,) = await process.stored(ADA)
    (bobs,) = await process.stored(BOB)
    stolen = msgspec.json.decode(body)["data"]["email"]
    for copy in (stolen, {**stolen, "sealed": "AAAA"}, {**stolen, "sealed": "not base64!"}):
        event = msgspec.json.decode(bobs)
        event["data"]["email"] = copy
        shown = await process.sealer.reveal(msgspec.json.encode(event).decode())
        assert msgspec.json.decode(shown)["data"]["email"] == copy


async def test_a_stored_answer_is_replayed_and_holds_no_plain_text(process):
    idempotency = Idempotency(b"k" * 32, b"f" * 32)
    await process.dispatcher.run(join, process.call(), {}, idempotency)
    again = await process.dispatcher.replay(idempotency, process.call().now_ms)
    assert EMAIL.encode() in again.body
    (stored,) = await process.database.read(ANSWER, (idempotency.key_hash,))
    assert stored.body is not None
    assert EMAIL.encode() not in stored.body


async def test_nothing_readable_is_left_in_the_embedded_database(tmp_path, clock):
    database = SqliteDatabase(tmp_path / "mainspring.db")
    await database.open()
    process, _ = await two_processes(database, tmp_path, clock)
    await process.emit(*[Joined(ADA, "free", EMAIL) for _ in range(50)])
    await process.emit(Joined(BOB, "free", EMAIL))
    await process.dispatcher.run(join, process.call(), {}, Idempotency(b"k" * 32, b"f" * 32))
    adas, bobs = [(await database.read(SUBJECT_KEY, ("main", who)))[0].sealed for who in (ADA, BOB)]
    await process.erase(ADA)
    await database.scrub()
    data = b"".join(path.read_bytes() for path in tmp_path.glob("mainspring.db*"))
    assert b"users.user.joined" in data
    assert bobs in data
    assert adas not in data
    assert EMAIL.encode() not in data
    await database.close()
