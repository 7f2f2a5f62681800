"""The development authority: what peers take and refuse, and no file is half of a pair."""

import itertools
import ssl
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from mainspring.adapters.peers import certificate_files
from mainspring.adapters.peers.authority import (
    FILE,
    HOURS_MAX,
    SERVICES_MAX,
    AuthorityRoots,
    DevelopmentAuthority,
)
from mainspring.adapters.peers.certificate_files import CertificateFiles
from mainspring.adapters.peers.certificates import NotValid, verify
from mainspring.kernel.clock import SystemClock
from mainspring.ports.certificates import RootStep
from mainspring.ports.database import StartError
from mainspring.testing.clock import FakeClock

DOMAIN = "shop.internal"
HOUR_MS = 3_600_000
ROUNDS_MAX = 10  # of a handshake


def authority(folder: Path, *services: str, domain: str = DOMAIN) -> DevelopmentAuthority:
    made = DevelopmentAuthority(folder, SystemClock())
    made.init(domain)
    made.issue(services, 24)
    return made


def context(folder: Path, files: CertificateFiles, *, server: bool) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.verify_flags |= ssl.VERIFY_X509_STRICT
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(cadata=files.roots.decode())
    pair = folder / "pair.pem"
    pair.write_bytes(files.chain + files.key)
    made.load_cert_chain(pair)
    return made


def handshake(folder: Path, client: CertificateFiles, server: CertificateFiles, host: str) -> str:
    """Return the identity that the server sees. Raises SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    caller = context(folder, client, server=False).wrap_bio(
        to_client, to_server, server_hostname=host
    )
    owner = context(folder, server, server=True).wrap_bio(to_server, to_client, server_side=True)
    for _ in range(ROUNDS_MAX):
        done = 0
        for side in (caller, owner):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue
        if done == 2:
            break
    seen: Any = owner.getpeercert()
    return str(dict(seen["subjectAltName"])["URI"])


def test_peers_know_each_other_under_strict_verification(tmp_path: Path) -> None:
    authority(tmp_path / "certs", "gateway", "order_book")
    gateway, book = (
        certificate_files.read(tmp_path / "certs" / name) for name in ("gateway", "order_book")
    )
    assert (
        handshake(tmp_path, gateway, book, f"order-book.{DOMAIN}") == f"spiffe://{DOMAIN}/gateway"
    )
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        handshake(tmp_path, gateway, book, f"users.{DOMAIN}")


def test_a_stranger_of_the_same_name_is_refused_on_both_sides(tmp_path: Path) -> None:
    authority(tmp_path / "ours", "gateway", "users")
    authority(tmp_path / "theirs", "gateway", "users")
    ours = certificate_files.read(tmp_path / "ours/gateway")
    theirs = certificate_files.read(tmp_path / "theirs/users")
    host = f"users.{DOMAIN}"
    for client, server in ((ours, theirs), (theirs, ours)):
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            handshake(tmp_path, client, server, host)
    mixed = CertificateFiles(theirs.chain, theirs.key, ours.roots)
    with pytest.raises(NotValid, match=r"spiffe://shop\.internal/users leads to none of the roots"):
        verify(mixed, SystemClock().now_ms())


def test_a_root_is_replaced_while_nobody_is_refused(tmp_path: Path) -> None:
    """Whoever has read the files of a step takes whoever has those of the step before."""
    folder = tmp_path / "certs"
    made = authority(folder, "gateway", "users")
    versions = [certificate_files.read(folder / "users")]
    steps = get_args(RootStep)
    for step in steps:
        for wrong in steps:
            if wrong != step:
                with pytest.raises(StartError, match=f"the step to take is {step}, not {wrong}"):
                    made.change_root(wrong)
        assert len(made.change_root(step)) == 2
        versions.append(certificate_files.read(folder / "users"))
    host = f"users.{DOMAIN}"
    for before, after in itertools.pairwise(versions):
        handshake(tmp_path, before, after, host)
        handshake(tmp_path, after, before, host)
    first, last = versions[0], versions[-1]
    for client, server in ((first, last), (last, first)):
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_VERIFY_FAILED"):
            handshake(tmp_path, client, server, host)
    assert b"".join([first.roots, last.roots]).count(b"BEGIN CERTIFICATE") == 2


def test_who_reads_while_it_is_renewed_has_files_that_belong_together(tmp_path: Path) -> None:
    made = authority(tmp_path, "users")
    ended = threading.Event()

    def renew() -> None:
        try:
            for _ in range(40):
                made.renew(["users"], None)
        finally:
            ended.set()

    renewing = threading.Thread(target=renew)
    renewing.start()
    seen = set()
    while not ended.is_set():
        files = certificate_files.read(tmp_path / "users")
        verify(files, SystemClock().now_ms())  # raises when the key is of another certificate
        seen.add(files.chain)
    renewing.join()
    assert len(seen) > 1
    kept = [each for each in (tmp_path / "users").glob("..*") if not each.is_symlink()]
    assert len(kept) == 2, "this version, and the one before for whoever is reading it"


def test_a_renewal_that_was_cut_leaves_the_pair_before(tmp_path: Path) -> None:
    made = authority(tmp_path, "users")
    before = certificate_files.read(tmp_path / "users")
    half = tmp_path / "users/..half"
    half.mkdir()
    (half / "tls.crt").write_bytes(b"-----BEGIN CERT")
    (tmp_path / "users/..data.new").symlink_to("..half")
    assert certificate_files.read(tmp_path / "users") == before
    made.renew(["users"], None)
    assert certificate_files.read(tmp_path / "users") != before
    assert not half.exists()


def test_keys_are_their_owners_alone_and_the_roots_stays(tmp_path: Path) -> None:
    authority(tmp_path, "users")
    held = (tmp_path / "authority.json").read_bytes()
    files = [each for each in tmp_path.rglob("*") if each.is_file() and not each.is_symlink()]
    assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
    assert {
        stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("..*") if not p.is_symlink()
    } == {0o700}
    signing = msgspec.json.decode(held, type=AuthorityRoots).signing
    assert b"PRIVATE KEY" in signing.key
    assert all(signing.key not in each.read_bytes() for each in files if each.name != FILE)
    (tmp_path / "users/tls.key").chmod(0o644)
    with pytest.raises(StartError, match="lets others in"):
        certificate_files.read(tmp_path / "users")


def test_what_no_peer_would_take_is_told(tmp_path: Path) -> None:
    clock = FakeClock(SystemClock().now_ms())
    made = DevelopmentAuthority(tmp_path, clock)
    made.init(DOMAIN)
    made.issue(["gateway", "jobs", "records", "users"], 24)
    good = made.show()[0].shown
    assert good is not None
    assert good.identity == f"spiffe://{DOMAIN}/gateway"
    assert good.not_after.timestamp() * 1_000 - clock.now_ms() == pytest.approx(
        24 * HOUR_MS, abs=1e3
    )
    certificate = tmp_path / "users/tls.crt"
    certificate.write_bytes((tmp_path / "records/tls.crt").read_bytes())
    (tmp_path / "records/tls.crt").write_bytes(b"half of it")
    (tmp_path / "jobs/ca.crt").resolve().unlink()
    problems = {state.service: state.problem for state in made.show()}
    assert problems["gateway"] == ""
    assert problems["users"] == "tls.key is the key of another certificate"
    assert "damaged" in problems["records"]
    assert "there is no ca.crt in it" in problems["jobs"]
    made.renew((), None)
    assert [state.problem for state in made.show()] == [""] * 4
    clock.move(24 * 3_600)
    assert all("expired" in state.problem for state in made.show())
    made.renew(["users"], None)
    users = made.show()[-1].shown
    assert users is not None
    left = users.not_after - datetime.fromtimestamp(clock.now_ms() / 1_000, UTC)
    assert left.total_seconds() == pytest.approx(24 * 3_600, abs=2), "as long as the one before"


def test_what_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    made = DevelopmentAuthority(folder, SystemClock())
    for ask in (lambda: made.issue(["users"], 24), lambda: made.renew((), None), made.show):
        with pytest.raises(StartError, match="no authority in it: mainspring certs init"):
            ask()
    for domain in ("", "Shop", "shop_internal", "shop..internal", "a/b", "-a", "a" * 201):
        with pytest.raises(StartError, match="does not fit as a trust domain"):
            made.init(domain)
    assert not folder.exists() or not any(folder.iterdir())
    made.init(DOMAIN)
    held = (folder / "authority.json").read_bytes()
    with pytest.raises(StartError, match="an authority in it already"):
        made.init(DOMAIN)
    for names in (["users", "../x"], ["users", "Users"], ["users", ""], ["users", "a-b"]):
        with pytest.raises(StartError, match="does not fit as a service"):
            made.issue(names, 24)
    for hours in (0, -1, HOURS_MAX + 1):
        with pytest.raises(StartError, match=f"1 to {HOURS_MAX}"):
            made.issue(["users"], hours)
    with pytest.raises(StartError, match=f"{SERVICES_MAX} services at most"):
        made.issue([f"s{number}" for number in range(SERVICES_MAX + 1)], 24)
    with pytest.raises(StartError, match="users has no certificate to renew"):
        made.renew(["users"], None)
    assert [each.name for each in folder.iterdir()] == ["authority.json"]
    assert (folder / "authority.json").read_bytes() == held
    (folder / "authority.json").write_bytes(held[:-20])
    with pytest.raises(StartError, match="is damaged"):
        made.issue(["users"], 24)


def test_no_certificate_outlives_its_root(tmp_path: Path) -> None:
    clock = FakeClock(SystemClock().now_ms())
    made = DevelopmentAuthority(tmp_path, clock)
    made.init(DOMAIN)
    clock.move(3_651 * 86_400)
    with pytest.raises(StartError, match=r"the root ends .*--root add"):
        made.issue(["users"], 48)
    with pytest.raises(StartError, match=r"the root begins .*set the clock"):
        DevelopmentAuthority(tmp_path, FakeClock(clock.now_ms() - 3_652 * 24 * HOUR_MS)).issue(
            ["users"], 12
        )
    assert not (tmp_path / "users").exists()
    assert made.issue(["users"], 12) == [f"spiffe://{DOMAIN}/users"]
