"""The pool that hashes: right and wrong passwords, what is common, and its bound."""

import asyncio

import pytest

from mainspring.kernel.clock import SystemEntropy
from mainspring.kernel.errors import Unavailable
from mainspring.services.users.api import Passwords


async def test_the_parameters_are_the_promised_ones() -> None:
    passwords = Passwords(SystemEntropy())
    assert (await passwords.hash("x")).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    passwords.close()


async def test_only_the_right_password_verifies(passwords: Passwords) -> None:
    hashed = await passwords.hash("correct horse")
    assert await passwords.verify(hashed, "correct horse")
    assert not await passwords.verify(hashed, "correct horse ")
    assert not await passwords.verify(hashed, "")
    assert not await passwords.verify(None, "")
    assert not await passwords.verify(None, "correct horse")
    assert not await passwords.verify("not a hash", "correct horse")
    assert hashed != await passwords.hash("correct horse")


async def test_common_passwords_are_known(passwords: Passwords) -> None:
    for text in ("password1", "PassWord1", "12345678", "qwertyuiop", "baseball"):
        assert await passwords.is_common(text), text
    assert not await passwords.is_common("correct horse battery")


async def test_a_hash_of_other_parameters_is_stale(passwords: Passwords) -> None:
    stronger = Passwords(SystemEntropy(), memory_kib=128, passes=2)
    hashed = await passwords.hash("correct horse")
    assert not passwords.is_stale(hashed)
    assert stronger.is_stale(hashed)
    assert await stronger.verify(hashed, "correct horse")
    stronger.close()


async def test_a_full_queue_refuses_and_frees_its_places() -> None:
    passwords = Passwords(SystemEntropy(), memory_kib=64, passes=1, threads=1, waiting_max=3)
    running = [asyncio.ensure_future(passwords.hash("x")) for _ in range(3)]
    await asyncio.wait(running, timeout=0)
    with pytest.raises(Unavailable):
        await passwords.hash("one more")
    running[2].cancel()  # whoever asked has gone; the thread has not
    await asyncio.gather(*running, return_exceptions=True)
    assert await passwords.verify(await passwords.hash("x"), "x")
    passwords.close()
