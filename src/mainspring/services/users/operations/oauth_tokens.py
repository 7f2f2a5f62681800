"""Operations of clients: tokens for codes, and what tokens are good for."""

import base64
import hmac
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NoReturn
from urllib.parse import unquote_plus

import msgspec

from mainspring import Call, OwnCredentials, Raw, handles
from mainspring.ports.keyring import Keyring
from mainspring.services.users import api, model, store
from mainspring.services.users.api.errors import (
    AccessTokenRefused,
    ClientRefused,
    GrantReplayed,
    OAuthRefused,
)
from mainspring.services.users.api.oauth_structs import (
    AskedToken,
    NamedToken,
    ProviderMetadata,
    RsaKeys,
    UserinfoForm,
)
from mainspring.services.users.identity_provider import grants, relying_parties, signing_keys
from mainspring.services.users.identity_provider.authorization_requests import issuer
from mainspring.services.users.identity_provider.client_answers import answer, tell_in_json
from mainspring.services.users.identity_provider.grants import (
    GrantToken,
    TokenKind,
    find_grant,
    holds,
    is_offline,
    read_token,
    scopes_of,
    write_token,
)
from mainspring.services.users.identity_provider.relying_parties import EMAIL, OPENID, PROFILE
from mainspring.services.users.model import RefreshDecision
from mainspring.services.users.store import OAUTH_GRANTS, HeldGrant, OAuthClientRow, OAuthGrantRow

ID_TOKEN_S = 600  # it says who logged in just now, and is looked at once
BASIC_CHARS_MAX = 1_024

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)
_SECRETS = ["client_secret_basic", "client_secret_post"]
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="mainspring"'}


# What the platform says of itself


@handles(api.get_openid_configuration)
async def get_openid_configuration(call: Call) -> ProviderMetadata:
    return _metadata(call)


@handles(api.get_authorization_server)
async def get_authorization_server(call: Call) -> ProviderMetadata:
    return _metadata(call)


@handles(api.get_signing_keys)
async def get_signing_keys(call: Call) -> RsaKeys:
    issuer(call)
    return RsaKeys(await signing_keys.public_keys(call))


def _metadata(call: Call) -> ProviderMetadata:
    base = issuer(call)
    return ProviderMetadata(
        issuer=base,
        authorization_endpoint=f"{base}/oauth/authorize",
        token_endpoint=f"{base}/oauth/token",
        userinfo_endpoint=f"{base}/oauth/userinfo",
        jwks_uri=f"{base}/oauth/jwks",
        introspection_endpoint=f"{base}/oauth/introspect",
        revocation_endpoint=f"{base}/oauth/revoke",
        end_session_endpoint=f"{base}/oauth/logout",
        scopes_supported=list(relying_parties.WORDS),
        response_types_supported=["code"],
        response_modes_supported=["query"],
        grant_types_supported=["authorization_code", "refresh_token", "client_credentials"],
        subject_types_supported=["public"],
        id_token_signing_alg_values_supported=[signing_keys.ALGORITHM],
        token_endpoint_auth_methods_supported=[*_SECRETS, "none"],
        introspection_endpoint_auth_methods_supported=_SECRETS,
        revocation_endpoint_auth_methods_supported=[*_SECRETS, "none"],
        code_challenge_methods_supported=["S256"],
        claims_supported=[
            "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "amr", "sid", "at_hash",
            "name", "updated_at", "email", "email_verified",
        ],
        prompt_values_supported=["none", "login", "consent", "select_account"],
        authorization_response_iss_parameter_supported=True,
        claims_parameter_supported=False,
        request_parameter_supported=False,
        request_uri_parameter_supported=False,
    )  # fmt: skip


# Tokens


@handles(api.token_client, tells=tell_in_json)
async def token_client(call: Call, query: AskedToken, own: OwnCredentials) -> Raw:
    client = await _client(call, query, own)
    if query.grant_type == "authorization_code":
        return await _for_code(call, client, query)
    if query.grant_type == "refresh_token":
        return await _for_refresh_token(call, client, query)
    if query.grant_type == "client_credentials":
        return _for_client(call, client, query)
    if not query.grant_type:
        raise OAuthRefused.of("invalid_request", "grant_type is missing")
    raise OAuthRefused.of(
        "unsupported_grant_type",
        "grant_type is authorization_code, refresh_token or client_credentials",
    )


async def _for_code(call: Call, client: OAuthClientRow, asked: AskedToken) -> Raw:
    refusal = OAuthRefused.of("invalid_grant", "the code is unknown, used or expired")
    token = read_token(call.use(Keyring), asked.code)
    grant = None
    if token is not None and token.kind is TokenKind.CODE:
        grant = await find_grant(call, token)
    if grant is None or grant.client_id != client.id:
        raise refusal
    if asked.redirect_uri != grant.redirect_uri:
        raise OAuthRefused.of("invalid_grant", "redirect_uri is not the one of the authorization")
    if not _is_verified(asked.code_verifier, grant.code_challenge):
        raise OAuthRefused.of("invalid_grant", "code_verifier is not that of the code_challenge")
    # Only who holds the verifier ends anything: others have seen a code, and nothing more.
    if grant.generation:
        _end_replayed(call, grant)
    if not holds(grant, call.now_ms):
        raise refusal
    return await _tokens(call, client, _rotated(call, grant, 1), nonce=grant.nonce)


async def _for_refresh_token(call: Call, client: OAuthClientRow, asked: AskedToken) -> Raw:
    refusal = OAuthRefused.of("invalid_grant", "the refresh token is unknown, revoked or expired")
    token = read_token(call.use(Keyring), asked.refresh_token)
    grant = None
    if token is not None and token.kind is TokenKind.REFRESH:
        grant = await find_grant(call, token)
    if token is None or grant is None or grant.client_id != client.id:
        raise refusal
    # Newer than what is stored: the database was restored from a backup.
    if not holds(grant, call.now_ms) or token.number > grant.generation:
        raise refusal
    if not set(asked.scope.split()) <= set(scopes_of(grant)):
        raise OAuthRefused.of("invalid_scope", "scope names more than was given")
    verdict = model.judge(token.number, grant.generation, grant.rotated_ms, call.now_ms)
    if verdict is RefreshDecision.REVOKE:
        _end_replayed(call, grant)
    if verdict is RefreshDecision.ROTATE:
        grant = _rotated(call, grant, grant.generation + 1)
    return await _tokens(call, client, grant)


def _for_client(call: Call, client: OAuthClientRow, asked: AskedToken) -> Raw:
    if client.secret_hash is None:
        raise OAuthRefused.of("unauthorized_client", "a public client has no tokens of its own")
    own = relying_parties.platform_scopes(client.scopes.split())
    wanted = asked.scope.split() or own
    if not wanted or not set(wanted) <= set(own):
        raise OAuthRefused.of("invalid_scope", "scope names the client's scopes of the platform")
    life_s = call.use(api.UsersSettings).oauth_access_token_s
    row = OAuthGrantRow(
        id=call.new_id("grant"), tenant=call.tenant, version=1, client_id=client.id,
        user_id=None, session_id=None, scopes=model.stored(wanted), redirect_uri="",
        code_challenge="", nonce="", auth_ms=0, amr="", generation=1, created_ms=call.now_ms,
        rotated_ms=call.now_ms, expires_ms=call.now_ms + life_s * 1000,
    )  # fmt: skip
    call.write(OAUTH_GRANTS.insert(row))
    call.emit(api.OAuthGrantCreated(row.id, None, client.id, model.words(row.scopes)))
    return answer(_granted(call, row, model.words(row.scopes)))


def _rotated(call: Call, grant: HeldGrant, generation: int) -> HeldGrant:
    """Stage the next generation of a grant: of two that ask at once the second looks again."""
    settings = call.use(api.UsersSettings)
    life_s = settings.oauth_access_token_s
    if is_offline(grant):
        life_s = max(life_s, settings.oauth_refresh_idle_s)
    fields: dict[str, Any] = {
        "generation": generation,
        "rotated_ms": call.now_ms,
        "expires_ms": call.now_ms + life_s * 1000,
    }
    call.write(OAUTH_GRANTS.update(grant, **fields))
    if generation == 1:
        call.emit(
            api.OAuthGrantCreated(grant.id, grant.user_id, grant.client_id, scopes_of(grant))
        )  # fmt: skip
    return msgspec.structs.replace(grant, **fields)


def _end_replayed(call: Call, grant: HeldGrant) -> NoReturn:
    grants.revoke(call, grant, "replay")
    raise GrantReplayed(
        "this was used before: all tokens that came of it are ended, log in again",
        extra={"error": "invalid_grant"},
    )


async def _tokens(call: Call, client: OAuthClientRow, grant: HeldGrant, *, nonce: str = "") -> Raw:
    scopes = scopes_of(grant)
    body = _granted(call, grant, scopes)
    if is_offline(grant):
        refresh = GrantToken(TokenKind.REFRESH, grant.id, grant.generation)
        body["refresh_token"] = write_token(call.use(Keyring), refresh)
    if OPENID in scopes:
        body["id_token"] = await _id_token(call, client, grant, nonce, body["access_token"])
    return answer(body)


def _granted(call: Call, grant: OAuthGrantRow, scopes: Iterable[str]) -> dict[str, Any]:
    """Write an access token (RFC 6749, 5.1); it ends by itself, and with its grant."""
    life_s = call.use(api.UsersSettings).oauth_access_token_s
    ends_s = call.now_ms // 1000 + life_s
    token = write_token(call.use(Keyring), GrantToken(TokenKind.ACCESS, grant.id, ends_s))
    return {
        "access_token": token, "token_type": "Bearer", "expires_in": life_s,
        "scope": " ".join(scopes),
    }  # fmt: skip


async def _id_token(
    call: Call, client: OAuthClientRow, grant: HeldGrant, nonce: str, access_token: str
) -> str:
    """Say who logged in, since when and by what (OpenID Connect Core 1.0, 2 and 3.1.3.6)."""
    now_s = call.now_ms // 1000
    digest = sha256(access_token.encode()).digest()
    claims = {
        "iss": issuer(call),
        "sub": grant.user_id,
        "aud": client.id,
        "iat": now_s,
        "exp": now_s + ID_TOKEN_S,
        "auth_time": grant.auth_ms // 1000,
        "amr": model.words(grant.amr),
        "sid": grant.session_id,
        "at_hash": _base64url(digest[: len(digest) // 2]),
        **({"nonce": nonce} if nonce else {}),
    }
    return await signing_keys.sign(call, claims)


# What a token is good for


@handles(api.introspect_token, tells=tell_in_json)
async def introspect_token(call: Call, query: NamedToken, own: OwnCredentials) -> Raw:
    client = await _client(call, query, own)
    if client.secret_hash is None:
        raise _client_refused("a public client proves nothing, and is told nothing")
    found = await _live(call, query.token)
    if found is None or not (found[1].client_id == client.id or client.introspects):
        return answer({"active": False})
    token, grant = found
    scopes = await _scopes_now(call, grant)
    ends_s = token.number if token.kind is TokenKind.ACCESS else grant.expires_ms // 1000
    told = {
        "active": True, "scope": " ".join(scopes), "client_id": grant.client_id,
        "aud": grant.client_id, "iss": issuer(call), "exp": ends_s,
        "iat": grant.rotated_ms // 1000, "sub": grant.user_id or grant.client_id,
    }  # fmt: skip
    if token.kind is TokenKind.ACCESS:
        told |= {"token_type": "Bearer"}
    return answer(told)


@handles(api.revoke_token, tells=tell_in_json)
async def revoke_token(call: Call, query: NamedToken, own: OwnCredentials) -> Raw:
    client = await _client(call, query, own)
    if not query.token:
        raise OAuthRefused.of("invalid_request", "token is missing")
    token = read_token(call.use(Keyring), query.token)
    grant = None if token is None else await find_grant(call, token)
    if grant is not None:
        if grant.client_id != client.id:
            raise OAuthRefused.of("invalid_grant", "the token is another client's")
        grants.revoke(call, grant, "client")
    return answer({})  # one that holds no more is as good as revoked (RFC 7009, 2.2)


@handles(api.get_userinfo, tells=tell_in_json)
async def get_userinfo(call: Call, own: OwnCredentials) -> Raw:
    return await _userinfo(call, _bearer(own))


@handles(api.create_userinfo, tells=tell_in_json)
async def create_userinfo(call: Call, query: UserinfoForm, own: OwnCredentials) -> Raw:
    return await _userinfo(call, _bearer(own) or query.access_token)


async def _userinfo(call: Call, text: str) -> Raw:
    issuer(call)
    found = await _live(call, text)
    user_id = None if found is None else found[1].user_id
    if found is None or found[0].kind is not TokenKind.ACCESS or user_id is None:
        raise _token_refused("invalid_token", "the access token is unknown, revoked or expired")
    scopes = scopes_of(found[1])
    if OPENID not in scopes:
        raise _token_refused("insufficient_scope", "this needs the scope openid")
    user = await call.find(store.USER, id=user_id, tenant=call.tenant)
    if user is None:
        raise _token_refused("invalid_token", "the access token is unknown, revoked or expired")
    told: dict[str, Any] = {"sub": user.id}
    if PROFILE in scopes:
        told |= {"name": user.display_name, "updated_at": user.updated_ms // 1000}
    if EMAIL in scopes:
        told |= {"email": user.email, "email_verified": user.email_verified}
    return answer(told)


async def _live(call: Call, text: str) -> tuple[GrantToken, HeldGrant] | None:
    """Return an access or refresh token that holds, and its grant."""
    token = read_token(call.use(Keyring), text)
    if token is None or token.kind is TokenKind.CODE:
        return None
    if token.kind is TokenKind.ACCESS and token.number * 1000 <= call.now_ms:
        return None
    grant = await find_grant(call, token)
    if grant is None or not holds(grant, call.now_ms):
        return None
    if token.kind is TokenKind.REFRESH and token.number != grant.generation:
        return None
    return token, grant


async def _scopes_now(call: Call, grant: HeldGrant) -> list[str]:
    """Return what a token is good for now: of the platform's scopes those its user holds still."""
    scopes = scopes_of(grant)
    if grant.user_id is None:
        return scopes
    user = await call.find(store.USER, id=grant.user_id, tenant=call.tenant)
    held = "" if user is None else user.scopes
    own = model.both(relying_parties.platform_scopes(scopes), held.split())
    return [scope for scope in scopes if scope in relying_parties.WORDS or scope in own]


# Who asks


async def _client(
    call: Call, asked: AskedToken | NamedToken, own: OwnCredentials
) -> OAuthClientRow:
    """Return the client that asks, by its secret where it has one. Raises ClientRefused."""
    issuer(call)
    client_id, secret = asked.client_id, asked.client_secret
    if own.authorization is not None:
        named, given = _basic(own.authorization)
        if secret or (client_id and client_id != named):
            raise OAuthRefused.of("invalid_request", "the client says in two ways who it is")
        client_id, secret = named, given
    row = await call.find(store.OAUTH_CLIENT, id=client_id, tenant=call.tenant)
    if row is None:
        raise _client_refused("the client is unknown, or its secret is wrong")
    if row.secret_hash is None:
        if secret:
            raise _client_refused("a public client has no secret")
        return row
    if not hmac.compare_digest(row.secret_hash, model.secret_hash(secret)):
        raise _client_refused("the client is unknown, or its secret is wrong")
    return row


def _basic(header: str) -> tuple[str, str]:
    """Read ``Basic`` credentials, each written as in a form (RFC 6749, 2.3.1)."""
    scheme, _, text = header.strip().partition(" ")
    try:
        if scheme.lower() != "basic" or len(text) > BASIC_CHARS_MAX:
            raise ValueError
        name, colon, secret = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except ValueError:
        raise _client_refused("Authorization is: Basic, and base64 of id:secret") from None
    name, secret = unquote_plus(name), unquote_plus(secret)
    if not colon or "\0" in name:
        raise _client_refused("Authorization is: Basic, and base64 of id:secret")
    return name, secret


def _bearer(own: OwnCredentials) -> str:
    scheme, _, token = (own.authorization or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _client_refused(detail: str) -> ClientRefused:
    return ClientRefused(detail, extra={"error": "invalid_client"}, headers=_CHALLENGE)


def _token_refused(error: str, detail: str) -> AccessTokenRefused:
    told = f'Bearer realm="mainspring", error="{error}", error_description="{detail}"'
    return AccessTokenRefused(detail, extra={"error": error}, headers={"WWW-Authenticate": told})


def _is_verified(verifier: str, challenge: str) -> bool:
    if _VERIFIER.fullmatch(verifier) is None:
        return False
    return hmac.compare_digest(_base64url(sha256(verifier.encode()).digest()), challenge)


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
