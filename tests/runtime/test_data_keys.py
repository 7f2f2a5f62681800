"""Data keys: made once, held for minutes, fetched once for all, never without their database."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from mainspring import App, Personal, Service, Transaction
from mainspring.adapters.keyring.file import FileKeyring
from mainspring.kernel.call import SYSTEM
from mainspring.kernel.clock import SystemClock, SystemEntropy
from mainspring.kernel.errors import Unavailable
from mainspring.kernel.table import Statement
from mainspring.ports.keyring import Keyring
from mainspring.ports.kms import Kms, Wrapped, WrappingKey
from mainspring.runtime import data_key
from mainspring.runtime.data_key import DataKey, key_id_of
from mainspring.runtime.data_keys import ALL_DATA_KEYS, HELD_S, LEFT_ALONE_S, DataKeys
from mainspring.runtime.keyring_kms import KeyringKms
from mainspring.runtime.tables import SEALED_SUBJECT_KEYS as COLUMN
from mainspring.testing import Platform
from tests.deadline import DEADLINE_S

PERSON = ("main", "ann")


people = Service("people", doc="People, as an app would keep them.")


@people.event("people.person.joined", subject="id", person="id")
class Joined(msgspec.Struct, frozen=True):
    id: str
    email: Annotated[str, Personal]


@people.transaction("POST /v1/people/{id}", scope=None, status=200)
async def join(call: Transaction, id: str) -> Joined:
    joined = Joined(id, f"{id}@example.com")
    call.emit(joined)
    return joined


class Counted:
    """A KMS that is the keyring's, counts what it is asked, and can be away."""

    scheme = "keyring"

    def __init__(self, kms: Kms) -> None:
        self.kms = kms
        self.asked: list[str] = []
        self.gone = False
        self.answers, self.was_asked = asyncio.Event(), asyncio.Event()
        self.answers.set()

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    def away(self) -> str:
        return "gone" if self.gone else ""

    async def _ask(self, what: str) -> None:
        self.asked.append(what)
        self.was_asked.set()
        await self.answers.wait()
        if self.gone:
            raise Unavailable("the KMS is away")

    async def wrap(self, key: bytes, context: Mapping[str, str]) -> Wrapped:
        await self._ask("wrap")
        return await self.kms.wrap(key, context)

    async def unwrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> bytes:
        await self._ask("unwrap")
        return await self.kms.unwrap(wrapped, context)

    async def describe(self) -> WrappingKey:
        await self._ask("describe")
        return await self.kms.describe()


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    app = App("own", services=[Service("own", doc="Ours.")])
    async with Platform(app, database=platform_server) as found:
        yield found


def keys_of(platform: Platform) -> tuple[DataKeys, Counted]:
    kms = Counted(KeyringKms(platform.app.keyring))
    runtime = platform.app.runtime
    keys = DataKeys(
        platform.app.database, platform.app.keyring, runtime.clock, runtime.entropy, kms=kms
    )
    return keys, kms


async def test_a_key_is_asked_for_once_in_five_minutes_however_many_miss_it(
    platform: Platform,
) -> None:
    call = platform.app.runtime.dispatcher.call(SYSTEM, request_id="test")
    keys, kms = keys_of(platform)
    sealed = await asyncio.gather(*(keys.seal(call, COLUMN, b"x", *PERSON) for _ in range(20)))
    assert kms.asked == ["wrap"], "who makes one holds it"
    assert len(await platform.rows(ALL_DATA_KEYS)) == 1
    other, kms = keys_of(platform)
    opened = [other.open(call, COLUMN, text, *PERSON) for text in sealed]
    assert set(await asyncio.gather(*opened)) == {b"x"}
    await other.seal(call, COLUMN, b"x", *PERSON)
    assert kms.asked == ["unwrap"]

    kms.gone = True
    await platform.pass_time(seconds=HELD_S - 1)
    assert await other.open(call, COLUMN, sealed[0], *PERSON) == b"x", "what is held goes on"
    await platform.pass_time(seconds=2)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await other.open(call, COLUMN, sealed[0], *PERSON)
    assert kms.asked == ["unwrap"] * 2, "who was away is left alone for a moment"
    kms.gone = False
    await platform.pass_time(seconds=LEFT_ALONE_S)
    assert await other.open(call, COLUMN, sealed[0], *PERSON) == b"x"


async def test_inside_a_transaction_nobody_waits_for_a_kms(
    platform_server: str | None, tmp_path: Path
) -> None:
    """The handler runs again once its key is there; its transaction was over meanwhile."""
    keyring = FileKeyring(tmp_path / "keyring.json", SystemClock(), SystemEntropy())
    kms = Counted(KeyringKms(keyring))
    ports = {Keyring: keyring, Kms: kms}
    async with Platform(App("own", services=[people]), database=platform_server, ports=ports) as p:
        assert kms.asked == []
        (await p.admin.post("/v1/people/ann")).expect(200)
        assert kms.asked == ["wrap"]
        p.app.data_keys.forget_all()
        p.app.sealer.forget_all()
        kms.answers.clear()
        kms.was_asked.clear()
        waits = asyncio.create_task(p.admin.post("/v1/people/ann"))
        async with asyncio.timeout(DEADLINE_S):
            await kms.was_asked.wait()
            url = {"url": "https://example.com/", "types": ["records.*"]}
            name = {"name": "notes", "fields": [{"name": "text", "type": "text"}]}
            (await p.admin.post("/v1/collections", name)).expect(201)
        kms.answers.set()
        (await waits).expect(200)
        assert kms.asked == ["wrap", "unwrap"]
        kms.gone = True
        (await p.admin.post("/v1/people/ann")).expect(200)
        (await p.admin.post("/v1/webhooks", url)).expect(503)
        events = (await p.admin.get("/v1/events?type=people.person.joined")).expect(200)["items"]
        assert [event["data"]["email"] for event in events] == ["ann@example.com"] * 3


async def test_who_gives_up_leaves_the_key_to_the_others(platform: Platform) -> None:
    call = platform.app.runtime.dispatcher.call(SYSTEM, request_id="test")
    keys, kms = keys_of(platform)
    kms.answers.clear()
    first = asyncio.create_task(keys.seal(call, COLUMN, b"x", *PERSON))
    second = asyncio.create_task(keys.seal(call, COLUMN, b"x", *PERSON))
    await kms.was_asked.wait()
    first.cancel()
    kms.answers.set()
    assert await second
    assert kms.asked == ["wrap"]


async def test_a_database_that_went_back_takes_its_keys_with_it(platform: Platform) -> None:
    """A key in memory that is not stored would seal what nobody opens after the next start."""
    call = platform.app.runtime.dispatcher.call(SYSTEM, request_id="test")
    keys = platform.app.data_keys
    before = await keys.seal(call, COLUMN, b"x", *PERSON)
    await platform.app.database.commit([Statement("test.lose", "DELETE FROM data_keys")()])
    keys.forget_all()
    after = await keys.seal(call, COLUMN, b"x", *PERSON)
    assert key_id_of(before) != key_id_of(after)
    (row,) = await platform.rows(ALL_DATA_KEYS)
    assert row.id == key_id_of(after)
    with pytest.raises(ValueError, match="which is not there"):
        await keys.open(call, COLUMN, before, *PERSON)


def test_a_derived_key_is_used_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_key, "USES_MAX", 2)
    key = DataKey(bytes(8), secrets.token_bytes(32), SystemEntropy())
    sealed = [key.seal(b"plain", b"about") for _ in range(5)]
    assert len({text[9:25] for text in sealed}) == 3, "two messages of one salt, no more"
    assert len({text[25:37] for text in sealed}) == 5
    assert {key.open(text, b"about") for text in sealed} == {b"plain"}
    for at in range(len(sealed[0])):
        changed = bytearray(sealed[0])
        changed[at] ^= 1
        with pytest.raises(ValueError, match="not sealed"):
            key.open(bytes(changed), b"about")
    with pytest.raises(ValueError, match="or there"):
        key.open(sealed[0], b"another")
    with pytest.raises(ValueError, match="not sealed"):
        key.open(sealed[0][:30], b"about")
