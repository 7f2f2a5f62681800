"""An issuer of the tests' own, which also lies: OpenID Connect, and GitHub's OAuth 2."""

import base64
import hashlib
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from mainspring.testing.clock import FakeClock

CLIENT, SECRET = "client-1", "a secret & of / the client"


class Issuer:
    """Logs in whoever comes as ``subject``. What it says of them is changed by ``claims``.

    ``sign`` makes the ID token of its claims; ``says_iss`` is what it calls itself in its answer.
    """

    clock: FakeClock
    apple: ECKey

    def __init__(self) -> None:
        self.url = ""
        self.subject = "sub-1"
        self.claims: dict[str, Any] = {"email": "ann@example.com", "email_verified": True}
        self.keys = [RSAKey.generate_key(2048, {"kid": "k1"}, auto_kid=False)]
        self.sign: Any = self.signed
        self.discovery: dict[str, Any] = {}
        self.answer: dict[str, str] = {}
        self.keys_asked = 0
        self.tokens_asked = 0
        self.down = False
        self.token_request: dict[str, str] = {}
        self.authorization = ""
        self.emails: list[dict[str, Any]] = []
        self._codes: dict[str, dict[str, str]] = {}
        self._numbers = itertools.count(1)

    def signed(self, claims: dict[str, Any]) -> str:
        key = self.keys[-1]
        return jwt.encode({"alg": "RS256", "kid": key.kid}, claims, key)

    def rotate(self) -> None:
        kid = f"k{len(self.keys) + 1}"
        self.keys.append(RSAKey.generate_key(2048, {"kid": kid}, auto_kid=False))

    async def discover(self, request: web.Request) -> web.Response:
        if self.down:
            raise web.HTTPInternalServerError
        return web.json_response(
            {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/jwks",
                "authorization_response_iss_parameter_supported": True,
                **self.discovery,
            }
        )

    async def jwks(self, request: web.Request) -> web.Response:
        self.keys_asked += 1
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]})

    def visit(self, url: str) -> tuple[str, dict[str, str]]:
        """Log somebody in as a browser would; return where it is sent back, and with what."""
        asked = dict(parse_qsl(urlsplit(url).query))
        assert asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{next(self._numbers)}"
        self._codes[code] = asked
        fields = {"code": code, "state": asked["state"], "iss": self.url, **self.answer}
        return asked["redirect_uri"], {name: value for name, value in fields.items() if value}

    async def token(self, request: web.Request) -> web.Response:
        self.tokens_asked += 1
        given = self.token_request = {k: str(v) for k, v in (await request.post()).items()}
        self.authorization = request.headers.get("Authorization", "")
        asked = self._codes.pop(given["code"], None)
        digest = hashlib.sha256(given["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or asked["code_challenge"] != challenge:
            return web.json_response({"error": "invalid_grant"}, status=400)
        if asked["redirect_uri"] != given["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        now_s = self.clock.now_ms() // 1000
        claims = {
            "iss": self.url, "sub": self.subject, "aud": CLIENT, "nonce": asked["nonce"],
            "iat": now_s, "exp": now_s + 300, **self.claims,
        }  # fmt: skip
        claims = {name: value for name, value in claims.items() if value is not None}
        return web.json_response(
            {"access_token": "at-1", "token_type": "Bearer", "id_token": self.sign(claims)}
        )

    async def github_user(self, request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer at-1"
        return web.json_response({"id": 583_231, "login": "ann", "name": "Ann"})

    async def github_emails(self, request: web.Request) -> web.Response:
        return web.json_response(self.emails)


@asynccontextmanager
async def running() -> AsyncIterator[Issuer]:
    """An issuer on loopback while the block runs; its clock is set by whoever has one."""
    issuer = Issuer()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", issuer.discover)
    app.router.add_get("/jwks", issuer.jwks)
    app.router.add_post("/token", issuer.token)
    app.router.add_post("/login/oauth/access_token", issuer.token)
    app.router.add_get("/api/v3/user", issuer.github_user)
    app.router.add_get("/api/v3/user/emails", issuer.github_emails)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    issuer.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield issuer
    finally:
        await runner.cleanup()


def apple_key() -> ECKey:
    return ECKey.generate_key("P-256")


def with_query(url: str, fields: dict[str, str]) -> str:
    return f"{url}?{urlencode(fields)}"
