"""Stored answers: large ones once, within a share per account, and what is said of those gone."""

import pytest

from mainspring.kernel.call import Call, Caller
from mainspring.kernel.errors import AnswerGone
from mainspring.kernel.operation import Operation
from mainspring.kernel.table import Query
from mainspring.runtime.invoke import idempotency
from mainspring.runtime.invoke.idempotency import ANSWER_KEPT_MS, Idempotency, Outcome
from mainspring.runtime.runtime import Runtime
from mainspring.testing.clock import FakeClock
from tests.runtime.invoke.test_dispatcher import count, key

STORED_BYTES = Query(
    "test.stored_bytes",
    "SELECT COALESCE((SELECT SUM(length(sealed)) FROM answer_bodies), 0) + "
    "COALESCE((SELECT SUM(length(body)) FROM idempotency), 0) + 0.0",
    float,
)
BODIES = Query("test.bodies", "SELECT COUNT(*) FROM answer_bodies", int)
LARGE_BYTES = 768 * 1024


async def same(call: Call, id: str) -> str:
    """Change nothing and answer at length."""
    return id


unchanged = Operation("links.same", "PATCH /v1/links/{id}", same, scope=None)
unchanged.attach(same)


async def ask(runtime: Runtime, text: str, idempotency: Idempotency, who: str = "ada") -> Outcome:
    call = runtime.dispatcher.call(Caller("user", who), request_id="req_1")
    return await runtime.dispatcher.run(unchanged, call, {"id": text}, idempotency)


async def stored_bytes(runtime: Runtime) -> float:
    return (await runtime.database.read(STORED_BYTES, ()))[0]


async def test_calls_that_change_nothing_store_their_large_answer_once(runtime: Runtime) -> None:
    for n in range(60):
        await ask(runtime, "x" * LARGE_BYTES, key(f"key {n}"))
    assert await stored_bytes(runtime) < 2 * LARGE_BYTES
    for n in range(60):
        again = await ask(runtime, "changed since", key(f"key {n}"))
        assert again.replayed
        assert again.body == b'"%b"' % (b"x" * LARGE_BYTES)


async def test_callers_do_not_share_what_is_stored(runtime: Runtime) -> None:
    for who in ("ada", "bob"):
        await ask(runtime, "x" * LARGE_BYTES, key(who), who)
    assert await count(runtime, BODIES) == 2


async def test_an_accounts_oldest_answers_go_first_and_its_calls_took_effect(
    runtime: Runtime, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "SHARE_BYTES_MAX", 4 * LARGE_BYTES)
    monkeypatch.setattr(idempotency, "TRIM_EVERY_BYTES", LARGE_BYTES)
    await ask(runtime, "b" * LARGE_BYTES, key("bob"), "bob")
    for n in range(10):
        clock.move(1)
        await ask(runtime, str(n) * LARGE_BYTES, key(f"key {n}"))
        assert await stored_bytes(runtime) < 6 * LARGE_BYTES
    assert (await ask(runtime, "", key("key 9"))).body == b'"%b"' % (b"9" * LARGE_BYTES)
    assert (await ask(runtime, "", key("bob"), "bob")).body == b'"%b"' % (b"b" * LARGE_BYTES)
    with pytest.raises(AnswerGone, match="took effect and was answered 200") as raised:
        await ask(runtime, "", key("key 0"))
    assert raised.value.extra == {"answered": 200}


async def test_one_answer_over_the_bound_is_not_stored(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "ANSWER_BYTES_MAX", LARGE_BYTES)
    first = await ask(runtime, "x" * (LARGE_BYTES + 1), key("k"))
    assert first.status == 200
    assert await stored_bytes(runtime) == 0
    with pytest.raises(AnswerGone):
        await ask(runtime, "", key("k"))


async def test_a_stored_answer_lasts_as_long_as_its_record_and_is_swept(
    runtime: Runtime, clock: FakeClock
) -> None:
    await ask(runtime, "x" * LARGE_BYTES, key("morning"))
    clock.move(12 * 3600)
    await ask(runtime, "x" * LARGE_BYTES, key("evening"))
    clock.move(12 * 3600 - 1)
    await runtime.scheduler.sweep()
    for name in ("morning", "evening"):
        assert (await ask(runtime, "", key(name))).replayed
    clock.move(ANSWER_KEPT_MS / 500)
    await runtime.scheduler.sweep()
    assert await stored_bytes(runtime) == 0


async def test_a_small_answer_needs_no_second_row(runtime: Runtime) -> None:
    await ask(runtime, "small", key("k"))
    assert (await ask(runtime, "", key("k"))).body == b'"small"'
    assert await count(runtime, BODIES) == 0


async def test_an_answer_from_before_an_upgrade_is_neither_given_nor_made_again(
    runtime: Runtime,
) -> None:
    """Versions before this one told a request by its method, URL and bytes: 32 bytes, no mark."""
    before = Idempotency(b"k" * 32, b"f" * 32)
    assert (await ask(runtime, "old", before)).body == b'"old"'
    now = Idempotency(b"k" * 32, b"2" + b"f" * 32)
    with pytest.raises(AnswerGone, match="before the server was upgraded"):
        await ask(runtime, "new", now)
