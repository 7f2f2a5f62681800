"""The second factor: enrolled, asked for, used once, throttled, lost and reset."""

import asyncio
import contextlib
from typing import Any

import pytest

from mainspring.kernel.call import SYSTEM, Caller
from mainspring.kernel.errors import Failure, Invalid
from mainspring.kernel.table import Query
from mainspring.services.users import one_time_codes
from mainspring.services.users.api.errors import (
    ChallengeInvalid,
    FactorEnrolled,
    FactorMissing,
    FactorRequired,
    FactorThrottled,
    ScopeNotHeld,
    WrongFactor,
)
from mainspring.services.users.api.structs import (
    FactorProof,
    Factors,
    PasswordChange,
    PasswordReset,
    ResetRequest,
    SecondStep,
    Tokens,
    TotpCode,
)
from tests.services.users.authenticator import Authenticator, enrol, label_in
from tests.services.users.people import EMAIL, EVENT_BODIES, PASSWORD, People, data_of
from tests.services.users.test_races import interrupted

NEW = "eleven blue elephants"
SESSIONS = Query("test.sessions", "SELECT COUNT(*) FROM users_sessions", int)


async def challenged(people: People, email: str = EMAIL, password: str = PASSWORD) -> str:
    """Pass the first factor, and return the challenge for the second."""
    with pytest.raises(FactorRequired) as refused:
        await people.log_in(email, password)
    assert refused.value.extra["factors"][0] == "totp"  # type: ignore[index]
    return str(refused.value.extra["challenge"])


async def complete(people: People, challenge: str, **given: str) -> Tokens:
    step = SecondStep(challenge=challenge, **given)
    tokens: Tokens = (await people.ask("complete_session", given=step)).value
    return tokens


async def test_a_log_in_takes_a_code_from_the_app(people: People) -> None:
    me = await people.person()
    app = await enrol(people, me)
    sessions = await people.all(SESSIONS)
    challenge = await challenged(people)
    assert await people.all(SESSIONS) == sessions
    tokens = await complete(people, challenge, code=app.code())
    assert (await people.caller(tokens)).id == me.id
    with pytest.raises(ChallengeInvalid):  # it is spent
        await complete(people, challenge, code=app.code(30))


def test_the_codes_are_those_of_the_standard() -> None:
    secret = b"12345678901234567890"  # RFC 6238, appendix B, cut to six digits
    for time_s, code in ((59, "287082"), (1111111109, "081804"), (20000000000, "353130")):
        step = time_s // 30
        assert one_time_codes.step_of(secret, code, time_s * 1000, 0) == step
        assert one_time_codes.step_of(secret, f"{code[:3]} {code[3:]}", time_s * 1000, 0) == step
        assert one_time_codes.step_of(secret, code, time_s * 1000, step) is None
        assert one_time_codes.step_of(secret, code, (time_s + 61) * 1000, 0) is None


async def test_the_secret_is_shown_once_and_kept_sealed(people: People) -> None:
    me = await people.person()
    made = (await people.ask("create_totp", caller=me)).value
    assert label_in(made.uri) == f"Mainspring:{EMAIL}"
    again = (await people.ask("create_totp", caller=me)).value  # not confirmed: replaced
    assert again.secret != made.secret
    stored = await people.all(Query("test.secret", "SELECT secret FROM users_totp", bytes))
    assert len(stored) == 1
    assert again.secret.encode() not in stored[0]
    factors: Factors = (await people.ask("get_factors", caller=me)).value
    assert factors == Factors(totp=False, totp_confirmed_at=None, passkeys=0, recovery_codes=0)
    await people.log_in()  # it does not count before it is confirmed


async def test_no_secret_is_in_an_event_or_a_row(people: People) -> None:
    app = await enrol(people, await people.person())
    challenge = await challenged(people)
    hashes = await people.all(Query("test.hashes", "SELECT hash FROM users_recovery_codes", bytes))
    data = await people.all(Query("test.data", "SELECT data FROM users_tickets", bytes))
    kept = b"".join([*hashes, *data, *(b.encode() for b in await people.all(EVENT_BODIES))])
    for secret in (app.secret, challenge, *app.recovery_codes, *app.recovery_codes[0].split("-")):
        assert secret.encode() not in kept


@pytest.mark.parametrize("ahead_s", [-30, 0, 30])
async def test_a_code_is_taken_once(people: People, ahead_s: int) -> None:
    app = await enrol(people, await people.person())
    people.clock.move(60)
    code = app.code(ahead_s)
    await complete(people, await challenged(people), code=code)
    with pytest.raises(WrongFactor):
        await complete(people, await challenged(people), code=code)
    if ahead_s == 30:  # the one before it is spent with it
        with pytest.raises(WrongFactor):
            await complete(people, await challenged(people), code=app.code())


async def test_one_of_many_with_one_code_gets_in(people: People) -> None:
    app = await enrol(people, await people.person())
    challenges = [await challenged(people) for _ in range(4)]
    outcomes = await asyncio.gather(
        *(complete(people, challenge, code=app.code()) for challenge in challenges),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Tokens) for outcome in outcomes) == 1
    assert all(isinstance(outcome, Tokens | Failure) for outcome in outcomes)


async def test_codes_of_other_times_are_wrong(people: People) -> None:
    app = await enrol(people, await people.person())
    people.clock.move(300)
    challenge = await challenged(people)
    for ahead_s in (-60, 60):
        with pytest.raises(WrongFactor):
            await complete(people, challenge, code=app.code(ahead_s))
    await complete(people, challenge, code=app.code())  # a wrong one does not spend the challenge


async def test_a_challenge_holds_for_five_minutes(people: People) -> None:
    app = await enrol(people, await people.person())
    challenge = await challenged(people)
    people.clock.move(300)
    with pytest.raises(ChallengeInvalid):
        await complete(people, challenge, code=app.code())


async def test_guesses_are_throttled_for_each_user(people: People) -> None:
    app = await enrol(people, await people.person())
    challenge = await challenged(people)
    for _ in range(5):
        with pytest.raises(WrongFactor):
            await complete(people, challenge, code=app.wrong_code())
    with pytest.raises(FactorThrottled) as refused:
        await complete(people, challenge, code=app.code())
    assert refused.value.retry_after_s == 1
    with pytest.raises(FactorThrottled):  # another challenge is the same user
        await complete(people, await challenged(people), recovery_code=app.recovery_codes[0])
    people.clock.move(1)
    await complete(people, challenge, code=app.code())
    told = [data_of(body) for body in await people.bodies("users.factor.refused")]
    assert [event["failures"] for event in told] == [1, 5]


async def test_a_right_code_that_was_read_before_wrong_ones_were_counted_gains_nothing(
    people: People,
) -> None:
    """A burst of guesses: each finds no failure, and only the first to commit may be right."""
    app = await enrol(people, await people.person())
    challenge = await challenged(people)

    async def guess() -> None:
        for _ in range(5):
            with pytest.raises(WrongFactor):
                await complete(people, challenge, code=app.wrong_code())

    step = SecondStep(challenge=challenge, code=app.code())
    with pytest.raises(FactorThrottled):
        await interrupted(people, "complete_session", "failure", guess, given=step)


async def test_a_recovery_code_stands_in_once(people: People) -> None:
    me = await people.person()
    app = await enrol(people, me)
    assert len(set(app.recovery_codes)) == 10
    typed = app.recovery_codes[3].upper().replace("-", " ")
    await complete(people, await challenged(people), recovery_code=typed)
    with pytest.raises(WrongFactor):
        await complete(people, await challenged(people), recovery_code=app.recovery_codes[3])
    factors: Factors = (await people.ask("get_factors", caller=me)).value
    assert (factors.totp, factors.recovery_codes) == (True, 9)
    (told,) = await people.bodies("users.recovery_code.used")
    assert data_of(told) == {"id": me.id, "left": 9}


async def test_one_of_many_with_one_recovery_code_gets_in(people: People) -> None:
    app = await enrol(people, await people.person())
    challenges = [await challenged(people) for _ in range(4)]
    outcomes = await asyncio.gather(
        *(complete(people, c, recovery_code=app.recovery_codes[0]) for c in challenges),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, Tokens) for outcome in outcomes) == 1


async def test_other_recovery_codes_end_the_former(people: People) -> None:
    me = await people.person()
    app = await enrol(people, me)
    proof = FactorProof(code=app.code())
    fresh = (await people.ask("create_recovery_codes", caller=me, given=proof)).value
    assert not set(fresh.recovery_codes) & set(app.recovery_codes)
    with pytest.raises(WrongFactor):
        await complete(people, await challenged(people), recovery_code=app.recovery_codes[0])
    await complete(people, await challenged(people), recovery_code=fresh.recovery_codes[0])


async def test_disabling_takes_a_factor(people: People) -> None:
    me = await people.person()
    app = await enrol(people, me)
    with pytest.raises(FactorEnrolled):
        await people.ask("create_totp", caller=me)
    with pytest.raises(WrongFactor):
        await people.ask("disable_totp", caller=me, given=FactorProof(code=app.wrong_code()))
    with pytest.raises(Invalid):
        await people.ask("disable_totp", caller=me, given=FactorProof())
    await people.ask("disable_totp", caller=me, given=FactorProof(code=app.code()))
    await people.log_in()
    with pytest.raises(FactorMissing):
        await people.ask("disable_totp", caller=me, given=FactorProof(code=app.code()))
    left = await people.all(Query("test.left", "SELECT COUNT(*) FROM users_recovery_codes", int))
    assert left == [0]
    assert (await people.events())[-2:-1] == ["users.totp.disabled"]


async def test_an_app_that_was_not_confirmed_is_confirmed_by_its_own_code(people: People) -> None:
    me = await people.person()
    with pytest.raises(FactorMissing):
        await people.ask("confirm_totp", caller=me, given=TotpCode(code="123456"))
    app = Authenticator(people, (await people.ask("create_totp", caller=me)).value)
    with pytest.raises(WrongFactor):
        await people.ask("confirm_totp", caller=me, given=TotpCode(code=app.wrong_code()))
    await people.ask("confirm_totp", caller=me, given=TotpCode(code=app.code()))
    with pytest.raises(WrongFactor):  # the code that confirmed it is used up
        await complete(people, await challenged(people), code=app.code())


async def test_another_password_does_not_skip_the_second_factor(people: People) -> None:
    me = await people.person()
    await people.verify()  # of an account that nobody had proved it ends: test_passkeys.py
    app = await enrol(people, me)
    await people.ask("request_password_reset", request=ResetRequest(email=EMAIL))
    reset = PasswordReset(token=await people.mailed_token(), password=NEW)
    await people.ask("reset_password", reset=reset)
    tokens = await complete(people, await challenged(people, password=NEW), code=app.code())
    assert tokens.user.email == EMAIL


async def test_no_challenge_outlives_the_password_that_got_it(people: People) -> None:
    me = await people.person()
    app = await enrol(people, me)
    challenge = await challenged(people)
    change = PasswordChange(password=PASSWORD, new_password=NEW)
    await people.ask("change_password", caller=me, change=change)
    with pytest.raises(ChallengeInvalid):
        await complete(people, challenge, code=app.code())


async def test_a_challenge_is_for_the_one_who_got_it(people: People) -> None:
    app = await enrol(people, await people.person())
    await enrol(people, await people.person("bob@example.com"))
    theirs = await challenged(people, "bob@example.com")
    with pytest.raises(WrongFactor):
        await complete(people, theirs, code=app.code())
    with pytest.raises(WrongFactor):
        await complete(people, theirs, recovery_code=app.recovery_codes[0])


async def test_a_secret_in_the_row_of_another_is_nobodys(people: People) -> None:
    ann = await people.person()
    bob = await people.person("bob@example.com")
    app, theirs = await enrol(people, ann), await enrol(people, bob)
    people.clock.move(60)
    moved = Query("test.moved", "SELECT secret FROM users_totp WHERE user_id = :id", bytes)
    (secret,) = await people.all(moved, id=ann.id)
    (known,) = await people.all(moved, id=bob.id)
    assert secret != known
    challenge = await challenged(people, "bob@example.com")
    await people.move_secret(secret, str(bob.id))
    for code in (app.code(), theirs.code()):
        with pytest.raises(WrongFactor):
            await complete(people, challenge, code=code)


async def test_an_administrator_resets_the_factor_of_who_may_do_no_more(people: People) -> None:
    me = await people.person()
    app = await enrol(people, me)
    challenge = await challenged(people)
    clerk = Caller("user", "user_clerk", scopes=frozenset({"users:write"}))
    await people.ask("reset_totp", caller=clerk, id=me.id)
    await people.log_in()
    with pytest.raises(ChallengeInvalid):
        await complete(people, challenge, code=app.code())
    (told,) = await people.bodies("users.totp.disabled")
    assert data_of(told) == {"id": me.id, "how": "admin"}
    with pytest.raises(FactorMissing):
        await people.ask("reset_totp", caller=clerk, id=me.id)
    root = await people.administrator()
    with pytest.raises(ScopeNotHeld):
        await people.ask("reset_totp", caller=clerk, id=root.id)


async def test_nothing_of_a_factor_outlives_its_user(people: People) -> None:
    me = await people.person()
    app = await enrol(people, me)
    challenge = await challenged(people)
    with contextlib.suppress(WrongFactor):
        await complete(people, challenge, code=app.wrong_code())
    await people.ask("delete_user", caller=SYSTEM, id=me.id)
    for table in ("totp", "recovery_codes", "tickets", "failures"):
        count = Query(f"test.{table}", f"SELECT COUNT(*) FROM users_{table}", int)
        assert await people.all(count) == [0], table


async def test_what_is_no_challenge_is_refused(people: People) -> None:
    await enrol(people, await people.person())
    for text in ("", "mst_", "x" * 200):
        with pytest.raises(ChallengeInvalid):
            await complete(people, text, code="123456")


async def test_a_token_says_by_what_and_when(people: People) -> None:
    me = await people.person()
    claims = people.claims(await people.log_in())
    assert (claims["amr"], claims["auth_time"]) == (["pwd"], people.clock.now_ms() // 1000)
    app = await enrol(people, me)
    tokens = await complete(people, await challenged(people), code=app.code())
    expected: dict[str, Any] = {"amr": ["mfa", "otp", "pwd"]}
    expected["auth_time"] = people.clock.now_ms() // 1000
    claims = people.claims(tokens)
    assert {name: claims[name] for name in expected} == expected
