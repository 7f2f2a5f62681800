"""What identifies a repeated call."""

from pathlib import Path

import pytest

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.kernel.call import ANONYMOUS, Call, Caller
from mainspring.kernel.errors import InFlight, KeyRequired, Malformed
from mainspring.kernel.operation import Operation
from mainspring.runtime.invoke.idempotency import IdempotencyKeys, parse_key
from mainspring.testing.clock import FakeClock, SeededEntropy


async def make(call: Call) -> None: ...


ONE = Operation("t.one", "POST /v1/one", make, scope=None)
OTHER = Operation("t.other", "POST /v1/other", make, scope=None, secret=True)
ADA = Caller("user", "user_ada")
REQUEST = (b"POST", b"/v1/one", b"", b"{}")


@pytest.fixture
async def replays(tmp_path: Path) -> IdempotencyKeys:
    keyring = FileKeyring(tmp_path / "k.json", clock=FakeClock(), entropy=SeededEntropy(1))
    await keyring.open()
    return IdempotencyKeys(keyring, required=False)


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("abc", "abc"), ('"abc"', "abc"), ("  abc ", "abc"), ("a b", "a b"), ('"a b"', "a b"),
        ('"a\\"b\\\\c"', 'a"b\\c'), ("x" * 255, "x" * 255), (f'"{"x" * 255}"', "x" * 255),
        ("8e03978e-40d5-43dd-bc93-6894a57f9324",) * 2, ('ab"c', 'ab"c'),
    ],
)  # fmt: skip
def test_a_key_is_bare_or_quoted(header: str, key: str) -> None:
    assert parse_key(header) == key


@pytest.mark.parametrize(
    "header", ["", " ", '""', "x" * 256, f'"{"x" * 256}"', "é", "a\tb", "\x7f"]
)
def test_what_is_no_key_is_malformed(header: str) -> None:
    with pytest.raises(Malformed):
        parse_key(header)


def test_the_scope_of_a_key_is_tenant_caller_operation_and_key(replays: IdempotencyKeys) -> None:
    def key_hash(operation: Operation = ONE, caller: Caller = ADA, key: str = "k") -> bytes:
        found = replays.identify(operation, caller, key, *REQUEST)
        assert found is not None
        return found.key_hash

    assert key_hash() == key_hash(key='"k"')
    others = [
        key_hash(OTHER), key_hash(key="l"), key_hash(caller=Caller("user", "user_bob")),
        key_hash(caller=Caller("key", "user_ada")), key_hash(caller=ANONYMOUS),
        key_hash(caller=Caller("user", "user_ada", "t")),
    ]  # fmt: skip
    assert len({key_hash(), *others}) == 7


def test_every_part_of_the_request_is_fingerprinted(replays: IdempotencyKeys) -> None:
    def fingerprint(*request: bytes) -> bytes:
        found = replays.identify(ONE, ADA, "k", *request)
        assert found is not None
        return found.fingerprint

    requests = [REQUEST, (b"PUT", *REQUEST[1:]), (*REQUEST[:3], b"{ }"),
                (b"POST", b"/v1/one", b"a", b"{}"), (b"POST", b"/v1/onea", b"", b"{}"),
                (b"POST", b"/v1/one", b"{}", b"")]  # fmt: skip
    assert len({fingerprint(*request) for request in requests}) == len(requests)


def test_an_anonymous_key_belongs_to_its_request(replays: IdempotencyKeys) -> None:
    one = replays.identify(ONE, ANONYMOUS, "k", *REQUEST)
    other = replays.identify(ONE, ANONYMOUS, "k", *REQUEST[:3], b"other")
    assert one is not None
    assert other is not None
    assert one.key_hash != other.key_hash


def test_a_secret_answer_says_so(replays: IdempotencyKeys) -> None:
    secret = replays.identify(OTHER, ADA, "k", *REQUEST)
    assert secret is not None
    assert secret.secret


def test_a_key_may_be_required(replays: IdempotencyKeys) -> None:
    assert replays.identify(ONE, ADA, None, *REQUEST) is None
    strict = IdempotencyKeys(replays._keyring, required=True)
    with pytest.raises(KeyRequired):
        strict.identify(ONE, ADA, None, *REQUEST)


def test_one_call_per_key_runs(replays: IdempotencyKeys) -> None:
    found = replays.identify(ONE, ADA, "k", *REQUEST)
    assert found is not None
    with replays.running(found), pytest.raises(InFlight) as caught, replays.running(found):
        pass
    assert caught.value.retry_after_s == 1
    with replays.running(found):  # it is free again, also after a failure
        pass
