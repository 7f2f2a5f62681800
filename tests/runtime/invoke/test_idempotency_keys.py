"""What identifies a repeated call."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.interfaces.rest.arguments import parse_key
from mainspring.kernel.call import ANONYMOUS, Call, Caller
from mainspring.kernel.errors import InFlight, KeyRequired, Malformed
from mainspring.kernel.operation import Operation
from mainspring.runtime.invoke.idempotency import IdempotencyKeys
from mainspring.testing.clock import FakeClock, SeededEntropy


async def make(call: Call) -> None: ...


ONE = Operation("t.one", "POST /v1/one", make, scope=None)
OTHER = Operation("t.other", "POST /v1/other", make, scope=None, secret=True)
ADA = Caller("user", "user_ada")
REQUEST = {"body": 1}


@pytest.fixture
async def keyring(tmp_path: Path) -> FileKeyring:
    keyring = FileKeyring(tmp_path / "k.json", clock=FakeClock(), entropy=SeededEntropy(1))
    await keyring.open()
    return keyring


@pytest.fixture
def replays(keyring: FileKeyring) -> IdempotencyKeys:
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
        found = replays.identify(operation, caller, key, REQUEST)
        assert found is not None
        return found.key_hash

    others = [
        key_hash(OTHER), key_hash(key="l"), key_hash(caller=Caller("user", "user_bob")),
        key_hash(caller=Caller("key", "user_ada")), key_hash(caller=ANONYMOUS),
        key_hash(caller=Caller("user", "user_ada", "t")),
    ]  # fmt: skip
    assert len({key_hash(), *others}) == 7


def test_a_request_is_its_operation_and_its_arguments(replays: IdempotencyKeys) -> None:
    def fingerprint(operation: Operation = ONE, **args: Any) -> bytes:
        found = replays.identify(operation, ADA, "k", args)
        assert found is not None
        return found.fingerprint

    def raw(text: bytes) -> bytes:
        return fingerprint(body=msgspec.Raw(text))

    same = [fingerprint(body={"a": 1, "b": [1.5]}), raw(b'{"b": [1.5], "a": 1}'),
            raw(b'{"\\u0061":1,"b":[1.5]}')]  # fmt: skip
    others = [
        fingerprint(OTHER, body={"a": 1, "b": [1.5]}), fingerprint(new={"a": 1, "b": [1.5]}),
        fingerprint(body={"a": 1, "b": [1.5]}, id="x"), fingerprint(body={"a": 1, "b": ["1.5"]}),
        fingerprint(body={"a": 1, "b": [[1.5]]}), fingerprint(body={"a": 1}),
        raw(b'{"a":1,"b":[1.5000000000000000000001]}'), raw(b'{"a":1,"b":[1e999999999999999]}'),
        raw(b'{"a":1,"b":[123456789012345678901234567890]}'),
        raw(b'{"a":1,"b":[123456789012345678901234567891]}'),
    ]  # fmt: skip
    assert len(set(same)) == 1
    assert len({*same, *others}) == 1 + len(others)


def test_an_anonymous_key_belongs_to_its_request(replays: IdempotencyKeys) -> None:
    one = replays.identify(ONE, ANONYMOUS, "k", REQUEST)
    other = replays.identify(ONE, ANONYMOUS, "k", {"body": 2})
    assert one is not None
    assert other is not None
    assert one.key_hash != other.key_hash


def test_a_secret_answer_says_so(replays: IdempotencyKeys) -> None:
    secret = replays.identify(OTHER, ADA, "k", REQUEST)
    assert secret is not None
    assert secret.secret


def test_a_key_may_be_required(replays: IdempotencyKeys, keyring: FileKeyring) -> None:
    assert replays.identify(ONE, ADA, None, REQUEST) is None
    strict = IdempotencyKeys(keyring, required=True)
    with pytest.raises(KeyRequired):
        strict.identify(ONE, ADA, None, REQUEST)


def test_one_call_per_key_runs(replays: IdempotencyKeys) -> None:
    found = replays.identify(ONE, ADA, "k", REQUEST)
    assert found is not None
    with replays.running(found), pytest.raises(InFlight) as caught, replays.running(found):
        pass
    assert caught.value.retry_after_s == 1
    with replays.running(found):  # it is free again, also after a failure
        pass
