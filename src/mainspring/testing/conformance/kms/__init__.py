"""What every ``Kms`` must do. Run each of ``CHECKS`` with one that is open.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_kms(check, kms):
    await check(kms)
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable

from mainspring.ports.kms import Kms, Wrapped

CONTEXT = {"tenant": "main", "purpose": "webhooks", "data_key": "0123456789abcdef"}


async def check_what_is_wrapped_is_unwrapped(kms: Kms) -> None:
    """Under a name that its scheme begins, and that it tells as the one that wraps."""
    key = secrets.token_bytes(32)
    wrapped = await kms.wrap(key, CONTEXT)
    assert key not in wrapped.text
    assert wrapped.by.startswith(f"{kms.scheme}:")
    assert await kms.unwrap(wrapped, CONTEXT) == key
    described = await kms.describe()
    assert (described.name, described.why) == (wrapped.by, "")
    assert kms.away() == ""


async def check_no_two_are_the_same(kms: Kms) -> None:
    """A key that is wrapped twice looks like two."""
    key = secrets.token_bytes(32)
    first, second = await asyncio.gather(kms.wrap(key, CONTEXT), kms.wrap(key, CONTEXT))
    assert first.text != second.text
    assert await kms.unwrap(first, CONTEXT) == await kms.unwrap(second, CONTEXT) == key


async def check_a_context_is_kept_to(kms: Kms) -> None:
    """For another tenant or purpose, with less, with more or with none it does not open."""
    wrapped = await kms.wrap(secrets.token_bytes(32), CONTEXT)
    less = {name: value for name, value in CONTEXT.items() if name != "tenant"}
    others: tuple[dict[str, str], ...] = (
        {**CONTEXT, "tenant": "other"},
        {**CONTEXT, "more": "x"},
        less,
        {},
    )
    for context in others:
        await _refused(kms, wrapped, context)
    reordered = dict(reversed(CONTEXT.items()))
    assert await kms.unwrap(wrapped, reordered), "its order says nothing"


async def check_what_was_changed_does_not_open(kms: Kms) -> None:
    """Nor what was cut, or was never wrapped."""
    wrapped = await kms.wrap(secrets.token_bytes(32), CONTEXT)
    last = wrapped.text[:-1] + bytes([wrapped.text[-1] ^ 1])
    for text in (last, wrapped.text[:-4], secrets.token_bytes(len(wrapped.text))):
        await _refused(kms, Wrapped(text, wrapped.by), CONTEXT)


async def _refused(kms: Kms, wrapped: Wrapped, context: dict[str, str]) -> None:
    try:
        await kms.unwrap(wrapped, context)
    except ValueError:
        return
    raise AssertionError("it was unwrapped")


CHECKS: tuple[Callable[[Kms], Awaitable[None]], ...] = (
    check_what_is_wrapped_is_unwrapped,
    check_no_two_are_the_same,
    check_a_context_is_kept_to,
    check_what_was_changed_does_not_open,
)
