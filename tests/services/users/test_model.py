"""The pure rules: addresses, passwords, waits, refresh tokens, scopes."""

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.kernel.errors import Invalid
from mainspring.services.users import model
from mainspring.services.users.model import RefreshDecision, RefreshToken


@pytest.mark.parametrize(
    "text",
    ["a@b", "ann@example.com", " ann@example.com ", "a+b@x.co", "o'neil@example.com",
     "ünï@bücher.example", "x" * 64 + "@" + "a" * 63 + ".com"],
)  # fmt: skip
def test_addresses_that_people_have_are_taken(text: str) -> None:
    assert idna.decode(model.email(text).partition("@")[2]) == text.strip().partition("@")[2]
    assert model.email(text).partition("@")[0] == text.strip().partition("@")[0]


@pytest.mark.parametrize(
    "text",
    ["", "@", "a@", "@b", "a b@c", "a@b c", "a@b@c", "a@-b.com", "a@b..com", "a@b.com\n\n.x",
     "a\x00@b.com", "a@b.com\x00", "<a@b.com>", "a,b@c.com", "x" * 65 + "@b.com",
     "a@" + ".".join(["b" * 60] * 5), "a\r\nBcc: x@y.z@b.com"],
)  # fmt: skip
def test_what_is_not_an_address_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        model.email(text)
    assert refused.value.errors[0].pointer == "/email"


def test_one_address_in_many_spellings_has_one_key() -> None:
    spellings = ["Ann@Example.com", "ann@example.COM", " ann@example.com", "\uff41nn@example.com"]
    assert {model.email_key(text) for text in spellings} == {"ann@example.com"}
    assert model.email_key("é@x.y") == model.email_key("e\u0301@x.y")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("short", "8 to 128"),
        ("x" * 129, "8 to 128"),
        ("aaaaaaaaaaaa", "over and over"),
        ("ababababab", "over and over"),
        ("ann.smith@example.com", "address"),
        ("ANN.SMITH@example.com1", "address"),
        ("ann.smith1234567", "address"),
    ],
)
def test_weak_passwords_are_refused(text: str, why: str) -> None:
    with pytest.raises(Invalid) as refused:
        model.password(text, "ann.smith@example.com")
    assert why in refused.value.errors[0].detail
    assert text not in str(refused.value.errors)


def test_a_password_is_compared_in_one_normal_form() -> None:
    typed, stored = "cafe\u0301 au lait", "caf\u00e9 au lait"
    assert model.password(typed, "a@b.c") == stored
    assert model.typed_password(typed) == stored


def test_a_long_password_may_hold_the_name() -> None:
    assert model.password("ann.smith and eleven cats", "ann.smith@example.com")


def test_the_wait_doubles_is_bounded_and_always_ends() -> None:
    waits = [model.wait_ms(n, 0, 0) for n in range(40)]
    assert waits[:9] == [0, 0, 0, 0, 0, 1_000, 2_000, 4_000, 8_000]
    assert max(waits) == model.FAILURE_WAIT_MAX_MS == waits[-1]
    for failures in (5, 20, 10**9):
        wait = model.wait_ms(failures, 1_000, 1_000)
        assert model.wait_ms(failures, 1_000, 1_000 + wait) == 0
        assert model.wait_ms(failures, 1_000, 999 + wait) == 1
    assert model.wait_ms(10**6, 0, model.FAILURES_FORGOTTEN_MS) == 0


ROTATE, REPEAT, REVOKE = RefreshDecision
YEAR_MS = 365 * 24 * 3_600_000


@pytest.mark.parametrize("ahead_ms", [3_600_000, YEAR_MS])
def test_what_a_clock_that_was_ahead_wrote_makes_nobody_wait(ahead_ms: int) -> None:
    now_ms = 2 * YEAR_MS
    then_ms = now_ms + ahead_ms
    assert model.wait_ms(10**6, then_ms, now_ms) == 0
    assert model.mail_wait_ms(10**6, then_ms, now_ms, 60_000, 60_000) == 0
    assert model.judge(4, 5, then_ms, now_ms) is REVOKE  # nor is it tolerated for as long
    assert model.wait_ms(10**6, now_ms + 30_000, now_ms) > 0  # two machines may differ a little


@given(st.integers(0, 10**12 - 1), st.binary(min_size=32, max_size=32))
def test_a_refresh_token_is_read_as_it_was_written(generation: int, proof: bytes) -> None:
    token = RefreshToken("sess_01jd0000000000000000000000", generation, proof)
    assert model.refresh_token(token.text()) == token


@given(st.text(max_size=120))
def test_garbage_is_no_refresh_token(text: str) -> None:
    assert model.refresh_token(text) is None
    assert model.refresh_token("msr_" + text) is None


@pytest.mark.parametrize(
    ("generation", "age_ms", "verdict"),
    [
        (5, 0, ROTATE), (5, 10**9, ROTATE), (4, 0, REPEAT), (4, 10_000, REPEAT),
        (4, 10_001, REVOKE), (3, 0, REVOKE), (1, 0, REVOKE),
    ],
)  # fmt: skip
def test_only_the_newest_rotates_and_only_its_parent_repeats(
    generation: int, age_ms: int, verdict: RefreshDecision
) -> None:
    assert model.judge(generation, 5, 1_000, 1_000 + age_ms) is verdict


SCOPES = st.sampled_from(["*", "a:*", "a:read", "a:write", "b:*", "b:read", "b:read:x"])


@given(st.frozensets(SCOPES), st.frozensets(SCOPES), SCOPES)
def test_scopes_of_both_allow_what_both_allow(
    one: frozenset[str], other: frozenset[str], scope: str
) -> None:
    allowed = model.allows(one, scope) and model.allows(other, scope)
    assert model.allows(model.both(one, other), scope) == allowed
