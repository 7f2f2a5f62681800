"""The keyring file: who may read it, what survives a rotation, and which tokens hold."""

import base64
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey
from structlog.testing import capture_logs

from mainspring.adapters.keyring.file import FileKeyring
from mainspring.kernel.clock import SystemEntropy
from mainspring.ports.database import StartError
from mainspring.ports.keyring import NoKeyring
from mainspring.testing.clock import FakeClock, SeededEntropy

pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # what tests sign themselves

NOW_S = 1_800_000_000
SEALED_BY_0_1 = bytes.fromhex(
    "017bd5d47e446fcec2a3d811736110e578140f2acd3c2dcb2f3ed965a0a259759efc554732cab4"
)
CLAIMS = {"sub": "user_1", "sid": "sess_1", "iat": NOW_S, "exp": NOW_S + 900}


async def ring(path: Path, **options: str) -> FileKeyring:
    keyring = FileKeyring(path / "keyring.json", FakeClock(), SystemEntropy(), **options)
    await keyring.open()
    return keyring


async def test_the_file_is_private_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    await ring(tmp_path / "data")
    path = tmp_path / "data" / "keyring.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["keyring.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
async def test_a_file_that_others_may_read_stops_the_start(tmp_path: Path, mode: int) -> None:
    await ring(tmp_path)
    (tmp_path / "keyring.json").chmod(mode)
    with pytest.raises(StartError, match="chmod 600") as refused:
        await ring(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "[]", '{"version": 2}', "\x00\xff",
        '{"version":1,"current":"aaaaaaaa","fingerprints":"aaaaaaaa","keys":[]}',
        '{"version":1,"current":"aaaaaaaa","fingerprints":"aaaaaaaa",'
        '"keys":[{"id":"bbbbbbbb","created_at":"","secret":"YQ=="}]}',
        '{"version":1,"current":"bbbbbbbb","fingerprints":"bbbbbbbb",'
        '"keys":[{"id":"bbbbbbbb","created_at":"","secret":"YQ=="}]}',
    ],
)  # fmt: skip
async def test_a_broken_file_stops_the_start_and_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keyring.json"
    path.write_text(text, encoding="latin-1")
    path.chmod(0o600)
    with pytest.raises(StartError, match=r"keyring\.json"):
        await ring(tmp_path)
    assert path.read_text(encoding="latin-1") == text


async def test_a_start_error_holds_no_secret(tmp_path: Path) -> None:
    await ring(tmp_path)
    path = tmp_path / "keyring.json"
    file = json.loads(path.read_text())
    secret = file["keys"][0]["secret"]
    file["keys"][0]["secret"] = secret[:-4]
    path.write_text(json.dumps(file))
    with pytest.raises(StartError) as refused:
        await ring(tmp_path)
    assert secret[:8] not in str(refused.value)


async def test_the_rest_of_a_crash_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / ".keyring.json.new").write_text("half a key")
    first = await ring(tmp_path)
    assert (await ring(tmp_path)).public_key() == first.public_key()


ELSEWHERE = """
import asyncio, pathlib, sys
from mainspring.adapters.keyring.file import FileKeyring
from mainspring.kernel.clock import SystemClock, SystemEntropy
keyring = FileKeyring(pathlib.Path(sys.argv[1]), SystemClock(), SystemEntropy())
asyncio.run(keyring.open())
print(keyring.public_key().hex())
"""


def test_processes_that_start_at_once_agree_on_the_keys(tmp_path: Path) -> None:
    command = [sys.executable, "-c", ELSEWHERE, str(tmp_path / "keyring.json")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(3)]
    keys = {process.communicate(timeout=60)[0] for process in running}
    assert len(keys) == 1
    assert len(keys.pop()) == 65


async def test_a_file_that_is_not_fit_teaches_a_running_process_nothing(
    tmp_path: Path,
) -> None:
    """It is looked at once for each unknown key and read once for each version, then mended."""
    path, other = tmp_path / "keyring.json", tmp_path / "other"
    keyring, rotated = await ring(tmp_path), await ring(tmp_path)
    await rotated.rotate()
    good, sealed = path.read_bytes(), rotated.seal(b"x", purpose="p")
    stranger = await ring(other)
    foreign = (other / "keyring.json").read_bytes()
    half = json.loads(good)
    half["keys"], half["current"] = half["keys"][1:], half["keys"][1]["id"]
    half["fingerprints"] = half["current"]
    with capture_logs() as logs:
        for times, bad in enumerate((good[:-9], b"", foreign, json.dumps(half).encode()), 1):
            path.write_bytes(bad)
            for token in (rotated, stranger):
                with pytest.raises(ValueError, match="does not hold"):
                    keyring.verify_token(token.sign_token(CLAIMS), now_s=NOW_S)
            for text in (sealed, stranger.seal(b"x", purpose="p")):
                with pytest.raises(ValueError, match="not sealed with a key of this keyring"):
                    keyring.unseal(text, purpose="p")
            assert [line["event"] for line in logs] == ["keyring_not_read_again"] * times
    assert json.loads(good)["keys"][0]["secret"][:8] not in str(logs)
    path.unlink()
    with pytest.raises(ValueError, match="not sealed"):
        keyring.unseal(sealed, purpose="p")
    path.write_bytes(good)
    path.chmod(0o644)
    with pytest.raises(ValueError, match="not sealed"):
        keyring.unseal(sealed, purpose="p")
    path.chmod(0o600)
    assert keyring.unseal(sealed, purpose="p") == b"x"


# Sealing and fingerprints


async def test_a_rotation_keeps_what_was_sealed_signed_and_fingerprinted(tmp_path: Path) -> None:
    keyring = await ring(tmp_path)
    sealed = keyring.seal(b"x", purpose="p")
    token = keyring.sign_token(CLAIMS)
    fingerprint = keyring.fingerprint(b"x", purpose="p")
    key = keyring.public_key()
    fresh = await keyring.rotate()
    for after in (keyring, await ring(tmp_path)):
        assert after.unseal(sealed, purpose="p") == b"x"
        assert after.verify_token(token, now_s=NOW_S)["sub"] == "user_1"
        assert after.fingerprint(b"x", purpose="p") == fingerprint
        assert after.public_key() != key
        assert after.public_keys() == [after.public_key(), key]
        assert after.jwks()["keys"][0]["kid"] == fresh
        assert after.seal(b"x", purpose="p")[1:5].hex() == fresh
    header = json.loads(base64.urlsafe_b64decode(keyring.sign_token(CLAIMS).split(".")[0] + "=="))
    assert header == {"alg": "EdDSA", "typ": "at+jwt", "kid": fresh}


async def test_keys_come_from_the_entropy_that_was_handed_in(tmp_path: Path) -> None:
    publics = set()
    for name in ("a", "b"):
        keyring = FileKeyring(tmp_path / name / "k.json", FakeClock(), SeededEntropy(7))
        await keyring.open()
        publics.add(keyring.public_key())
    assert len(publics) == 1
    assert json.loads((tmp_path / "a" / "k.json").read_text())["keys"][0]["created_at"] == (
        "2027-01-15T08:00:00.000Z"
    )


# Tokens


async def test_published_keys_verify_our_tokens_and_hold_nothing_private(tmp_path: Path) -> None:
    keyring = await ring(tmp_path)
    published = keyring.jwks()["keys"]
    assert [sorted(key) for key in published] == [["alg", "crv", "kid", "kty", "use", "x"]]
    found = jwt.decode(
        keyring.sign_token(CLAIMS), OKPKey.import_key(published[0]), algorithms=["EdDSA"]
    )
    assert found.claims == {**CLAIMS, "iss": "mainspring", "aud": "mainspring"}


@pytest.mark.parametrize("options", [{"issuer": "other"}, {"audience": "other"}])
async def test_a_token_of_another_issuer_or_audience_is_refused(
    tmp_path: Path, options: dict[str, str]
) -> None:
    keyring, other = await ring(tmp_path), await ring(tmp_path, **options)
    with pytest.raises(ValueError, match="does not hold"):
        keyring.verify_token(other.sign_token(CLAIMS), now_s=NOW_S)


async def test_tokens_signed_elsewhere_or_otherwise_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring, other = await ring(tmp_path / "a"), await ring(tmp_path / "b")
    published = keyring.jwks()["keys"][0]
    kid = published["kid"]
    own = {**CLAIMS, "iss": "mainspring", "aud": "mainspring"}
    with monkeypatch.context() as noting:
        noted: list[OKPKey] = []
        noting.setattr(jwt, "encode", lambda header, claims, key, **_: noted.append(key))
        keyring.sign_token(CLAIMS)
    (private,) = noted  # the right key, used below in ways it never is
    secret = OctKey.import_key(base64.urlsafe_b64decode(published["x"] + "="))
    dressed = {"alg": "EdDSA", "typ": "at+jwt"}

    def eddsa(header: dict[str, object]) -> str:
        return jwt.encode({**dressed, **header}, own, private, algorithms=["EdDSA"])

    assert keyring.verify_token(eddsa({"kid": kid}), now_s=NOW_S)["sub"] == "user_1"
    payload = eddsa({"kid": kid}).split(".")[1]
    none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"at+jwt"}').rstrip(b"=").decode()
    for name, token in {
        "another keyring": other.sign_token(CLAIMS),
        "no key id": eddsa({}),
        "unknown key id": eddsa({"kid": "00000000"}),
        "another type": eddsa({"kid": kid, "typ": "JWT"}),
        "another header": eddsa({"kid": kid, "jku": "https://example.com"}),
        "none": f"{none}.{payload}.",
        "the public key as a shared secret": jwt.encode(
            {"alg": "HS256", "typ": "at+jwt", "kid": kid}, own, secret, algorithms=["HS256"]
        ),
        "signature cut": eddsa({"kid": kid})[:-4],
        "line break": eddsa({"kid": kid}) + "\n",
    }.items():
        with pytest.raises(ValueError, match="token"):
            pytest.fail(name + ": " + str(keyring.verify_token(token, now_s=NOW_S)))


async def test_a_header_of_other_types_is_refused(tmp_path: Path) -> None:
    keyring = await ring(tmp_path)
    kid = keyring.jwks()["keys"][0]["kid"]
    for odd in ({"crit": 1}, {"crit": [1]}, {"kid": {}}, {"typ": []}, {"crit": ["b64"], "b64": 1}):
        said = json.dumps({"alg": "EdDSA", "typ": "at+jwt", "kid": kid, **odd}).encode()
        header = base64.urlsafe_b64encode(said).rstrip(b"=").decode()
        with pytest.raises(ValueError, match="token"):
            keyring.verify_token(f"{header}.e30.AA", now_s=NOW_S)


async def test_what_0_1_sealed_and_counted_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "keyring.json"
    await FileKeyring(path, FakeClock(), SeededEntropy(1)).open()
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "seals": {"7bd5d47e": 65_536}}))
    keyring = FileKeyring(path, FakeClock(), SeededEntropy(2))
    await keyring.open()
    assert keyring.unseal(SEALED_BY_0_1, purpose="test") == b"of 0.1"
    with pytest.raises(ValueError, match="not sealed for other"):
        keyring.unseal(SEALED_BY_0_1, purpose="other")


async def test_no_keyring_is_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(NoKeyring, match="is missing"):
        await FileKeyring(tmp_path / "k", FakeClock(), SeededEntropy(1)).open(create=False)
    assert not list(tmp_path.iterdir())
