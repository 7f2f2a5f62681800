"""Sessions that people recognise, and the mail about a device that was not seen before."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from mainspring.kernel.sender import USER_AGENT_CHARS_MAX, Sender, sender
from mainspring.kernel.table import Query
from mainspring.ports.database import StartError
from mainspring.ports.mail import MailMessage
from mainspring.services.users import devices
from mainspring.services.users.api import UsersSettings
from mainspring.services.users.places import Gazetteer
from mainspring.testing import Client, Platform

EMAIL, PASSWORD = "ann@example.com", "correct horse battery"
LOGIN = {"email": EMAIL, "password": PASSWORD}
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/19.0 Mobile/15E148 Safari/604.1"
)
SUBJECT = "Mainspring: somebody logged in from a device that was not seen before"
KNOWN = Query("test.devices", "SELECT COUNT(*) FROM users_devices", int)


@pytest.fixture
async def platform(platform_server: str | None) -> AsyncIterator[Platform]:
    settings = {"server.trusted_proxies": ["127.0.0.0/8"]}
    async with Platform(database=platform_server, settings=settings) as platform:
        (await platform.anonymous.post("/v1/users", LOGIN)).expect(201)
        await platform.drain()
        token = (await platform.mails(EMAIL))[-1].text.splitlines()[2]
        await platform.anonymous.post("/v1/users:verify_email", {"token": token})
        yield platform


def coming(program: str, address: str) -> dict[str, str]:
    return {"User-Agent": program, "X-Forwarded-For": address}


async def log_in(platform: Platform, program: str, address: str) -> dict[str, Any]:
    """Log in from somewhere, a while after the last mail."""
    platform.clock.move(3_600)
    headers = coming(program, address)
    answer = await platform.anonymous.post("/v1/sessions", LOGIN, headers=headers)
    tokens: dict[str, Any] = answer.expect(201)
    return tokens


async def told(platform: Platform) -> list[str]:
    await platform.drain()
    return [mail.text for mail in await platform.mails(EMAIL) if mail.subject == SUBJECT]


async def test_a_session_shows_by_what_and_whence_it_was_last_refreshed(platform: Platform) -> None:
    first = await log_in(platform, WINDOWS, "203.0.113.7")
    second = await log_in(platform, IPHONE, "198.51.100.9")
    client: Client = platform.as_bearer(second["access_token"])
    old, new = (await client.get("/v1/sessions")).expect(200)["items"]
    assert (old["device"], old["address"], old["current"]) == (
        "Firefox on Windows", "203.0.113.7", False,
    )  # fmt: skip
    assert (new["device"], new["address"], new["current"]) == (
        "Safari on iPhone", "198.51.100.9", True,
    )  # fmt: skip
    assert new["user_agent"] == IPHONE
    platform.clock.move(60)
    given = {"refresh_token": first["refresh_token"]}
    moved = coming(WINDOWS, "192.0.2.1")
    (await platform.anonymous.post("/v1/sessions/refresh", given, headers=moved)).expect(200)
    (await client.get("/v1/users/me", headers=coming("curl/8", "192.0.2.2"))).expect(200)
    old, new = (await client.get("/v1/sessions")).expect(200)["items"]
    assert (old["address"], old["last_used_at"]) == ("192.0.2.1", platform.now)
    assert new["address"] == "198.51.100.9"
    assert new["last_used_at"] < platform.now


async def test_another_device_or_network_is_told_of_once(platform: Platform) -> None:
    await log_in(platform, WINDOWS, "203.0.113.7")
    assert await told(platform) == []  # the very first
    await log_in(platform, WINDOWS.replace("145.0", "146.0"), "203.0.7.250")
    assert await told(platform) == []  # another version, another address of about the same network
    await log_in(platform, IPHONE, "203.0.113.7")
    (text,) = await told(platform)
    assert "before: Safari on iPhone, 203.0.113.7. If it was not you" in text
    await log_in(platform, IPHONE, "203.0.113.7")
    await log_in(platform, WINDOWS, "198.51.100.9")
    assert len(await told(platform)) == 2
    await log_in(platform, "", "198.51.100.10")  # it says nothing of itself
    assert len(await told(platform)) == 2


async def test_devices_are_bounded_and_go_with_their_user(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainspring.services.users.api.DEVICES_MAX", 2)
    for program in ("one/1", "two/1", "three/1"):
        tokens = await log_in(platform, program, "203.0.113.7")
    assert await platform.app.database.read(KNOWN, ()) == [2]
    (await platform.admin.delete(f"/v1/users/{tokens['user']['id']}?erase=true")).expect(204)
    assert await platform.app.database.read(KNOWN, ()) == [0]


def test_what_a_program_calls_itself_is_bounded_and_clean() -> None:
    found = sender("203.0.113.7", b"a\x00\x1b[31m\xff<b>" + b"x" * 1_000)
    assert found.user_agent.startswith("a??[31m?<b>xxx")
    assert len(found.user_agent) == USER_AGENT_CHARS_MAX
    assert sender("203.0.113.7", None) == Sender("203.0.113.7", "")


def test_devices_are_called_by_names() -> None:
    edge = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Chrome/142.0 Safari/537.36 Edg/142.0"
    for program, name in (
        (edge, "Edge on macOS"),
        ("Mozilla/5.0 (Linux; Android 16) Chrome/142.0 Mobile Safari/537.36", "Chrome on Android"),
        ("Mozilla/5.0 (X11; CrOS x86_64) Chrome/142.0 Safari/537.36", "Chrome on ChromeOS"),
        ("ShopApp/3.1 (build 7)", "ShopApp"),
        ("", ""),
    ):
        assert devices.device(program) == name
    for address, network in (
        ("203.0.113.7", "203.0.0.0/16"),
        ("::ffff:203.0.113.7", "203.0.0.0/16"),
        ("2001:db8:1:2::3", "2001:db8::/32"),
        ("unix", ""),
    ):
        assert devices.region(address) == network


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a file of two places, one of them of a country only, and of what is broken."""
    file = tmp_path_factory.mktemp("places") / "places.mmdb"
    writer = MMDBWriter(6, "Test-City", ipv4_compatible=True)
    berlin = {"country": {"iso_code": "DE"}, "city": {"names": {"en": "Berlin", "fr": "Berlin"}}}
    writer.insert_network(IPSet(["203.0.113.0/24"]), berlin)
    writer.insert_network(IPSet(["2001:db8::/32"]), {"country": {"iso_code": "FR"}})
    writer.insert_network(IPSet(["192.0.2.0/24"]), {"country": "not as it should be"})
    writer.to_db_file(str(file))
    return file


async def test_a_session_shows_about_where_it_was(places: Path) -> None:
    settings = {"server.trusted_proxies": ["127.0.0.0/8"], "users.places": str(places)}
    async with Platform(settings=settings) as platform:
        (await platform.anonymous.post("/v1/users", LOGIN)).expect(201)
        token = (await _told_all(platform))[-1].text.splitlines()[2]
        await platform.anonymous.post("/v1/users:verify_email", {"token": token})
        for address in ("198.51.100.9", "2001:db8::7", "192.0.2.1", "203.0.113.7"):
            tokens = await log_in(platform, WINDOWS, address)
        client: Client = platform.as_bearer(tokens["access_token"])
        found = (await client.get("/v1/sessions")).expect(200)["items"]
        assert [session["place"] for session in found] == [
            None, {"country": "FR", "city": None}, None, {"country": "DE", "city": "Berlin"},
        ]  # fmt: skip
        assert (
            "before: Firefox on Windows, Berlin, DE, 203.0.113.7. If" in (await told(platform))[-1]
        )


async def _told_all(platform: Platform) -> list[MailMessage]:
    await platform.drain()
    return await platform.mails(EMAIL)


def test_places_of_no_file_are_told_at_the_start(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.mmdb"
    wrong.write_bytes(b"no such thing")
    with pytest.raises(StartError, match="is not a MaxMind DB"):
        Gazetteer(UsersSettings(places=str(wrong)))
    with pytest.raises(StartError, match=r"cannot read .*gone"):
        Gazetteer(UsersSettings(places=str(tmp_path / "gone.mmdb")))
    assert Gazetteer(UsersSettings()).of("203.0.113.7") is None
