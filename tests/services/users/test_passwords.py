"""The pool that hashes: right and wrong passwords, what is common, and its bound."""

import asyncio

import pytest

from mainspring.kernel.clock import SystemEntropy
from mainspring.kernel.errors import RateLimited, Unavailable
from mainspring.services.users.passwords import Passwords
from tests.deadline import DEADLINE_S


async def test_the_parameters_are_the_promised_ones() -> None:
    passwords = Passwords(SystemEntropy())
    assert (await passwords.hash("x", share="s")).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    passwords.close()


async def test_only_the_right_password_verifies(passwords: Passwords) -> None:
    hashed = await passwords.hash("correct horse", share="s")
    assert await passwords.verify(hashed, "correct horse", share="s")
    assert not await passwords.verify(hashed, "correct horse ", share="s")
    assert not await passwords.verify(hashed, "", share="s")
    assert not await passwords.verify(None, "", share="s")
    assert not await passwords.verify(None, "correct horse", share="s")
    assert not await passwords.verify("not a hash", "correct horse", share="s")
    assert hashed != await passwords.hash("correct horse", share="s")


async def test_common_passwords_are_known(passwords: Passwords) -> None:
    for text in ("password1", "PassWord1", "12345678", "qwertyuiop", "baseball"):
        assert await passwords.is_common(text, share="s"), text
    assert not await passwords.is_common("correct horse battery", share="s")


async def test_a_hash_of_other_parameters_is_stale(passwords: Passwords) -> None:
    stronger = Passwords(SystemEntropy(), memory_kib=128, passes=2)
    hashed = await passwords.hash("correct horse", share="s")
    assert not passwords.is_stale(hashed)
    assert stronger.is_stale(hashed)
    assert await stronger.verify(hashed, "correct horse", share="s")
    stronger.close()


def small(**bounds: int) -> Passwords:
    return Passwords(SystemEntropy(), memory_kib=64, passes=1, threads=1, **bounds)


async def ask(passwords: Passwords, *shares: str) -> "list[asyncio.Task[str]]":
    """Ask for a hash for each of these shares, in this order; return when all of them wait."""
    asked = [asyncio.create_task(passwords.hash("x", share=share)) for share in shares]
    await asyncio.wait(asked, timeout=0)
    return asked


async def test_a_full_queue_refuses_and_frees_its_places() -> None:
    passwords = small(waiting_max=3)
    asked = await ask(passwords, "runs", "a", "b", "c")
    with pytest.raises(Unavailable):
        await passwords.hash("one more", share="d")
    asked[0].cancel()  # whoever asked has gone; the thread has not
    asked[2].cancel()
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(o, str) for o in outcomes] == [False, True, False, True]
    assert await passwords.verify(await passwords.hash("x", share="a"), "x", share="a")
    passwords.close()


async def test_one_share_is_refused_before_others_wait() -> None:
    passwords = small(share_max=3)
    asked = await ask(passwords, *["greedy"] * 4)
    with pytest.raises(RateLimited):
        await passwords.hash("x", share="greedy")
    others = await ask(passwords, *(f"other {i}" for i in range(50)))
    done, _ = await asyncio.wait({*asked, *others}, timeout=DEADLINE_S)
    assert all(isinstance(task.result(), str) for task in done)
    assert len(done) == 54
    passwords.close()


async def test_shares_take_turns() -> None:
    passwords = small()
    order: list[str] = []
    asked = await ask(passwords, "runs", *["greedy"] * 5, "modest")
    names = ["runs", *["greedy"] * 5, "modest"]
    for task, name in zip(asked, names, strict=True):
        task.add_done_callback(lambda _, name=name: order.append(name))
    await asyncio.gather(*asked)
    assert order[:3] == ["runs", "greedy", "modest"]
    passwords.close()


async def test_whoever_fills_the_queue_gives_way() -> None:
    passwords = small(waiting_max=4)
    asked = await ask(passwords, "runs", *["greedy"] * 4, "modest")
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(o, Unavailable) for o in outcomes] == [False] * 4 + [True, False]
    passwords.close()


async def test_what_waits_at_the_end_is_let_go() -> None:
    passwords = small()
    asked = await ask(passwords, "a", "b", "b")
    await asyncio.to_thread(passwords.close)
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(o) for o in outcomes[1:]] == [asyncio.CancelledError] * 2


async def test_a_long_password_is_refused_before_it_is_hashed(passwords: Passwords) -> None:
    hashed = await passwords.hash("x" * 1_024, share="s")
    assert await passwords.verify(hashed, "x" * 1_024, share="s")
    assert not await passwords.verify(hashed, "x" * 1_025, share="s")
    for text in ("x" * 1_025, "\u20ac" * 342):
        with pytest.raises(ValueError, match="1024 bytes"):
            await passwords.hash(text, share="s")
