"""Whom people may log in with: what settings say of an issuer, and what is known of the big ones.

No I/O. ``issuers.py`` asks them.
"""

from typing import Annotated, Literal

import msgspec

from mainspring.kernel.masking import Secret

GOOGLE, GITHUB, APPLE, MICROSOFT = "google", "github", "apple", "microsoft"
ProviderKind = Literal["", "oidc", "google", "github", "apple", "microsoft"]
_ISSUERS = {
    GOOGLE: "https://accounts.google.com",
    GITHUB: "https://github.com",
    APPLE: "https://appleid.apple.com",
    MICROSOFT: "https://login.microsoftonline.com/{tenant}/v2.0",
}
_SCOPES = {GITHUB: "read:user user:email", APPLE: "name email"}
_OF_MANY = {"common", "organizations", "consumers"}


class LoginProvider(msgspec.Struct, frozen=True):
    """``[users.login.NAME]``: an issuer of OpenID Connect, or one of those known by their name.

    ``google``, ``github``, ``apple`` and ``microsoft`` need a client only; ``kind`` says which of
    them one of another name is. An address counts when the issuer says that it is verified, unless
    ``trust_email`` is off; what Microsoft says of addresses never counts.
    """

    kind: ProviderKind = ""
    issuer: str = ""
    client_id: str = ""
    client_secret: Annotated[str, Secret] = ""
    scopes: tuple[str, ...] = ()
    trust_email: bool = True
    tenant: str = "common"
    team_id: str = ""
    key_id: str = ""
    private_key: Annotated[str, Secret] = ""

    def __post_init__(self) -> None:
        if self.issuer and not is_origin(self.issuer):
            raise ValueError("issuer begins with https://, or http:// on this machine")
        if self.private_key and "PRIVATE KEY" not in self.private_key:
            raise ValueError("private_key is a PEM file's text")


class Provider(msgspec.Struct, frozen=True):
    """A provider with everything that is known of it filled in."""

    name: str
    kind: str
    issuer: str
    scopes: tuple[str, ...]
    settings: LoginProvider

    @property
    def of_many(self) -> bool:
        """Whether one address of it speaks for the issuers of many tenants (Microsoft's)."""
        return self.kind == MICROSOFT and self.settings.tenant in _OF_MANY

    @property
    def posts(self) -> bool:
        """Whether it posts its answer as a form: Apple, when it is asked for an address."""
        return self.kind == APPLE

    @property
    def trusts_email(self) -> bool:
        """Whether an address that it calls verified counts as proved here."""
        return self.settings.trust_email and self.kind != MICROSOFT

    def says_issuer(self, said: str, tenant: str | None) -> bool:
        """Tell whether what calls itself so is this issuer, or its tenant's."""
        if not self.of_many or tenant is None:
            return said == self.issuer
        return said == self.issuer.replace(f"/{self.settings.tenant}/", f"/{tenant}/")


def provider(name: str, settings: LoginProvider) -> Provider:
    """Fill in what is known. Raises ValueError where something is missing."""
    kind = settings.kind or (name if name in _ISSUERS else "oidc")
    issuer = settings.issuer or _ISSUERS.get(kind, "").format(tenant=settings.tenant)
    if not issuer:
        raise ValueError(f"login.{name} names no issuer")
    if not settings.client_id:
        raise ValueError(f"login.{name} names no client_id")
    if kind == APPLE and not (settings.team_id and settings.key_id and settings.private_key):
        raise ValueError(f"login.{name} needs team_id, key_id and private_key")
    if kind in {GITHUB, GOOGLE} and not settings.client_secret:
        raise ValueError(f"login.{name} needs a client_secret")
    scopes = settings.scopes or tuple(_SCOPES.get(kind, "openid email profile").split())
    if kind not in {GITHUB} and "openid" not in scopes:
        scopes = ("openid", *scopes)
    return Provider(name, kind, issuer, scopes, settings)


def is_origin(url: str) -> bool:
    """Tell whether a URL is one of HTTPS, or of this machine."""
    return url.startswith(("https://", "http://127.0.0.1:", "http://localhost:", "http://[::1]:"))
