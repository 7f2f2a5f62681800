"""Asks issuers who somebody is: OpenID Connect Core 1.0 by discovery, and GitHub's OAuth 2.

Not in the usual shape of a service because it talks to somebody else: one for the process, which
remembers what issuers say of themselves and which keys they sign with.
"""

import base64
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import structlog
from joserfc import jwk, jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from mainspring import ExpiringCache
from mainspring.ports.http_client import HttpClient, WebAnswer, WebError
from mainspring.services.users.api import service
from mainspring.services.users.api.errors import IssuerUnavailable, LoginRefused
from mainspring.services.users.api.providers import APPLE, GITHUB, Provider

log = structlog.get_logger()

T = TypeVar("T")

TIMEOUT_S = 8.0
METADATA_KEPT_MS = 3_600_000
KEYS_KEPT_MS = 3_600_000
KEYS_ASKED_MS = 60_000  # a key that is unknown has them asked for anew, at most so often
ISSUERS_MAX = 256
EXCHANGES_MAX = 4_096
EXCHANGE_KEPT_MS = 60_000
LEEWAY_S = 60  # clocks differ
APPLE_SECRET_S = 300
# What an issuer may sign with: never a shared secret, and never nothing (RFC 8725, 3.1).
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
              "Ed25519", "EdDSA")  # fmt: skip


class Metadata(msgspec.Struct, frozen=True):
    """What an issuer says of itself (OpenID Connect Discovery 1.0, 3; RFC 9207)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False


class Granted(msgspec.Struct, frozen=True):
    """What a code is worth (RFC 6749, 5.1)."""

    id_token: str = ""
    access_token: str = ""


class Attested(msgspec.Struct, frozen=True):
    """Who somebody is, as the issuer says. ``email_verified`` is whether that counts here."""

    issuer: str
    subject: str
    email: str | None
    email_verified: bool
    display_name: str


class AskedLogin(msgspec.Struct, frozen=True):
    """What a log-in at an issuer began with, and the code it ended with."""

    code: str
    verifier: str
    nonce: str
    redirect_uri: str


class _GitHubUser(msgspec.Struct, frozen=True):
    id: int
    name: str | None = None
    login: str = ""


class _GitHubEmail(msgspec.Struct, frozen=True):
    email: str
    primary: bool = False
    verified: bool = False


class Issuers:
    """One for the process. What cannot be reached is IssuerUnavailable; what lies, LoginRefused."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self._metadata: ExpiringCache[str, Metadata] = ExpiringCache(ISSUERS_MAX)
        self._keys: ExpiringCache[str, KeySet] = ExpiringCache(ISSUERS_MAX)
        self._asked_ms: dict[str, int] = {}
        self._attested: ExpiringCache[str, Attested] = ExpiringCache(EXCHANGES_MAX)

    async def metadata(self, provider: Provider, now_ms: int) -> Metadata:
        """Return what an issuer says of itself, remembered for an hour."""
        if provider.kind == GITHUB:
            base = provider.issuer
            return Metadata(
                base, f"{base}/login/oauth/authorize", f"{base}/login/oauth/access_token",
                token_endpoint_auth_methods_supported=("client_secret_post",),
            )  # fmt: skip
        known = self._metadata.get(provider.issuer, now_ms)
        if known is not None:
            return known
        url = provider.issuer.removesuffix("/") + "/.well-known/openid-configuration"
        answer = await self._get(provider, url)
        found = _read(provider, answer, Metadata)
        named = found.issuer.replace("{tenantid}", provider.settings.tenant)
        if named != provider.issuer:
            log.warning("issuer_names_another", provider=provider.name, said=found.issuer[:200])
            raise LoginRefused("the issuer calls itself by another name")
        found = msgspec.structs.replace(found, issuer=provider.issuer)
        self._metadata.put(provider.issuer, found, now_ms, now_ms + METADATA_KEPT_MS)
        return found

    async def attest(
        self, provider: Provider, asked: AskedLogin, once: str, now_ms: int
    ) -> Attested:
        """Trade a code for who somebody is. ``once`` names the log-in: a code is sent once for it.

        A call that has to run again does not send its code again.
        """
        known = self._attested.get(once, now_ms)
        if known is not None:
            return known
        metadata = await self.metadata(provider, now_ms)
        granted = await self._exchange(provider, metadata, asked, now_ms)
        if provider.kind == GITHUB:
            attested = await self._github(provider, granted)
        else:
            attested = await self._verified(provider, metadata, granted, asked.nonce, now_ms)
        self._attested.put(once, attested, now_ms, now_ms + EXCHANGE_KEPT_MS)
        return attested

    async def _exchange(
        self, provider: Provider, metadata: Metadata, asked: AskedLogin, now_ms: int
    ) -> Granted:
        fields = {
            "grant_type": "authorization_code",
            "code": asked.code,
            "redirect_uri": asked.redirect_uri,
            "code_verifier": asked.verifier,
            "client_id": provider.settings.client_id,
        }
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        secret = provider.settings.client_secret
        if provider.kind == APPLE:
            secret = apple_secret(provider, now_ms)
        methods = metadata.token_endpoint_auth_methods_supported
        if secret and ("client_secret_post" in methods or provider.kind == APPLE):
            fields["client_secret"] = secret
        elif secret:
            pair = f"{quote(provider.settings.client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        body = urlencode(fields).encode()
        try:
            answer = await self._http.post(
                metadata.token_endpoint, body, headers, timeout_s=TIMEOUT_S
            )
        except WebError as error:
            raise _unreachable(provider, error) from error
        if 400 <= answer.status < 500:
            log.warning("issuer_refused_code", provider=provider.name, status=answer.status)
            raise LoginRefused("the issuer does not take its code: begin the log-in again")
        return _read(provider, answer, Granted)

    async def _verified(
        self, provider: Provider, metadata: Metadata, granted: Granted, nonce: str, now_ms: int
    ) -> Attested:
        """Check an ID token (OpenID Connect Core 1.0, 3.1.3.7)."""
        claims = await self._claims(provider, metadata, granted.id_token, now_ms)
        client, now_s = provider.settings.client_id, now_ms / 1000
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        issuer, tenant = claims.get("iss"), claims.get("tid")
        subject = claims.get("sub")
        wrong = None
        if not isinstance(issuer, str) or not provider.says_issuer(
            issuer, tenant if isinstance(tenant, str) else None
        ):
            wrong = "iss"
        elif client not in audiences or (len(audiences) > 1 and claims.get("azp") != client):
            wrong = "aud"
        elif claims.get("azp", client) != client:
            wrong = "azp"
        elif not _is_number(claims.get("exp")) or claims["exp"] <= now_s - LEEWAY_S:
            wrong = "exp"
        elif not _is_number(claims.get("iat")) or claims["iat"] > now_s + LEEWAY_S:
            wrong = "iat"
        elif claims.get("nonce") != nonce:
            wrong = "nonce"
        elif not isinstance(subject, str) or not 1 <= len(subject) <= 255:
            wrong = "sub"
        if wrong is not None:
            log.warning("id_token_refused", provider=provider.name, claim=wrong)
            raise LoginRefused(f"the issuer's token does not hold: {wrong}")
        email = claims.get("email")
        verified = claims.get("email_verified") in (True, "true")  # Apple writes a text
        name = claims.get("name")
        return Attested(
            str(issuer), str(subject), email if isinstance(email, str) else None,
            verified and provider.trusts_email, name[:200] if isinstance(name, str) else "",
        )  # fmt: skip

    async def _claims(
        self, provider: Provider, metadata: Metadata, token: str, now_ms: int
    ) -> dict[str, Any]:
        """Return what a token says that one of the issuer's keys signed."""
        for fresh in (False, True):
            keys = await self._keys_of(provider, metadata, now_ms, fresh=fresh)
            try:
                found = jwt.decode(token, keys, algorithms=list(ALGORITHMS))
            except (JoseError, ValueError, TypeError) as error:
                reason = type(error).__name__
                continue  # the issuer may have another key by now
            return dict(found.claims)
        log.warning("id_token_refused", provider=provider.name, reason=reason)
        raise LoginRefused("the issuer's token does not hold: signature")

    async def _keys_of(
        self, provider: Provider, metadata: Metadata, now_ms: int, *, fresh: bool
    ) -> KeySet:
        url = metadata.jwks_uri
        known = self._keys.get(url, now_ms)
        if known is not None and not (
            fresh and now_ms - self._asked_ms.get(url, 0) >= KEYS_ASKED_MS
        ):
            return known
        answer = await self._get(provider, url)
        found = _read(provider, answer, dict[str, Any]).get("keys")
        usable = []
        for key in found if isinstance(found, list) else ():
            try:
                if isinstance(key, dict) and key.get("kty") in {"RSA", "EC", "OKP"}:
                    usable.append(jwk.import_key(key))
            except (JoseError, ValueError, TypeError):
                continue  # of a kind that is not known here
        keys = KeySet(usable)
        self._asked_ms[url] = now_ms
        self._keys.put(url, keys, now_ms, now_ms + KEYS_KEPT_MS)
        return keys

    async def _github(self, provider: Provider, granted: Granted) -> Attested:
        """Ask GitHub who its token is of; it has no ID tokens."""
        if not granted.access_token:
            raise LoginRefused("the issuer does not take its code: begin the log-in again")
        base = provider.issuer
        api = "https://api.github.com" if base == "https://github.com" else f"{base}/api/v3"
        bearer = {"Authorization": f"Bearer {granted.access_token}"}
        answer = await self._get(provider, f"{api}/user", bearer)
        user = _read(provider, answer, _GitHubUser)
        answer = await self._get(provider, f"{api}/user/emails", bearer)
        emails = _read(provider, answer, list[_GitHubEmail])
        email = next((e for e in emails if e.primary), None)
        return Attested(
            base, str(user.id), None if email is None else email.email,
            email is not None and email.verified and provider.trusts_email,
            (user.name or user.login)[:200],
        )  # fmt: skip

    async def _get(
        self, provider: Provider, url: str, headers: dict[str, str] | None = None
    ) -> WebAnswer:
        sent = {"Accept": "application/json", "User-Agent": "Mainspring", **(headers or {})}
        try:
            return await self._http.get(url, sent, timeout_s=TIMEOUT_S)
        except WebError as error:
            raise _unreachable(provider, error) from error


service.provide(Issuers, needs=(HttpClient,))


def authorization_url(
    provider: Provider, metadata: Metadata, *, state: str, nonce: str, challenge: str,
    redirect_uri: str,
) -> str:  # fmt: skip
    """Return where somebody is sent to log in."""
    fields = {
        "response_type": "code",
        "client_id": provider.settings.client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join(provider.scopes),
        "state": state,
        "nonce": nonce,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
    }
    if provider.posts:
        fields["response_mode"] = "form_post"
    joint = "&" if "?" in metadata.authorization_endpoint else "?"
    return metadata.authorization_endpoint + joint + urlencode(fields)


def apple_secret(provider: Provider, now_ms: int) -> str:
    """Make the client secret that Apple takes: a JWT signed with the key of the team."""
    settings, now_s = provider.settings, now_ms // 1000
    key = jwk.ECKey.import_key(settings.private_key.replace("\\n", "\n"))
    claims = {
        "iss": settings.team_id,
        "iat": now_s,
        "exp": now_s + APPLE_SECRET_S,
        "aud": provider.issuer,
        "sub": settings.client_id,
    }
    return jwt.encode({"alg": "ES256", "kid": settings.key_id}, claims, key)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _read(provider: Provider, answer: WebAnswer, shape: type[T]) -> T:
    if answer.status != 200:
        log.warning("issuer_failed", provider=provider.name, status=answer.status)
        raise IssuerUnavailable(f"{provider.name} answers with an error", retry_after_s=5)
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except msgspec.DecodeError as error:
        log.warning("issuer_failed", provider=provider.name, error=str(error)[:200])
        raise IssuerUnavailable(
            f"{provider.name} answers what cannot be read", retry_after_s=5
        ) from error


def _unreachable(provider: Provider, error: WebError) -> IssuerUnavailable:
    log.warning("issuer_failed", provider=provider.name, code=error.code, error=error.detail)
    return IssuerUnavailable(f"{provider.name} cannot be reached", retry_after_s=5)
