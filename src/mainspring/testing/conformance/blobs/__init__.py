"""What every ``Blobs`` must do. Run each of ``CHECKS`` on an empty store.

@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_blobs(check, tmp_path):
    await check(open(f"file:{tmp_path}"))
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable

from mainspring.kernel.errors import NotFound, TooLarge, Unavailable
from mainspring.ports.blobs import KEY_CHARS_MAX, Blob, Blobs

LARGE = bytes(range(256)) * 24_576  # 6 MiB: stores that take parts have sent one by then
NEVER_MS, LATER_MS = 0, 1 << 42  # before and after whatever clock the store dates by
NO_KEYS = (
    "", "a/../b", "a.half", "a\0", "a=b", "a b", "\u00e9", "a\n", "/a", "a/", "a//b",
    "a" * (KEY_CHARS_MAX + 1),
)  # fmt: skip


async def _chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def _broken() -> AsyncIterator[bytes]:
    yield b"half"
    raise ConnectionError("the sender is gone")


async def _read(blobs: Blobs, key: str) -> bytes | None:
    try:
        return b"".join([chunk async for chunk in blobs.get(key)])
    except NotFound:
        return None


async def _refused(putting: Awaitable[object], *errors: type[BaseException]) -> None:
    try:
        await putting
    except errors:
        return
    raise AssertionError(f"none of {errors} was raised")


async def check_what_was_put_comes_back(blobs: Blobs) -> None:
    """Whole, however it was cut and whatever bytes it holds; empty ones too."""
    blob = await blobs.put("a/b_1/C-2", _chunks(b"one\0", b"", b"\xfftwo"), size_bytes_max=8)
    whole = b"one\0\xfftwo"
    assert (blob.key, blob.size_bytes) == ("a/b_1/C-2", 8), blob
    assert blob.sha256 == hashlib.sha256(whole).hexdigest(), blob
    assert await _read(blobs, "a/b_1/C-2") == whole
    assert (await blobs.put("none", _chunks(), size_bytes_max=8)).size_bytes == 0
    assert await _read(blobs, "none") == b""
    large = bytes(range(256)) * 8_192
    await blobs.put("large", _chunks(large[:100], large[100:]), size_bytes_max=len(large))
    assert await _read(blobs, "large") == large


async def check_a_part_comes_by_itself(blobs: Blobs) -> None:
    """From any offset, as many as are wanted and there; past the end there is nothing."""
    whole = bytes(range(256)) * 4_096
    await blobs.put("k", _chunks(whole), size_bytes_max=len(whole))
    for offset, size in (
        (0, 1),
        (1, 300_000),
        (len(whole) - 1, 5),
        (5, None),
        (0, 0),
        (1 << 40, 1),
    ):
        end = len(whole) if size is None else offset + size
        part = b"".join([chunk async for chunk in blobs.get("k", offset, size)])
        assert part == whole[offset:end], (offset, size)


async def check_nothing_has_no_parts(blobs: Blobs) -> None:
    """Of an empty blob every part is empty; of none every part is NotFound."""
    await blobs.put("none", _chunks(), size_bytes_max=8)
    for offset, size in ((0, None), (0, 0), (0, 1), (7, None)):
        assert b"".join([chunk async for chunk in blobs.get("none", offset, size)]) == b""
        reading = blobs.get("never", offset, size)
        await _refused(anext(aiter(reading)), NotFound)


async def check_keys_are_apart(blobs: Blobs) -> None:
    """One that looks like a folder of another is a key by itself; the longest is taken."""
    keys = ("a", "a/b", "a/b/c", "A", "a_b", "a-b", "k" * KEY_CHARS_MAX)
    for key in keys:
        await blobs.put(key, _chunks(key.encode()), size_bytes_max=KEY_CHARS_MAX)
    for key in keys:
        assert await _read(blobs, key) == key.encode(), key


async def check_a_blob_that_is_too_large_leaves_nothing(blobs: Blobs) -> None:
    """TooLarge is raised of the first byte too many."""
    await _refused(blobs.put("k", _chunks(b"x" * 6, b"x" * 5), size_bytes_max=10), TooLarge)
    assert await _read(blobs, "k") is None
    assert await blobs.older("", LATER_MS, limit=10) == []


async def check_a_broken_put_leaves_what_was_there(blobs: Blobs) -> None:
    """What broke it is raised; the blob before it stays whole, and where none was none is."""
    await blobs.put("k", _chunks(b"whole"), size_bytes_max=10)
    await _refused(blobs.put("k", _broken(), size_bytes_max=10), ConnectionError)
    await _refused(blobs.put("l", _broken(), size_bytes_max=10), ConnectionError)
    assert await _read(blobs, "k") == b"whole"
    assert await _read(blobs, "l") is None


async def check_putting_again_replaces_all_of_it(blobs: Blobs) -> None:
    """Nothing of a longer one before shows behind it."""
    await blobs.put("k", _chunks(b"long before"), size_bytes_max=20)
    await blobs.put("k", _chunks(b"short"), size_bytes_max=20)
    assert await _read(blobs, "k") == b"short"


async def check_puts_of_one_key_do_not_meet(blobs: Blobs) -> None:
    """Each is whole or fails by itself, however they overlap; the last to end stays."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"first, "
        begun.set()
        await go_on.wait()
        yield b"slowly"

    slow = asyncio.create_task(blobs.put("k", slowly(), size_bytes_max=20))
    await begun.wait()
    quick = await blobs.put("k", _chunks(b"second"), size_bytes_max=20)
    assert await _read(blobs, "k") == b"second"
    (both,) = await blobs.older("", LATER_MS, limit=10)
    assert (both.key, both.finished, both.size_bytes >= 6) == ("k", True, True), both
    await _refused(blobs.put("k", _broken(), size_bytes_max=20), ConnectionError)
    go_on.set()
    whole = b"first, slowly"
    assert (await slow).sha256 == hashlib.sha256(whole).hexdigest()
    assert quick.sha256 == hashlib.sha256(b"second").hexdigest()
    assert await _read(blobs, "k") == whole


async def check_deleting_is_final_and_may_be_repeated(blobs: Blobs) -> None:
    """One that never was may be deleted as well; its neighbours stay."""
    for key in ("k", "k/l"):
        await blobs.put(key, _chunks(b"x"), size_bytes_max=10)
    for _ in range(2):
        await blobs.delete("k")
        await blobs.delete("never")
    assert await _read(blobs, "k") is None
    assert await _read(blobs, "k/l") == b"x"


async def check_what_is_no_key_is_refused(blobs: Blobs) -> None:
    """By every method, so that no key leads out of the store."""
    for key in NO_KEYS:
        await _refused(blobs.put(key, _chunks(b"x"), size_bytes_max=10), ValueError)
        await _refused(_read(blobs, key), ValueError)
        await _refused(blobs.delete(key), ValueError)
    assert await blobs.older("", LATER_MS, limit=10) == []


async def check_old_ones_are_listed_page_by_page(blobs: Blobs) -> None:
    """Each key of the prefix once, whatever its size of page, and none that is too young."""
    keys = {f"mine/{number}" for number in range(20)}
    for key in (*keys, "mines", "others/1"):
        await blobs.put(key, _chunks(b"x"), size_bytes_max=10)
    for limit in (1, 6, 20, 100):
        found: list[str] = []
        place: str | None = None
        while page := await blobs.older("mine/", LATER_MS, limit=limit, after=place):
            assert len(page) <= limit, page
            found += [blob.key for blob in page]
            place = page[-1].place
        assert sorted(found) == sorted(keys), found
    assert await blobs.older("mine/", NEVER_MS, limit=100) == []


def _begun(blobs: Blobs, key: str) -> tuple["asyncio.Task[Blob]", asyncio.Event, asyncio.Event]:
    """Put what is in the middle of it when the first event is set, and ends with the second."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield LARGE
        begun.set()
        await go_on.wait()
        yield LARGE[:100]

    size_bytes_max = len(LARGE) + 100
    putting = blobs.put(key, slowly(), size_bytes_max=size_bytes_max)
    return asyncio.create_task(putting), begun, go_on


async def check_what_is_unfinished_is_told(blobs: Blobs) -> None:
    """A put counts when there is much of it, and says that there is nothing to get yet."""
    await blobs.put("whole", _chunks(b"1234"), size_bytes_max=20)
    putting, begun, go_on = _begun(blobs, "half")
    await begun.wait()
    found = {blob.key: blob for blob in await blobs.older("", LATER_MS, limit=10)}
    assert {key: blob.finished for key, blob in found.items()} == {"whole": True, "half": False}
    assert found["whole"].size_bytes == 4, found
    assert all(NEVER_MS < blob.written_ms < LATER_MS for blob in found.values()), found
    pages = [await blobs.older("", LATER_MS, limit=1)]
    while pages[-1]:
        pages.append(await blobs.older("", LATER_MS, limit=1, after=pages[-1][0].place))
    assert sorted(blob.key for page in pages for blob in page) == ["half", "whole"], pages
    assert await blobs.older("half", NEVER_MS, limit=10) == []
    go_on.set()
    await putting
    assert await _read(blobs, "half") == LARGE + LARGE[:100]
    assert all(blob.finished for blob in await blobs.older("", LATER_MS, limit=10))


async def check_what_is_unfinished_can_be_deleted(blobs: Blobs) -> None:
    """As a sweep does with what nobody will finish. Whoever still sends it hears of it."""
    putting, begun, go_on = _begun(blobs, "half")
    await begun.wait()
    await blobs.delete("half")
    assert await blobs.older("", LATER_MS, limit=10) == []
    go_on.set()
    await _refused(putting, Unavailable, OSError)
    assert await _read(blobs, "half") is None
    assert await blobs.older("", LATER_MS, limit=10) == []


async def check_a_large_put_that_is_cut_leaves_nothing(blobs: Blobs) -> None:
    """Whether its sender breaks off, sends too much, or its call is cancelled."""

    async def broken() -> AsyncIterator[bytes]:
        yield LARGE
        raise ConnectionError("the sender is gone")

    await blobs.put("k", _chunks(b"whole"), size_bytes_max=10)
    await _refused(blobs.put("k", broken(), size_bytes_max=1 << 30), ConnectionError)
    most = len(LARGE) + 1
    await _refused(blobs.put("k", _chunks(LARGE, LARGE), size_bytes_max=most), TooLarge)
    putting, begun, _ = _begun(blobs, "k")
    await begun.wait()
    putting.cancel()
    await _refused(putting, asyncio.CancelledError)
    putting, _, _ = _begun(blobs, "k")
    await asyncio.sleep(0)  # it has begun to send its first bytes, and no more
    putting.cancel()
    await _refused(putting, asyncio.CancelledError)
    (left,) = await blobs.older("", LATER_MS, limit=10)
    assert (left.key, left.size_bytes, left.finished) == ("k", 5, True), left
    assert await _read(blobs, "k") == b"whole"


async def check_large_puts_of_one_key_do_not_meet(blobs: Blobs) -> None:
    """Whoever wins, no byte of the others shows."""
    whole = [bytes([number]) * len(LARGE) for number in range(3)]
    await asyncio.gather(
        *(blobs.put("k", _chunks(one, one), size_bytes_max=2 * len(one)) for one in whole)
    )
    assert await _read(blobs, "k") in {one + one for one in whole}
    assert [blob.finished for blob in await blobs.older("", LATER_MS, limit=10)] == [True]


async def check_what_is_deleted_on_the_way_stops_no_listing(blobs: Blobs) -> None:
    """A sweep deletes each page it was given, ``after`` included, and still meets every key."""
    keys = {f"k{number}" for number in range(12)}
    for key in keys:
        await blobs.put(key, _chunks(b"x"), size_bytes_max=10)
    met: list[str] = []
    place: str | None = None
    while page := await blobs.older("k", LATER_MS, limit=5, after=place):
        met += [blob.key for blob in page]
        place = page[-1].place
        for blob in page:
            await blobs.delete(blob.key)
    assert sorted(met) == sorted(keys), met


CHECKS: tuple[Callable[[Blobs], Awaitable[None]], ...] = tuple(
    check for name, check in list(globals().items()) if name.startswith("check_")
)
