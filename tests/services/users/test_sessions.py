"""Sessions: logging in, refreshing, reuse, leaving, throttling, and what an outsider can tell."""

import asyncio

import pytest

from mainspring.kernel.call import SYSTEM, Call
from mainspring.kernel.errors import NotFound, Rerun, Unauthenticated
from mainspring.kernel.table import Query
from mainspring.services.users import store
from mainspring.services.users.api import SESSIONS_MAX, UsersSettings
from mainspring.services.users.api.errors import (
    BadRefreshToken,
    PasswordThrottled,
    RefreshTokenReused,
    WrongCredentials,
)
from mainspring.services.users.api.structs import Login, RefreshRequest, Tokens, UserChanges
from mainspring.services.users.authenticate import REVOKING
from tests.services.users.people import (
    EMAIL,
    EVENT_BODIES,
    PASSWORD,
    WAITING,
    CountingPasswords,
    People,
    page,
)

SESSIONS = Query("test.sessions", "SELECT COUNT(*) FROM users_sessions", int)
FAILURES = Query("test.failures", "SELECT failures FROM users_failures", int)


async def refresh(people: People, token: str) -> Tokens:
    outcome = await people.ask("refresh_session", given=RefreshRequest(refresh_token=token))
    tokens: Tokens = outcome.value
    return tokens


async def test_a_login_gives_tokens_that_say_who(people: People) -> None:
    user = await people.sign_up()
    tokens = await people.log_in(" ANN@example.com")
    assert (tokens.expires_in, tokens.user) == (900, user)
    caller = await people.caller(tokens)
    assert (caller.kind, caller.id, caller.session_id) == ("user", user.id, tokens.session_id)
    people.clock.move(899)
    await people.caller(tokens)
    people.clock.move(1)
    with pytest.raises(Unauthenticated):
        await people.caller(tokens)


async def test_no_secret_is_in_an_event_or_a_row(people: People) -> None:
    await people.sign_up()
    tokens = await people.log_in()
    fresh = await refresh(people, tokens.refresh_token)
    rows = await people.all(
        Query("test.rows", "SELECT id || ' ' || expires_ms FROM users_sessions", str)
    )
    kept = "".join([*await people.all(EVENT_BODIES), *rows])
    for secret in (tokens.access_token, tokens.refresh_token, fresh.refresh_token, PASSWORD):
        assert secret not in kept
        assert secret[-20:] not in kept


# Refreshing


async def test_a_refresh_rotates(people: People) -> None:
    await people.sign_up()
    tokens = await people.log_in()
    seen = {tokens.refresh_token}
    for _ in range(3):
        people.clock.move(60)
        tokens = await refresh(people, tokens.refresh_token)
        assert tokens.refresh_token not in seen
        seen.add(tokens.refresh_token)
        assert (await people.caller(tokens)).session_id == tokens.session_id
    assert await people.all(SESSIONS) == [1]


async def test_the_parent_gets_the_newest_again_for_ten_seconds(people: People) -> None:
    await people.sign_up()
    first = await people.log_in()
    second = await refresh(people, first.refresh_token)
    people.clock.move(10)
    again = await refresh(people, first.refresh_token)
    assert again.refresh_token == second.refresh_token
    await people.caller(again)
    third = await refresh(people, second.refresh_token)
    await people.caller(third)


@pytest.mark.parametrize("late_s", [10.001, 3600])
async def test_reuse_ends_the_family(people: People, late_s: float) -> None:
    await people.sign_up()
    first = await people.log_in()
    other = await people.log_in()
    second = await refresh(people, first.refresh_token)
    people.clock.move(late_s)
    with pytest.raises(RefreshTokenReused):
        await refresh(people, first.refresh_token)
    with pytest.raises(BadRefreshToken):
        await refresh(people, second.refresh_token)
    with pytest.raises(Unauthenticated):
        await people.caller(second)
    await refresh(people, other.refresh_token)
    assert (await people.events())[-1] == "users.session.revoked"


async def test_a_grandparent_is_reuse_at_once(people: People) -> None:
    await people.sign_up()
    first = await people.log_in()
    second = await refresh(people, first.refresh_token)
    await refresh(people, second.refresh_token)
    with pytest.raises(RefreshTokenReused):
        await refresh(people, first.refresh_token)
    assert await people.all(SESSIONS) == [0]


async def test_refreshes_at_once_make_one_child(people: People) -> None:
    await people.sign_up()
    first = await people.log_in()
    answers = await asyncio.gather(*(refresh(people, first.refresh_token) for _ in range(20)))
    assert len({tokens.refresh_token for tokens in answers}) == 1
    (row,) = await people.all(
        Query("test.generation", "SELECT generation FROM users_sessions", int)
    )
    assert row == 2
    await people.caller(answers[0])


async def test_a_refresh_and_a_reuse_at_once_leave_no_session(people: People) -> None:
    await people.sign_up()
    first = await people.log_in()
    second = await refresh(people, first.refresh_token)
    people.clock.move(11)
    outcomes = await asyncio.gather(
        refresh(people, second.refresh_token),
        refresh(people, first.refresh_token),
        refresh(people, second.refresh_token),
        return_exceptions=True,
    )
    assert sum(isinstance(o, RefreshTokenReused) for o in outcomes) == 1
    assert await people.all(SESSIONS) == [0]
    for tokens in outcomes:
        if isinstance(tokens, Tokens):
            with pytest.raises(Unauthenticated):
                await people.caller(tokens)


async def test_a_forged_token_ends_nothing(people: People) -> None:
    await people.sign_up()
    tokens = await people.log_in()
    kept = tokens.refresh_token
    body, proof = kept[:-43], kept[-43:]
    head = body.rsplit("_", 2)[0]
    other = ("B" if proof[5] == "A" else "A").join((proof[:5], proof[6:]))
    for forged in (
        body + other, f"{head}_0_{proof}", f"{head}_2_{proof}", f"{head}_01_{proof}", "msr_", "",
        tokens.access_token,
    ):  # fmt: skip
        with pytest.raises(BadRefreshToken):
            await refresh(people, forged)
    await refresh(people, kept)


async def test_a_session_ends_when_it_is_not_used_and_at_its_longest(people: People) -> None:
    day_s = 86_400
    people.runtime.resources[UsersSettings] = UsersSettings(
        session_idle_s=10 * day_s, session_max_s=25 * day_s
    )
    await people.sign_up()
    idle = await people.log_in()
    used = await people.log_in()
    for _ in range(3):
        people.clock.move(8 * day_s)
        used = await refresh(people, used.refresh_token)
    with pytest.raises(BadRefreshToken):
        await refresh(people, idle.refresh_token)
    people.clock.move(day_s)
    with pytest.raises(BadRefreshToken):
        await refresh(people, used.refresh_token)


# Leaving


async def test_a_revocation_is_told_before_it_is_answered(people: People) -> None:
    await people.sign_up()
    tokens = await people.log_in()
    me = await people.caller(tokens)
    told: list[tuple[str, str]] = []

    def listener(call: Call, events: object) -> None:
        told.extend((e.type.name, e.subject) for e in call.events)

    people.runtime.dispatcher.on_commit(listener)
    await people.ask("delete_session", caller=me, id=tokens.session_id)
    assert told == [("users.session.revoked", tokens.session_id)]
    assert told[0][0] in REVOKING
    with pytest.raises(Unauthenticated):
        await people.caller(tokens)
    with pytest.raises(BadRefreshToken):
        await refresh(people, tokens.refresh_token)


async def test_one_ends_only_ones_own_sessions(people: People) -> None:
    await people.sign_up()
    await people.sign_up("bob@example.com")
    bobs = await people.log_in("bob@example.com")
    ann = await people.caller(await people.log_in())
    for id in (bobs.session_id, "sess_01jd0000000000000000000000", "x"):
        with pytest.raises(NotFound):
            await people.ask("delete_session", caller=ann, id=id)
    await people.caller(bobs)
    await people.ask("delete_session", caller=SYSTEM, id=bobs.session_id)
    with pytest.raises(Unauthenticated):
        await people.caller(bobs)


async def test_logging_out_everywhere_ends_all_of_ones_own(people: People) -> None:
    await people.sign_up()
    await people.sign_up("bob@example.com")
    bobs = await people.log_in("bob@example.com")
    mine = [await people.log_in() for _ in range(3)]
    me = await people.caller(mine[1])
    listed = (await people.ask("list_sessions", caller=me, query=page())).value.items
    assert [session.id for session in listed] == [tokens.session_id for tokens in mine]
    assert [session.current for session in listed] == [False, True, False]
    await people.ask("delete_sessions", caller=me)
    for tokens in mine:
        with pytest.raises(Unauthenticated):
            await people.caller(tokens)
    await people.caller(bobs)
    assert (await people.events())[-3:] == ["users.session.revoked"] * 3


async def test_the_oldest_session_makes_room(people: People) -> None:
    await people.sign_up()
    oldest = await people.log_in()
    for _ in range(SESSIONS_MAX):
        newest = await people.log_in()
    assert await people.all(SESSIONS) == [SESSIONS_MAX]
    await people.caller(newest)
    with pytest.raises(Unauthenticated):
        await people.caller(oldest)


# Guessing


async def test_an_outsider_cannot_tell_a_wrong_password_from_no_account(
    people: People, passwords: CountingPasswords
) -> None:
    """Both answer the same and do the same: the same reads, one hash, the same writes."""
    await people.sign_up()
    traces = []
    for email in (EMAIL, "nobody@example.com"):
        reads: list[str] = []
        call = people.runtime.dispatcher.call(SYSTEM, request_id="r")
        call.reader = _Noting(call.reader, reads)
        verified = passwords.verified
        operation = people.runtime.registry.operations["users.create_session"]
        with pytest.raises(WrongCredentials) as refused:
            await operation(call, Login(email=email, password="wrong password"))
        writes = [repr(getattr(write, "sql", write)) for write in call.writes]
        hashes = passwords.verified - verified
        traces.append((reads, hashes, writes, str(refused.value), refused.value.headers))
    assert traces[0] == traces[1]
    assert traces[0][1] == 1


async def test_wrong_passwords_make_the_account_wait_known_or_not(people: People) -> None:
    await people.sign_up()
    for email in (EMAIL, "nobody@example.com"):
        for _ in range(5):
            with pytest.raises(WrongCredentials):
                await people.log_in(email, "wrong password")
        with pytest.raises(PasswordThrottled) as refused:
            await people.log_in(email, PASSWORD)
        assert refused.value.retry_after_s == 1.0
        assert refused.value.status == 429
    people.clock.move(1)
    with pytest.raises(WrongCredentials):
        await people.log_in(EMAIL, "wrong password")
    people.clock.move(1)
    with pytest.raises(PasswordThrottled):
        await people.log_in()
    people.clock.move(1)
    await people.log_in()
    assert await people.all(Query("test.f", "SELECT COUNT(*) FROM users_failures", int)) == [1]


@pytest.mark.parametrize("ahead_s", [3_600, 365 * 24 * 3_600])
async def test_a_clock_that_was_ahead_locks_nobody_out(people: People, ahead_s: int) -> None:
    await people.sign_up()
    people.clock.move(ahead_s)
    for _ in range(5):
        with pytest.raises(WrongCredentials):
            await people.log_in(EMAIL, "wrong password")
    people.clock.move(-ahead_s)
    await people.log_in()
    for _ in range(5):
        with pytest.raises(WrongCredentials):
            await people.log_in(EMAIL, "wrong password")
    with pytest.raises(PasswordThrottled):
        await people.log_in()


async def test_failures_are_forgotten_after_an_hour(people: People) -> None:
    await people.sign_up()
    for _ in range(4):
        with pytest.raises(WrongCredentials):
            await people.log_in(EMAIL, "wrong password")
    people.clock.move(3600)
    for _ in range(5):
        with pytest.raises(WrongCredentials):
            await people.log_in(EMAIL, "wrong password")
    with pytest.raises(PasswordThrottled):
        await people.log_in()


async def test_a_burst_of_guesses_is_counted_whole(people: People) -> None:
    await people.sign_up()
    guesses = [f"wrong password {i}" for i in range(30)]
    outcomes = await asyncio.gather(
        *(people.log_in(EMAIL, guess) for guess in guesses), return_exceptions=True
    )
    refused = sum(isinstance(outcome, PasswordThrottled) for outcome in outcomes)
    (failures,) = await people.all(FAILURES)
    assert failures == 30 - refused >= 5
    with pytest.raises(PasswordThrottled):
        await people.log_in()


async def test_a_right_guess_in_a_burst_is_checked_again_after_wrong_ones(people: People) -> None:
    """It read that nobody had guessed wrong; by its commit somebody has, too often to let it in."""
    await people.sign_up()
    operation = people.runtime.registry.operations["users.create_session"]
    call = people.runtime.dispatcher.call(SYSTEM, request_id="r")
    await operation(call, Login(email=EMAIL, password=PASSWORD))
    for n in range(5):
        with pytest.raises(WrongCredentials):
            await people.log_in(EMAIL, f"wrong password {n}")
    with pytest.raises(Rerun):
        await people.runtime.dispatcher.commit(call)
    with pytest.raises(PasswordThrottled):  # as the re-run is
        await people.log_in()
    assert await people.all(SESSIONS) == [0]


async def test_failures_survive_and_count_exactly_when_they_come_at_once(people: People) -> None:
    command = store.COUNT_FAILURE(tenant="main", account=b"x", now_ms=2, forgotten_ms=1)
    await asyncio.gather(*(people.run(command) for _ in range(20)))
    (failures,) = await people.all(FAILURES)
    assert failures == 20


async def test_a_login_that_races_with_a_new_password_does_not_survive_it(people: People) -> None:
    """The old password was right when it was checked, but not when the session would begin."""
    user = await people.sign_up()
    operation = people.runtime.registry.operations["users.create_session"]
    call = people.runtime.dispatcher.call(SYSTEM, request_id="r")
    await operation(call, Login(email=EMAIL, password=PASSWORD))
    known = await people.all(store.USER, id=user.id, tenant="main")
    await people.run(store.USERS.update(known[0], password_hash="another"))
    with pytest.raises(Rerun):
        await people.runtime.dispatcher.commit(call)
    assert await people.all(SESSIONS) == [0]


async def test_logins_at_once_do_not_disturb_each_other(people: People) -> None:
    user = await people.sign_up()
    await asyncio.gather(*(people.log_in() for _ in range(10)))
    assert await people.all(SESSIONS) == [10]
    changes = UserChanges(display_name="Ann")
    await people.ask("update_user", caller=SYSTEM, id=user.id, changes=changes)


# Keeping house


async def test_the_sweep_takes_what_has_expired_and_nothing_else(people: People) -> None:
    await people.sign_up()
    await people.log_in()
    with pytest.raises(WrongCredentials):
        await people.log_in(EMAIL, "wrong password")
    counts = Query(
        "test.counts",
        "SELECT (SELECT COUNT(*) FROM users_sessions) + (SELECT COUNT(*) FROM users_mail_tokens)"
        " + (SELECT COUNT(*) FROM users_failures)",
        int,
    )
    assert await people.all(counts) == [3]
    for days, left in ((0, 3), (1, 2), (2, 1), (28, 0)):
        people.clock.move(days * 86_400)
        await people.runtime.scheduler.sweep()
        assert await people.all(counts) == [left]
    assert len(await people.all(WAITING)) == 1


async def test_a_sweep_goes_on_until_nothing_is_left(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a step each ten minutes, which was three rows in a second."""
    monkeypatch.setattr("mainspring.runtime.retention.STEP_ROWS_MAX", 3)
    await people.sign_up()
    for _ in range(8):
        await people.log_in()
    people.clock.move(31 * 86_400)
    await people.runtime.scheduler.sweep()
    assert await people.all(SESSIONS) == [0]


class _Noting:
    """A reader that notes the names of what is read."""

    def __init__(self, reader: object, names: list[str]) -> None:
        self._reader = reader
        self._names = names

    async def read(self, query: Query[object], values: tuple[object, ...]) -> list[object]:
        self._names.append(query.sql.name)
        found: list[object] = await self._reader.read(query, values)  # type: ignore[attr-defined]
        return found
