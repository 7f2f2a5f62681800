"""What every ``Keyring`` must do. Run each of ``CHECKS`` with a way to make keyrings.

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    async def test_keyring(check, tmp_path):
        await check(lambda name: open(f"file:{tmp_path / name}"))

``MakeKeyring`` gives one that is yet to be opened. Two of one name hold the same keys, as after a
restart; two of different names hold none in common.
"""

import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from mainspring.kernel import merkle
from mainspring.ports.keyring import Keyring, NoKeyring, SignedTree, TreeContradicts

MakeKeyring = Callable[[str], Keyring]
NOW_S = 1_800_000_000
CLAIMS = {"sub": "user_1", "sid": "sess_1", "iat": NOW_S, "exp": NOW_S + 900}
NO_TOKENS = ("", ".", "..", "a.b.c", "\u00e9.\u00e9.\u00e9", "bnVsbA.e30.AA", "x" * 99_999)


async def _opened(make: MakeKeyring, name: str = "ours") -> Keyring:
    keyring = make(name)
    await keyring.open()
    return keyring


def _refused(read: Callable[..., object], *args: object, **named: object) -> None:
    try:
        read(*args, **named)
    except ValueError:
        return
    raise AssertionError("what does not hold was taken")


def _read(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def check_no_keyring_is_made_unasked(make: MakeKeyring) -> None:
    """Without ``create`` NoKeyring is raised until there is one."""
    for _ in range(2):
        try:
            await make("ours").open(create=False)
        except NoKeyring:
            continue
        raise AssertionError("a keyring was opened where none was made")
    made = await _opened(make)
    again = make("ours")
    await again.open(create=False)
    assert again.public_key() == made.public_key()


async def check_a_restart_changes_nothing(make: MakeKeyring) -> None:
    """What one process sealed, signed and fingerprinted, the next one of the same keys knows."""
    first = await _opened(make)
    sealed, token = first.seal(b"x", purpose="p"), first.sign_token(CLAIMS)
    after = await _opened(make)
    assert after.unseal(sealed, purpose="p") == b"x"
    assert after.verify_token(token, now_s=NOW_S)["sub"] == "user_1"
    assert after.fingerprint(b"x", purpose="p") == first.fingerprint(b"x", purpose="p")
    assert after.key_ids() == first.key_ids()
    assert after.public_keys() == first.public_keys()


async def check_what_is_sealed_opens_for_its_purpose_only(make: MakeKeyring) -> None:
    """Sealing twice gives two texts, and neither holds what was sealed."""
    keyring, other = await _opened(make), await _opened(make, "theirs")
    sealed = keyring.seal(b"secret", purpose="answers")
    assert keyring.unseal(sealed, purpose="answers") == b"secret"
    assert b"secret" not in sealed
    assert sealed != keyring.seal(b"secret", purpose="answers")
    assert keyring.unseal(keyring.seal(b"", purpose="answers"), purpose="answers") == b""
    _refused(keyring.unseal, sealed, purpose="webhooks")
    _refused(other.unseal, sealed, purpose="answers")


async def check_what_is_sealed_about_something_opens_for_that_only(make: MakeKeyring) -> None:
    """What was sealed about nothing, as before there was such a thing, opens about anything."""
    keyring = await _opened(make)
    sealed, unbound = keyring.seal(b"x", purpose="p", about=b"a"), keyring.seal(b"x", purpose="p")
    assert keyring.unseal(sealed, purpose="p", about=b"a") == b"x"
    assert keyring.unseal(unbound, purpose="p", about=b"a") == b"x"
    for about in (b"", b"b", b"ab"):
        _refused(keyring.unseal, sealed, purpose="p", about=about)
    _refused(keyring.unseal, sealed, purpose="q", about=b"a")
    for at in range(len(sealed)):
        changed = bytes(byte ^ (place == at) for place, byte in enumerate(sealed))
        _refused(keyring.unseal, changed, purpose="p", about=b"a")
    assert [keyring.is_current(text) for text in (sealed, unbound)] == [True, False]
    assert keyring.current_key() in keyring.key_ids()
    fresh = await keyring.rotate()
    assert keyring.current_key() == fresh
    assert not keyring.is_current(sealed)
    assert keyring.unseal(sealed, purpose="p", about=b"a") == b"x"
    assert keyring.is_current(keyring.seal(b"x", purpose="p", about=b"a"))


async def check_every_changed_byte_is_noticed(make: MakeKeyring) -> None:
    """One that is missing as well."""
    keyring = await _opened(make)
    sealed = keyring.seal(b"x", purpose="p")
    for at in range(len(sealed)):
        changed = bytes(byte ^ (place == at) for place, byte in enumerate(sealed))
        _refused(keyring.unseal, changed, purpose="p")
        _refused(keyring.unseal, sealed[:at], purpose="p")


async def check_a_rotation_keeps_what_was_there(make: MakeKeyring) -> None:
    """The new key seals and signs from now on; fingerprints stay what they were."""
    keyring = await _opened(make)
    sealed, token = keyring.seal(b"x", purpose="p"), keyring.sign_token(CLAIMS)
    public = keyring.public_key()
    print_before, ids = keyring.fingerprint(b"x", purpose="p"), keyring.key_ids()
    fresh = await keyring.rotate()
    for after in (keyring, await _opened(make)):
        assert after.key_ids() == [*ids, fresh]
        assert after.unseal(sealed, purpose="p") == b"x"
        assert after.unseal(after.seal(b"y", purpose="p"), purpose="p") == b"y"
        assert after.verify_token(token, now_s=NOW_S)["sub"] == "user_1"
        assert after.fingerprint(b"x", purpose="p") == print_before
        assert after.public_keys() == [after.public_key(), public]
        assert after.public_key() != public
        made = await after.sign_tree("log", _tree(3), b"three", [])
        assert list(made) == after.public_keys(), "older keys go on signing"
        assert after.jwks()["keys"][0]["kid"] == _header(after.sign_token(CLAIMS))["kid"]


async def check_a_process_reads_what_others_make_after_a_rotation(make: MakeKeyring) -> None:
    """One that is not restarted yet goes on with its own key, which the others read as well."""
    running, restarted = await _opened(make), await _opened(make)
    ids, signers = running.key_ids(), running.public_keys()
    fresh = await restarted.rotate()
    for made in (restarted, await _opened(make)):
        assert running.unseal(made.seal(b"x", purpose="p"), purpose="p") == b"x"
        assert running.verify_token(made.sign_token(CLAIMS), now_s=NOW_S)["sub"] == "user_1"
        assert made.unseal(running.seal(b"y", purpose="p"), purpose="p") == b"y"
        assert made.verify_token(running.sign_token(CLAIMS), now_s=NOW_S)["sub"] == "user_1"
    assert running.key_ids() == [*ids, fresh]
    assert running.public_keys() == signers, "what it signs trees with it was told at its start"
    newer = await restarted.rotate()
    published = [key["kid"] for key in running.jwks()["keys"]]
    assert published == [_header(running.sign_token(CLAIMS))["kid"], newer, fresh]
    again = await _opened(make)
    assert running.verify_token(again.sign_token(CLAIMS), now_s=NOW_S)["sub"] == "user_1"
    _refused(running.unseal, (await _opened(make, "theirs")).seal(b"x", purpose="p"), purpose="p")


def _header(token: str) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(_read(token.split(".")[0]))
    return header


async def check_fingerprints_differ_by_purpose_and_keyring(make: MakeKeyring) -> None:
    """32 bytes, the same for the same data."""
    one, other = await _opened(make), await _opened(make, "theirs")
    prints = {
        one.fingerprint(b"x", purpose="p"), one.fingerprint(b"x", purpose="q"),
        one.fingerprint(b"y", purpose="p"), other.fingerprint(b"x", purpose="p"),
    }  # fmt: skip
    assert len(prints) == 4
    assert {len(found) for found in prints} == {32}
    assert one.fingerprint(b"x", purpose="p") in prints


def _leaves(size: int, future: bytes = b"") -> list[bytes]:
    return [merkle.leaf_hash(b"%d" % at + (future if at >= 5 else b"")) for at in range(size)]


def _tree(size: int, future: bytes = b"") -> SignedTree:
    """A tree of a log that has several futures from its sixth entry on."""
    return SignedTree(size, merkle.root_of(_leaves(size, future)))


def _proof(first: int, second: int, future: bytes = b"") -> list[bytes]:
    leaves, spans = _leaves(second, future), merkle.consistency_spans(first, second)
    return [merkle.root_of(leaves[begin:end]) for begin, end in spans]


async def check_a_signature_verifies_with_the_public_key(make: MakeKeyring) -> None:
    """By whoever knows Ed25519 and nothing of this keyring."""
    keyring = await _opened(make)
    made = await keyring.sign_tree("log", _tree(7), b"seven", [])
    for public, signature in made.items():
        Ed25519PublicKey.from_public_bytes(public).verify(signature, b"seven")
    assert list(made) == [keyring.public_key()]


async def check_no_tree_is_signed_that_contradicts_one_before(make: MakeKeyring) -> None:
    """By no process with these keys: of the same size, a larger, a smaller one, unproved ones."""
    keyring = await _opened(make)
    assert await keyring.last_signed("log") is None
    await keyring.sign_tree("log", _tree(7), b"7", [])
    for after in (keyring, await _opened(make)):
        assert await after.last_signed("log") == _tree(7)
        for tree, proof in (
            (_tree(7, b"'"), []),
            (_tree(9, b"'"), _proof(7, 9, b"'")),
            (_tree(9), []),
            (_tree(6), []),
            (_tree(6), _proof(6, 7)),
        ):
            await _contradicts(after, tree, proof)
        assert await after.sign_tree("log", _tree(7), b"7", []), "the same may be said again"
        await after.sign_tree("another log", _tree(6, b"'"), b"6", [])
    other = await _opened(make)
    await other.sign_tree("log", _tree(9), b"9", _proof(7, 9))
    await _contradicts(keyring, _tree(8), _proof(7, 8))
    assert await keyring.last_signed("log") == _tree(9)


async def check_a_rotation_is_no_way_to_sign_another_future(make: MakeKeyring) -> None:
    """One for a new log is: no key signs that one that has signed the old."""
    keyring = await _opened(make)
    await keyring.sign_tree("log", _tree(7), b"7", [])
    await keyring.rotate()
    await _contradicts(keyring, _tree(8, b"'"), _proof(7, 8, b"'"))
    old = set(keyring.public_keys())
    await keyring.rotate(for_new_log=True)
    for after in (keyring, await _opened(make)):
        assert await after.last_signed("log") in (None, _tree(6, b"'"))
        made = await after.sign_tree("log", _tree(6, b"'"), b"6", [])
        assert list(made) == after.public_keys() == [after.public_key()]
        assert old.isdisjoint(made)
    fresh = keyring.public_key()
    await keyring.rotate()
    assert keyring.public_keys() == [keyring.public_key(), fresh]
    await _contradicts(keyring, _tree(7), [])


async def _contradicts(keyring: Keyring, tree: SignedTree, proof: list[bytes]) -> None:
    signed = await keyring.last_signed("log")
    found = None
    try:
        await keyring.sign_tree("log", tree, b"x", proof)
    except TreeContradicts as error:
        found = error.signed
    assert found == signed == await keyring.last_signed("log"), "it contradicts one before"


async def check_a_token_verifies_with_a_published_key(make: MakeKeyring) -> None:
    """What is published holds nothing private (RFC 8037: ``d``)."""
    keyring = await _opened(make)
    token = keyring.sign_token(CLAIMS)
    (key,) = (k for k in keyring.jwks()["keys"] if k["kid"] == _header(token)["kid"])
    assert (key["kty"], key["crv"], "d" in key) == ("OKP", "Ed25519", False), key
    signed, _, signature = token.rpartition(".")
    Ed25519PublicKey.from_public_bytes(_read(key["x"])).verify(_read(signature), signed.encode())
    claims = json.loads(_read(signed.split(".")[1]))
    assert {name: claims[name] for name in CLAIMS} == CLAIMS
    assert {"iss", "aud"} <= claims.keys(), claims
    assert _header(token)["typ"] == "at+jwt"


async def check_a_token_holds_until_it_expires(make: MakeKeyring) -> None:
    """To the second."""
    keyring = await _opened(make)
    token = keyring.sign_token(CLAIMS)
    assert keyring.verify_token(token, now_s=NOW_S + 899.9)["sid"] == "sess_1"
    for late_s in (900, 901, 10_000):
        _refused(keyring.verify_token, token, now_s=NOW_S + late_s)


async def check_what_is_no_token_of_ours_is_refused(make: MakeKeyring) -> None:
    """One of other keys, one that was changed or lacks what it needs, and garbage."""
    keyring, other = await _opened(make), await _opened(make, "theirs")
    token = keyring.sign_token(CLAIMS)
    header, payload, signature = token.split(".")
    more = base64.urlsafe_b64encode(_read(payload).replace(b"user_1", b"user_2"))
    bare = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    lacking = [
        keyring.sign_token({name: value for name, value in CLAIMS.items() if name != missing})
        for missing in ("sub", "exp")
    ]
    for bad in (
        *NO_TOKENS,
        *lacking,
        other.sign_token(CLAIMS),
        f"{header}.{more.rstrip(b'=').decode()}.{signature}",
        f"{bare}.{payload}.",
        f"{bare}.{payload}.{signature}",
        token[:-4],
        token + "\n",
    ):
        _refused(keyring.verify_token, bad, now_s=NOW_S)


CHECKS: tuple[Callable[[MakeKeyring], Awaitable[None]], ...] = tuple(
    check for name, check in list(globals().items()) if name.startswith("check_")
)
