"""Users over HTTP, on the whole platform: what a client sees from sign-up to erasure."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from joserfc import jwt
from joserfc.jwk import KeySet

from mainspring.app import Instance, build, sections
from mainspring.services.users.admin import StoredSecret, machine_claims, new_key
from mainspring.settings import load
from tests.services.users.people import EMAIL, PASSWORD

pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated")  # the client's own library


class Client:
    """Asks with one credential, or with none."""

    def __init__(self, http: aiohttp.ClientSession, url: str, credential: str | None) -> None:
        self._http = http
        self._url = url
        self._headers = {"Authorization": f"Bearer {credential}"} if credential else {}

    def with_credential(self, credential: str | None) -> "Client":
        return Client(self._http, self._url, credential)

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any, Any]:
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._http.request(
            method, self._url + path, json=body, headers={**self._headers, **headers}
        ) as answer:
            text = await answer.read()
            return answer.status, await answer.json(content_type=None) if text else None, answer

    async def log_in(self, email: str = EMAIL, password: str = PASSWORD) -> dict[str, Any]:
        credentials = {"email": email, "password": password}
        status, tokens, _ = await self.ask("POST", "/v1/sessions", credentials)
        assert status == 201
        found: dict[str, Any] = tokens
        return found


@pytest.fixture
async def platform(database_url: str, tmp_path: Path) -> AsyncIterator[Instance]:
    environ = {
        "MAINSPRING_PLATFORM__DATA_DIR": str(tmp_path / "data"),
        "MAINSPRING_DATABASE__URL": database_url.replace("sqlite:///", "sqlite:/"),
        "MAINSPRING_SERVER__PORT": "0",
    }
    platform = await build(load(sections(None), environ=environ))
    await platform.start()
    yield platform
    await platform.drain(1.0)


@pytest.fixture
async def anyone(platform: Instance) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as http:
        yield Client(http, platform.url, None)


@pytest.fixture
def root(anyone: Client, platform: Instance) -> Client:
    return anyone.with_credential((platform.data_dir / "admin.key").read_text().strip())


async def test_from_sign_up_to_erasure(anyone: Client, root: Client) -> None:
    new = {"email": EMAIL, "password": PASSWORD, "display_name": "Ann"}
    status, user, _ = await anyone.ask("POST", "/v1/users", new, Idempotency_Key="once")
    assert status == 201
    again = await anyone.ask("POST", "/v1/users", new, Idempotency_Key="once")
    assert again[:2] == (200, user)
    assert (await root.ask("POST", "/v1/users", new))[0] == 409
    tokens = await anyone.log_in()
    assert tokens["user"] == user
    me = anyone.with_credential(tokens["access_token"])
    assert (await me.ask("GET", "/v1/users/me"))[:2] == (200, user)
    assert (await me.ask("GET", "/v1/users"))[0] == 403
    assert (await me.ask("GET", f"/v1/users/{user['id']}"))[0] == 403
    assert (await root.ask("GET", f"/v1/users/{user['id']}"))[1] == user
    assert (await me.ask("DELETE", "/v1/users/me?erase=true"))[0] == 204
    assert (await me.ask("GET", "/v1/users/me"))[0] == 401
    assert (await root.ask("GET", f"/v1/users/{user['id']}"))[0] == 404
    _, feed, _ = await root.ask("GET", "/v1/events?type=users.user.created")
    assert EMAIL not in str(feed)


async def test_logging_out_holds_before_it_is_answered(anyone: Client) -> None:
    await anyone.ask("POST", "/v1/users", {"email": EMAIL, "password": PASSWORD})
    for path in ("/v1/sessions/{session_id}", "/v1/sessions"):
        tokens = await anyone.log_in()
        me = anyone.with_credential(tokens["access_token"])
        for _ in range(3):  # remembered by now
            assert (await me.ask("GET", "/v1/users/me"))[0] == 200
        assert (await me.ask("DELETE", path.format_map(tokens)))[0] == 204
        status, problem, answer = await me.ask("GET", "/v1/users/me")
        assert (status, problem["code"]) == (401, "unauthenticated")
        assert "invalid_token" in answer.headers["WWW-Authenticate"]


async def test_a_role_counts_before_it_is_answered(anyone: Client, root: Client) -> None:
    new = {"email": EMAIL, "password": PASSWORD}
    user = (await anyone.ask("POST", "/v1/users", new))[1]
    me = anyone.with_credential((await anyone.log_in())["access_token"])
    assert (await me.ask("GET", "/v1/users"))[0] == 403
    role = {"name": "reader", "scopes": ["users:read"]}
    assert (await root.ask("POST", "/v1/roles", role))[0] == 201
    roles = {"roles": ["user", "reader"]}
    assert (await root.ask("PATCH", f"/v1/users/{user['id']}", roles))[0] == 200
    assert (await me.ask("GET", "/v1/users"))[0] == 200
    assert (await root.ask("PATCH", "/v1/roles/reader", {"scopes": []}))[0] == 200
    assert (await me.ask("GET", "/v1/users"))[0] == 403


async def test_a_machine_recovers_the_one_key_it_signed_for(
    anyone: Client, root: Client, platform: Instance
) -> None:
    text = new_key(platform.runtime.entropy)
    secret, other = StoredSecret.of(text), StoredSecret.of(new_key(platform.runtime.entropy))
    now_s = platform.runtime.clock.now_ms() // 1000
    machine = anyone.with_credential(platform.keyring.sign_token(machine_claims(secret, now_s)))

    async def recover(caller: Client, wanted: StoredSecret) -> int:
        body = {"prefix": wanted.prefix, "key_hash": wanted.hash.hex()}
        return int((await caller.ask("POST", "/v1/api_keys:recover", body))[0])

    assert await recover(anyone, secret) == 401
    assert await recover(root, secret) == 403
    assert await recover(machine, other) == 403
    assert (await machine.ask("GET", "/v1/api_keys"))[0] == 403
    assert await recover(machine, secret) == 204
    assert (await anyone.with_credential(text).ask("GET", "/v1/api_keys"))[0] == 200
    late = machine_claims(secret, now_s - 61)
    late_machine = anyone.with_credential(platform.keyring.sign_token(late))
    assert await recover(late_machine, secret) == 401


async def test_what_is_denied_leaves_a_log_line(anyone: Client, root: Client) -> None:
    made = (await root.ask("POST", "/v1/api_keys", {"name": "x", "scopes": ["api_keys:own"]}))[1]
    key = anyone.with_credential(made["key"])
    with structlog.testing.capture_logs() as lines:
        assert (await key.ask("GET", "/v1/users?email=ann@example.com"))[0] == 403
        assert (await key.ask("POST", "/v1/api_keys", {"name": "x", "scopes": ["*"]}))[0] == 403
    scope, held = [line for line in lines if line["event"] == "denied"]
    assert (scope["caller"], scope["operation"], scope["scope"], scope["code"]) == (
        made["id"], "users.list_users", "users:read", "forbidden",
    )  # fmt: skip
    assert (held["operation"], held["code"]) == ("users.create_api_key", "scope_not_held")
    assert "ann@" not in str(lines)
    assert made["key"] not in str(lines)


async def test_a_wrong_password_leaves_a_log_line_without_it(anyone: Client) -> None:
    await anyone.ask("POST", "/v1/users", {"email": EMAIL, "password": PASSWORD})
    with structlog.testing.capture_logs() as lines:
        login = {"email": EMAIL, "password": "wrong password"}
        assert (await anyone.ask("POST", "/v1/sessions", login))[0] == 401
    (line,) = [line for line in lines if line["event"] == "wrong_password"]
    assert line["failures"] == 1
    assert EMAIL not in str(lines)
    assert "wrong password" not in str(lines)


async def test_a_key_holds_until_it_is_revoked(anyone: Client, root: Client) -> None:
    status, made, _ = await root.ask(
        "POST", "/v1/api_keys", {"name": "importer", "scopes": ["users:read"]}
    )
    assert status == 201
    key = anyone.with_credential(made["key"])
    assert (await key.ask("GET", "/v1/users"))[0] == 200
    assert (await key.ask("POST", "/v1/api_keys", {"name": "x", "scopes": ["*"]}))[0] == 403
    assert (await root.ask("DELETE", f"/v1/api_keys/{made['id']}"))[0] == 204
    assert (await key.ask("GET", "/v1/users"))[0] == 401


async def test_refreshes_at_once_and_a_stolen_token(anyone: Client) -> None:
    await anyone.ask("POST", "/v1/users", {"email": EMAIL, "password": PASSWORD})
    tokens = await anyone.log_in()
    old = {"refresh_token": tokens["refresh_token"]}
    answers = await asyncio.gather(
        *(anyone.ask("POST", "/v1/sessions/refresh", old) for _ in range(8))
    )
    assert [status for status, _, _ in answers] == [200] * 8
    (newest,) = {body["refresh_token"] for _, body, _ in answers}
    newest = {"refresh_token": newest}
    assert (await anyone.ask("POST", "/v1/sessions/refresh", newest))[0] == 200
    status, problem, _ = await anyone.ask("POST", "/v1/sessions/refresh", old)
    assert (status, problem["code"]) == (401, "refresh_token_reused")
    assert (await anyone.ask("POST", "/v1/sessions/refresh", newest))[0] == 401


async def test_anybody_can_verify_our_tokens(anyone: Client) -> None:
    user = (await anyone.ask("POST", "/v1/users", {"email": EMAIL, "password": PASSWORD}))[1]
    tokens = await anyone.log_in()
    status, keys, answer = await anyone.ask("GET", "/.well-known/jwks.json")
    assert status == 200
    assert answer.headers.getall("Cache-Control") == ["public, max-age=300"]
    found = jwt.decode(tokens["access_token"], KeySet.import_key_set(keys), algorithms=["EdDSA"])
    assert found.claims["sub"] == user["id"]
    assert found.claims["exp"] - found.claims["iat"] == tokens["expires_in"]


BAD: tuple[tuple[str, str, Any, int], ...] = (
    ("POST", "/v1/users", {"email": EMAIL}, 422),
    ("POST", "/v1/users", {"email": EMAIL, "password": "short"}, 422),
    ("POST", "/v1/users", {"email": "x" * 300, "password": PASSWORD}, 422),
    ("POST", "/v1/users", {"email": EMAIL, "password": PASSWORD, "admin": True}, 422),
    ("POST", "/v1/users", {"email": EMAIL, "password": PASSWORD, "roles": ["admin"]}, 403),
    ("POST", "/v1/users", {"email": "a\x00@b.com", "password": PASSWORD}, 422),
    ("POST", "/v1/sessions", {"email": EMAIL, "password": "x" * 1000}, 422),
    ("POST", "/v1/sessions", {"email": "\ud800", "password": "x"}, 422),
    ("POST", "/v1/sessions", {"email": "", "password": ""}, 401),
    ("POST", "/v1/sessions/refresh", {"refresh_token": ""}, 401),
    ("POST", "/v1/users:verify_email", {"token": ""}, 422),
    ("POST", "/v1/users:reset_password", {"token": "", "password": PASSWORD}, 422),
    ("POST", "/v1/users:request_password_reset", {"email": "nobody"}, 422),
    ("GET", "/v1/users/me", None, 401),
    ("DELETE", "/v1/sessions/x", None, 401),
)
BAD_QUERIES = ("limit=0", "limit=501", "cursor=x", "unknown=1", "limit=a")


async def test_bad_input_is_refused_and_changes_nothing(anyone: Client, root: Client) -> None:
    for method, path, body, expected in BAD:
        status, problem, _ = await anyone.ask(method, path, body)
        assert status == expected, (method, path, body, problem)
    for query in BAD_QUERIES:
        for path in ("/v1/users", "/v1/api_keys"):
            assert (await root.ask("GET", f"{path}?{query}"))[0] == 422, query
    assert (await root.ask("GET", "/v1/users"))[1]["items"] == []
