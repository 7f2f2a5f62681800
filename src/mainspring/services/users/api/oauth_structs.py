"""What the identity provider takes and answers: clients, authorizations, the protocol itself."""

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, UnsetType

from mainspring import ForeignForm, Input, Instant

URIS_MAX = 20  # of one client, of a kind
URI_CHARS_MAX = 1_000
CLIENT_SCOPES_MAX = 50

RedirectUri = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=URI_CHARS_MAX,
        description="https://…, http:// on the user's own machine, or an app's own scheme; compared"
        " to the last letter",
    ),
]
RedirectUris = Annotated[list[RedirectUri], msgspec.Meta(max_length=URIS_MAX)]
ClientScope = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=200,
        description="`openid`, `profile`, `email`, `offline_access`, or a scope of the platform",
    ),
]
ClientScopes = Annotated[list[ClientScope], msgspec.Meta(max_length=CLIENT_SCOPES_MAX)]
ClientName = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]


class OAuthClient(msgspec.Struct, frozen=True):
    """An application that logs people in from here. A ``public`` one keeps no secret."""

    id: str
    name: str
    public: bool
    redirect_uris: list[str]
    post_logout_redirect_uris: list[str]
    scopes: list[str]
    skips_consent: bool
    introspects: bool
    created_at: Instant
    updated_at: Instant


class MadeOAuthClient(OAuthClient, frozen=True):
    """A client with its secret, which is shown this once; a public one has none."""

    secret: str | None


class OAuthClientSecret(msgspec.Struct, frozen=True):
    """A client's secret from now on, shown this once."""

    secret: str


class Authorization(msgspec.Struct, frozen=True):
    """What you let an application have."""

    id: str
    client_id: str
    client_name: str
    scopes: list[str]
    created_at: Instant
    updated_at: Instant


class NewOAuthClient(Input, frozen=True):
    """An application to be.

    It asks for no more than ``scopes``, of which you hold those of the platform. People are not
    asked where it ``skips_consent``: for your own. One that ``introspects`` may ask about the
    tokens of all clients: an API that takes them.
    """

    name: ClientName
    public: bool = False
    redirect_uris: RedirectUris = msgspec.field(default_factory=list)
    post_logout_redirect_uris: RedirectUris = msgspec.field(default_factory=list)
    scopes: ClientScopes = msgspec.field(default_factory=lambda: ["openid", "profile", "email"])
    skips_consent: bool = False
    introspects: bool = False


class OAuthClientChanges(Input, frozen=True):
    """What changes about an application; a list replaces the whole."""

    name: ClientName | UnsetType = UNSET
    redirect_uris: RedirectUris | UnsetType = UNSET
    post_logout_redirect_uris: RedirectUris | UnsetType = UNSET
    scopes: ClientScopes | UnsetType = UNSET
    skips_consent: bool | UnsetType = UNSET
    introspects: bool | UnsetType = UNSET


class ProviderMetadata(msgspec.Struct, frozen=True):
    """What the platform says of itself (OpenID Connect Discovery 1.0, 3; RFC 8414; RFC 9207)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str
    jwks_uri: str
    introspection_endpoint: str
    revocation_endpoint: str
    end_session_endpoint: str
    scopes_supported: list[str]
    response_types_supported: list[str]
    response_modes_supported: list[str]
    grant_types_supported: list[str]
    subject_types_supported: list[str]
    id_token_signing_alg_values_supported: list[str]
    token_endpoint_auth_methods_supported: list[str]
    introspection_endpoint_auth_methods_supported: list[str]
    revocation_endpoint_auth_methods_supported: list[str]
    code_challenge_methods_supported: list[str]
    claims_supported: list[str]
    prompt_values_supported: list[str]
    authorization_response_iss_parameter_supported: bool
    claims_parameter_supported: bool
    request_parameter_supported: bool
    request_uri_parameter_supported: bool


class RsaKey(msgspec.Struct, frozen=True):
    """A public key of RSA (RFC 7517, RFC 7518)."""

    kty: str
    n: str
    e: str
    kid: str
    alg: str
    use: str


class RsaKeys(msgspec.Struct, frozen=True):
    """The public keys that ID tokens are signed with, the newest first."""

    keys: list[RsaKey]


class Decision(Input, frozen=True):
    """What another application asks, as it came to your page; and what the user says to it.

    Without a ``decision`` (``allow`` or ``deny``) it is what the user has said before.
    """

    request: Annotated[str, msgspec.Meta(min_length=1, max_length=8_192)]
    decision: Literal["allow", "deny"] | None = None


class WayBack(msgspec.Struct, frozen=True):
    """Where to send the browser: back to the application."""

    url: str


class AskedAuthorization(ForeignForm, frozen=True):
    """An authorization request (RFC 6749, 4.1.1; RFC 7636; OpenID Connect Core 1.0, 3.1.2.1).

    ``resume`` is how our own page comes back to one.
    """

    response_type: str = ""
    client_id: str = ""
    redirect_uri: str = ""
    scope: str = ""
    state: str = ""
    nonce: str = ""
    code_challenge: str = ""
    code_challenge_method: str = ""
    response_mode: str = ""
    prompt: str = ""
    max_age: str = ""
    login_hint: str = ""
    request: str = ""
    request_uri: str = ""
    resume: str = ""


class LoginForm(ForeignForm, frozen=True):
    """Our own log-in page, sent off: the first step, or with ``challenge`` the second.

    ``passkey`` is what the browser answers to the options of a log-in, as JSON.
    """

    request: str = ""
    email: str = ""
    password: str = ""
    challenge: str = ""
    code: str = ""
    passkey: str = ""


class ConsentForm(ForeignForm, frozen=True):
    """Our own consent page, sent off; ``decision`` is ``allow`` or ``deny``."""

    request: str = ""
    decision: str = ""


class AskedToken(ForeignForm, frozen=True):
    """A token request (RFC 6749, 4.1.3, 4.4.2 and 6; RFC 7636)."""

    grant_type: str = ""
    code: str = ""
    redirect_uri: str = ""
    code_verifier: str = ""
    refresh_token: str = ""
    scope: str = ""
    client_id: str = ""
    client_secret: str = ""


class NamedToken(ForeignForm, frozen=True):
    """A token that a client asks about, or gives back (RFC 7662, 2.1; RFC 7009, 2.1)."""

    token: str = ""
    token_type_hint: str = ""
    client_id: str = ""
    client_secret: str = ""


class UserinfoForm(ForeignForm, frozen=True):
    """A token that comes in a form (RFC 6750, 2.2)."""

    access_token: str = ""


class AskedLogout(ForeignForm, frozen=True):
    """A log-out that an application asks for (OpenID Connect RP-Initiated Logout 1.0, 2).

    ``request`` is how our own page sends it off.
    """

    id_token_hint: str = ""
    client_id: str = ""
    post_logout_redirect_uri: str = ""
    state: str = ""
    request: str = ""
