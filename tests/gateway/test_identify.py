"""Credentials: remembered, shared, expired, revoked at the worst moment."""

import asyncio

import pytest

from mainspring.gateway import identify
from mainspring.gateway.identify import Identities
from mainspring.kernel.authority import Identity
from mainspring.kernel.call import Caller
from mainspring.kernel.errors import RateLimited, Unauthenticated, Unavailable
from mainspring.testing.clock import FakeClock
from tests.deadline import DEADLINE_S

HEADER = b"Bearer msk_one"
ADDRESS = "192.0.2.1"


class Slow:
    """Answers when the test says so."""

    revoking = frozenset({"keys.key.revoked"})

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[asyncio.Future[Identity]] = []
        self.came = asyncio.Event()

    async def authenticate(self, credential: str, now_ms: int) -> Identity:
        self.asked.append(credential)
        answer: asyncio.Future[Identity] = asyncio.get_running_loop().create_future()
        self.answers.append(answer)
        self.came.set()
        return await answer

    async def next(self) -> asyncio.Future[Identity]:
        async with asyncio.timeout(DEADLINE_S):
            await self.came.wait()
        self.came.clear()
        return self.answers[-1]


def of(name: str, *tags: str, expires_ms: int | None = None) -> Identity:
    return Identity(Caller("key", name), expires_ms, tags)


async def known(identities: Identities, slow: Slow, identity: Identity) -> identify.CachedIdentity:
    looking = asyncio.create_task(identities.look_up(HEADER, ADDRESS))
    (await slow.next()).set_result(identity)
    return await looking


async def test_a_credential_is_looked_up_once_by_everyone_who_asks_at_once() -> None:
    clock, slow = FakeClock(), Slow()
    identities = Identities(slow, clock)
    assert identities.recall(HEADER, clock.now_ms()) is None
    asking = [asyncio.create_task(identities.look_up(HEADER, ADDRESS)) for _ in range(50)]
    answer = await slow.next()
    asking[0].cancel()  # whoever asked first may give up
    answer.set_result(of("key_1"))
    found = await asyncio.gather(*asking[1:])
    assert slow.asked == ["msk_one"]
    assert {id(one) for one in found} == {id(identities.recall(HEADER, clock.now_ms()))}


async def test_a_refusal_is_not_remembered() -> None:
    clock, slow = FakeClock(), Slow()
    identities = Identities(slow, clock)
    looking = asyncio.create_task(identities.look_up(HEADER, ADDRESS))
    (await slow.next()).set_exception(Unauthenticated("no"))
    with pytest.raises(Unauthenticated) as caught:
        await looking
    assert 'error="invalid_token"' in caught.value.headers["WWW-Authenticate"]
    assert (await known(identities, slow, of("key_1"))).caller.id == "key_1"
    assert len(slow.asked) == 2


async def test_memory_ends_with_the_credential_and_after_a_minute() -> None:
    clock, slow = FakeClock(), Slow()
    identities = Identities(slow, clock)
    await known(identities, slow, of("key_1", expires_ms=clock.now_ms() + 5_000))
    clock.move(4.9)
    assert identities.recall(HEADER, clock.now_ms()) is not None
    clock.move(0.2)
    assert identities.recall(HEADER, clock.now_ms()) is None
    await known(identities, slow, of("key_1"))
    clock.move(identify.REMEMBERED_MS / 1000)
    assert identities.recall(HEADER, clock.now_ms()) is None


async def test_an_expired_identity_is_refused() -> None:
    clock, slow = FakeClock(), Slow()
    with pytest.raises(Unauthenticated):
        await known(Identities(slow, clock), slow, of("key_1", expires_ms=clock.now_ms()))


async def test_forgetting_a_tag_drops_its_credentials_and_no_others() -> None:
    clock, slow = FakeClock(), Slow()
    identities = Identities(slow, clock)
    one = await known(identities, slow, of("key_1", "user_1", "session_1"))
    identities.forget("user_2")
    assert identities.recall(HEADER, clock.now_ms()) is one
    identities.forget("user_1")
    assert identities.recall(HEADER, clock.now_ms()) is None
    assert one.dropped
    identities.forget("session_1")  # its index went with it
    assert len(identities) == 0


async def test_a_revocation_during_a_lookup_is_not_overwritten_by_its_stale_answer() -> None:
    clock, slow = FakeClock(), Slow()
    identities = Identities(slow, clock)
    looking = asyncio.create_task(identities.look_up(HEADER, ADDRESS))
    stale = await slow.next()
    identities.forget("session_1")
    stale.set_result(of("key_1", "session_1"))
    (await slow.next()).set_exception(Unauthenticated("revoked"))
    with pytest.raises(Unauthenticated):
        await looking
    assert identities.recall(HEADER, clock.now_ms()) is None


async def test_a_credential_that_is_revoked_at_every_look_is_given_up() -> None:
    clock, slow = FakeClock(), Slow()
    identities = Identities(slow, clock)
    looking = asyncio.create_task(identities.look_up(HEADER, ADDRESS))
    for _ in range(identify.LOOKUP_ATTEMPTS_MAX):
        answer = await slow.next()
        identities.forget_all()
        answer.set_result(of("key_1"))
    with pytest.raises(Unavailable):
        await looking


async def test_memory_is_bounded_and_the_least_used_goes_first() -> None:
    clock = FakeClock()

    class Instant:
        revoking = frozenset[str]()

        async def authenticate(self, credential: str, now_ms: int) -> Identity:
            return of(credential, f"tag_{credential}")

    identities = Identities(Instant(), clock, bytes_max=4_000)
    for name in (b"a", b"b", b"c"):
        await identities.look_up(b"Bearer " + name, ADDRESS)
    identities.recall(b"Bearer a", clock.now_ms())
    await identities.look_up(b"Bearer d", ADDRESS)
    assert len(identities) == 3
    assert identities.recall(b"Bearer a", clock.now_ms()) is not None
    assert identities.recall(b"Bearer b", clock.now_ms()) is None


async def test_one_credential_in_many_spellings_is_remembered_once() -> None:
    class Instant:
        revoking = frozenset[str]()
        asked = 0

        async def authenticate(self, credential: str, now_ms: int) -> Identity:
            self.asked += 1
            return of("key_1")

    clock, instant = FakeClock(), Instant()
    identities = Identities(instant, clock)
    for spaces in range(1, 1_000):
        for scheme in (b"Bearer", b"bearer", b"BEARER"):
            header = scheme + b" " * spaces + b"msk_one" + b" " * spaces
            if identities.recall(header, clock.now_ms()) is None:
                await identities.look_up(header, ADDRESS)
    assert (len(identities), instant.asked) == (1, 1)


async def test_one_caller_pushes_out_only_its_own_credentials() -> None:
    class Instant:
        revoking = frozenset[str]()

        async def authenticate(self, credential: str, now_ms: int) -> Identity:
            return of(credential.partition("-")[0], f"session_{credential}")

    clock = FakeClock()
    identities = Identities(Instant(), clock)
    await identities.look_up(b"Bearer modest-1", ADDRESS)
    for number in range(identify.CREDENTIALS_SHARE + 10):
        await identities.look_up(b"Bearer greedy-%d" % number, ADDRESS)
    assert len(identities) == identify.CREDENTIALS_SHARE + 1
    assert identities.recall(b"Bearer modest-1", clock.now_ms()) is not None
    assert identities.recall(b"Bearer greedy-9", clock.now_ms()) is None
    assert identities.recall(b"Bearer greedy-10", clock.now_ms()) is not None


async def test_one_address_has_a_share_of_the_lookups_in_flight() -> None:
    slow = Slow()
    identities = Identities(slow, FakeClock())
    asking = [
        asyncio.create_task(identities.look_up(b"Bearer a%d" % number, ADDRESS))
        for number in range(identify.LOOKUPS_SHARE)
    ]
    await slow.next()
    with pytest.raises(RateLimited):
        await identities.look_up(b"Bearer one-more", ADDRESS)
    other = asyncio.create_task(identities.look_up(b"Bearer other", "192.0.2.2"))
    while len(slow.answers) <= identify.LOOKUPS_SHARE:
        await slow.next()
    for answer in slow.answers:
        answer.set_result(of("key_1"))
    await asyncio.gather(*asking, other)
    looking = asyncio.create_task(identities.look_up(b"Bearer one-more", ADDRESS))
    (await slow.next()).set_result(of("key_1"))
    await looking


async def test_silence_of_the_revocation_feed_bypasses_memory() -> None:
    clock, slow = FakeClock(), Slow()
    identities = Identities(slow, clock, silence_max_s=1.0)
    remembered = await known(identities, slow, of("key_1"))
    clock.move(1.1)
    assert identities.recall(HEADER, clock.now_ms()) is None
    assert not identities.holds(remembered, clock.now_ms())
    identities.heard(clock.monotonic_s() - 1.1)
    assert identities.recall(HEADER, clock.now_ms()) is None  # that is no news
    identities.heard(clock.monotonic_s() - 0.9)
    assert identities.recall(HEADER, clock.now_ms()) is remembered


async def test_a_clock_that_is_set_back_prolongs_nothing() -> None:
    clock, slow = FakeClock(), Slow()
    identities = Identities(slow, clock)
    await known(identities, slow, of("key_1"))
    assert identities.recall(HEADER, clock.now_ms() + 1) is not None
    assert identities.recall(HEADER, clock.now_ms() - 3_600_000) is None


@pytest.mark.parametrize(
    "header", [b"", b"Bearer", b"Bearer ", b"Basic YTpi", b"msk_one", b"Bearer \xff",
               b"Bearer a b", b"Bearer a\tb", b"Bearer a!",
               b"Bearer e30.e30.e31", b"Bearer e30.e30.e30=", b"Bearer e30.e30.e3000",
               b"Bearer " + b"x" * 9_000],
)  # fmt: skip
async def test_what_is_no_bearer_token_is_refused_unasked(header: bytes) -> None:
    slow = Slow()
    with pytest.raises(Unauthenticated):
        await Identities(slow, FakeClock()).look_up(header, ADDRESS)
    assert slow.asked == []
