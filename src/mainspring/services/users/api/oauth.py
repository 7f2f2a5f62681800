"""Contracts of the identity provider: OAuth 2.0 and OpenID Connect, as they are standardised."""

from mainspring import CachePolicy, Call, OwnCredentials, RateClass, Raw
from mainspring.services.users.api.oauth_structs import (
    AskedAuthorization,
    AskedLogout,
    AskedToken,
    ConsentForm,
    LoginForm,
    NamedToken,
    ProviderMetadata,
    RsaKeys,
    UserinfoForm,
)
from mainspring.services.users.api.settings import service

_METADATA = CachePolicy(public=True, max_age_s=300)


@service.contract.operation(
    "GET /.well-known/openid-configuration", scope=None, cache=_METADATA
)  # fmt: skip
async def get_openid_configuration(call: Call) -> ProviderMetadata:
    """Say what other applications need to know to log people in from here.

    There is nothing unless ``[users] url`` says where the platform is reached.
    """


@service.contract.operation(
    "GET /.well-known/oauth-authorization-server", scope=None, cache=_METADATA
)
async def get_authorization_server(call: Call) -> ProviderMetadata:
    """Say the same to clients of OAuth 2.0 that ask there (RFC 8414)."""


@service.contract.operation("GET /oauth/jwks", scope=None, cache=_METADATA)
async def get_signing_keys(call: Call) -> RsaKeys:
    """Read the keys that ID tokens verify with. Access tokens of the platform have others."""


@service.contract.raw("GET /oauth/authorize", scope=None)
async def get_authorization(call: Call, query: AskedAuthorization, own: OwnCredentials) -> Raw:
    """Log somebody in for another application: it sends the browser here, which comes back to it.

    Code flow with PKCE (S256). Answers pages; errors go back to the application where its address
    is known.
    """


@service.contract.raw("POST /oauth/authorize", scope=None)
async def create_authorization(call: Call, query: AskedAuthorization, own: OwnCredentials) -> Raw:
    """Take an authorization request that is posted as a form."""


@service.contract.raw("POST /oauth/login", scope=None, rate=RateClass.LOGIN)
async def login_user(call: Call, query: LoginForm, own: OwnCredentials) -> Raw:
    """Take our own log-in page. Emits users.session.created."""


@service.contract.raw("POST /oauth/consent", scope=None, rate=RateClass.LOGIN)
async def consent_client(call: Call, query: ConsentForm, own: OwnCredentials) -> Raw:
    """Take our own consent page. Emits users.oauth_consent.granted."""


@service.contract.raw("POST /oauth/token", scope=None)
async def token_client(call: Call, query: AskedToken, own: OwnCredentials) -> Raw:
    """Give a client tokens for a code, a refresh token, or its own name.

    A code or refresh token that comes twice ends what came of it. Emits users.oauth_grant.created,
    users.oauth_grant.revoked.
    """


@service.contract.raw("POST /oauth/introspect", scope=None)
async def introspect_token(call: Call, query: NamedToken, own: OwnCredentials) -> Raw:
    """Tell a client whether a token holds, whose it is and what for (RFC 7662).

    Of its own tokens, or of all where it ``introspects``.
    """


@service.contract.raw("POST /oauth/revoke", scope=None)
async def revoke_token(call: Call, query: NamedToken, own: OwnCredentials) -> Raw:
    """End a token of the client, with all that came of the same log-in (RFC 7009).

    Emits users.oauth_grant.revoked.
    """


@service.contract.raw("GET /oauth/userinfo", scope=None)
async def get_userinfo(call: Call, own: OwnCredentials) -> Raw:
    """Tell an application who its user is, as far as the user lets it know."""


@service.contract.raw("POST /oauth/userinfo", scope=None)
async def create_userinfo(call: Call, query: UserinfoForm, own: OwnCredentials) -> Raw:
    """Tell the same to one that posts."""


@service.contract.raw("GET /oauth/logout", scope=None)
async def get_logout(call: Call, query: AskedLogout, own: OwnCredentials) -> Raw:
    """Log somebody out here whom an application logs out, and send the browser back to it.

    At once where the application shows an ID token of this very log-in; else people are asked.
    Emits users.session.revoked.
    """


@service.contract.raw("POST /oauth/logout", scope=None)
async def logout_user(call: Call, query: AskedLogout, own: OwnCredentials) -> Raw:
    """Take a log-out that is posted as a form, by an application or by our own page."""
