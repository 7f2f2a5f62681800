"""The operations of users. Made of the declarations by ``make clients``: edit those."""

from collections.abc import Mapping
from typing import Any

from mainspring.client.async_client import AsyncClient, AsyncPages
from mainspring.services.users.api.impersonations import (
    Impersonating,
    ImpersonationInfo,
    ImpersonationToken,
)
from mainspring.services.users.api.imports import ImportReport, UserImport
from mainspring.services.users.api.oauth_structs import (
    Authorization,
    Decision,
    MadeOAuthClient,
    NewOAuthClient,
    OAuthClient,
    OAuthClientChanges,
    OAuthClientSecret,
    ProviderMetadata,
    RsaKeys,
    WayBack,
)
from mainspring.services.users.api.organizations import (
    InvitationProof,
    MemberChange,
    NewInvitation,
    NewOrganization,
    Transfer,
)
from mainspring.services.users.api.structs import (
    ApiKey,
    BegunLogin,
    Disabling,
    EmailChange,
    EmailProof,
    EmailUndo,
    FactorProof,
    Factors,
    FreshToken,
    Invitation,
    Jwks,
    KeyLineage,
    LinkedIdentity,
    Login,
    LogInAsked,
    LoginCode,
    LogInProof,
    LogInWish,
    MadeApiKey,
    MadePasskey,
    Member,
    NewApiKey,
    NewLogin,
    NewPasskey,
    NewRole,
    NewUser,
    Organization,
    OwnChanges,
    OwnInvitation,
    Passkey,
    PasskeyChanges,
    PasskeyLogin,
    PasskeyOptions,
    PasskeyWish,
    PasswordChange,
    PasswordReset,
    Recovery,
    RecoveryCodes,
    RefreshRequest,
    ResetRequest,
    Role,
    RoleChanges,
    SecondStep,
    Session,
    StepUp,
    StreamToken,
    Tokens,
    TotpCode,
    TotpEnrolment,
    User,
    UserChanges,
)


class AsyncUsers:
    """The operations of users."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def accept_invitation(
        self, given: InvitationProof | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Organization:
        """Join the organisation that invited your address, which must be proved. It holds once."""
        return await self._client.send(
            "POST",
            "/v1/invitations:accept",
            {},
            Organization,
            json=given,
            idempotency_key=idempotency_key,
        )

    async def begin_passkey(self, *, idempotency_key: str | None = None) -> PasskeyOptions:
        """Get the options with which the browser makes a passkey of yours, within five minutes."""
        return await self._client.send(
            "POST",
            "/v1/users/me/passkeys:begin",
            {},
            PasskeyOptions,
            idempotency_key=idempotency_key,
        )

    async def begin_passkey_login(
        self, wish: PasskeyWish | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> PasskeyOptions:
        """Get the options with which a passkey logs somebody in, within five minutes."""
        return await self._client.send(
            "POST",
            "/v1/passkeys:begin",
            {},
            PasskeyOptions,
            json=wish,
            idempotency_key=idempotency_key,
        )

    async def change_email(
        self, change: EmailChange | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Ask for another address: it counts once the token mailed to it proves that you read it."""
        await self._client.send(
            "POST",
            "/v1/users/me:change_email",
            {},
            None,
            json=change,
            idempotency_key=idempotency_key,
        )

    async def change_password(
        self, change: PasswordChange | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Change your password; your other sessions and your API keys end."""
        await self._client.send(
            "POST",
            "/v1/users/me:change_password",
            {},
            None,
            json=change,
            idempotency_key=idempotency_key,
        )

    async def complete_login(
        self, given: LoginCode | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Tokens:
        """Log in with the code that the browser brought back. Emits users.session.created."""
        return await self._client.send(
            "POST", "/v1/logins:complete", {}, Tokens, json=given, idempotency_key=idempotency_key
        )

    async def complete_session(
        self, given: SecondStep | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Tokens:
        """Log in with the second factor, after factor_required. Emits users.session.created."""
        return await self._client.send(
            "POST", "/v1/sessions:complete", {}, Tokens, json=given, idempotency_key=idempotency_key
        )

    async def confirm_totp(
        self, given: TotpCode | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> RecoveryCodes:
        """Confirm the authenticator app with a code of it: from now on a log-in takes one."""
        return await self._client.send(
            "POST",
            "/v1/users/me/totp:confirm",
            {},
            RecoveryCodes,
            json=given,
            idempotency_key=idempotency_key,
        )

    async def create_api_key(
        self, new: NewApiKey | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> MadeApiKey:
        """Make an API key; the key itself is shown this once. Emits users.api_key.created."""
        return await self._client.send(
            "POST", "/v1/api_keys", {}, MadeApiKey, json=new, idempotency_key=idempotency_key
        )

    async def create_identity(
        self, given: LoginCode | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> LinkedIdentity:
        """Link yourself at an issuer, with the code that the browser brought back."""
        return await self._client.send(
            "POST",
            "/v1/users/me/identities",
            {},
            LinkedIdentity,
            json=given,
            idempotency_key=idempotency_key,
        )

    async def create_invitation(
        self,
        organization_id: str,
        new: NewInvitation | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> Invitation:
        """Invite whoever reads an address, by mail; the answer does not tell who has an account."""
        return await self._client.send(
            "POST",
            "/v1/organizations/{organization_id}/invitations",
            {"organization_id": organization_id},
            Invitation,
            json=new,
            idempotency_key=idempotency_key,
        )

    async def create_link(
        self, new: NewLogin | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> BegunLogin:
        """Begin to link yourself at an issuer to your account, as POST /v1/logins begins a log-in."""
        return await self._client.send(
            "POST", "/v1/users/me/logins", {}, BegunLogin, json=new, idempotency_key=idempotency_key
        )

    async def create_login(
        self, new: NewLogin | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> BegunLogin:
        """Begin a log-in with an issuer that the settings name: send the browser to ``url``."""
        return await self._client.send(
            "POST", "/v1/logins", {}, BegunLogin, json=new, idempotency_key=idempotency_key
        )

    async def create_oauth_client(
        self, new: NewOAuthClient | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> MadeOAuthClient:
        """Register an application; its secret is shown this once. Emits users.oauth_client.created."""
        return await self._client.send(
            "POST",
            "/v1/oauth_clients",
            {},
            MadeOAuthClient,
            json=new,
            idempotency_key=idempotency_key,
        )

    async def create_organization(
        self, new: NewOrganization | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Organization:
        """Make an organisation, whose owner you are."""
        return await self._client.send(
            "POST", "/v1/organizations", {}, Organization, json=new, idempotency_key=idempotency_key
        )

    async def create_passkey(
        self, new: NewPasskey | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> MadePasskey:
        """Register a passkey with what the browser made: from now on a password alone is not enough."""
        return await self._client.send(
            "POST",
            "/v1/users/me/passkeys",
            {},
            MadePasskey,
            json=new,
            idempotency_key=idempotency_key,
        )

    async def create_passkey_session(
        self, given: PasskeyLogin | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Tokens:
        """Log in with a passkey, and no address or password. Emits users.session.created."""
        return await self._client.send(
            "POST", "/v1/sessions/passkey", {}, Tokens, json=given, idempotency_key=idempotency_key
        )

    async def create_recovery_codes(
        self, given: FactorProof | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> RecoveryCodes:
        """Get other recovery codes for a code; the former hold no more."""
        return await self._client.send(
            "POST",
            "/v1/users/me/recovery_codes",
            {},
            RecoveryCodes,
            json=given,
            idempotency_key=idempotency_key,
        )

    async def create_role(
        self, new: NewRole | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Role:
        """Make a role of scopes that you hold yourself. Emits users.role.created."""
        return await self._client.send(
            "POST", "/v1/roles", {}, Role, json=new, idempotency_key=idempotency_key
        )

    async def create_session(
        self, login: Login | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Tokens:
        """Log in. Emits users.session.created."""
        return await self._client.send(
            "POST", "/v1/sessions", {}, Tokens, json=login, idempotency_key=idempotency_key
        )

    async def create_stream_token(self, *, idempotency_key: str | None = None) -> StreamToken:
        """Make a token that opens a stream where no header can be sent, as by ``EventSource``."""
        return await self._client.send(
            "POST", "/v1/stream_tokens", {}, StreamToken, idempotency_key=idempotency_key
        )

    async def create_totp(self, *, idempotency_key: str | None = None) -> TotpEnrolment:
        """Enrol an authenticator app (RFC 6238); the secret is shown this once."""
        return await self._client.send(
            "POST", "/v1/users/me/totp", {}, TotpEnrolment, idempotency_key=idempotency_key
        )

    async def create(
        self, new: NewUser | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> User:
        """Sign up. A mail to prove the address is on its way. Emits users.user.created."""
        return await self._client.send(
            "POST", "/v1/users", {}, User, json=new, idempotency_key=idempotency_key
        )

    async def create_user_authorization(
        self, given: Decision | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> WayBack:
        """Let another application log you in, from the product's own page (``oauth_log_in_page``)."""
        return await self._client.send(
            "POST",
            "/v1/users/me/authorizations",
            {},
            WayBack,
            json=given,
            idempotency_key=idempotency_key,
        )

    async def decline_invitation(
        self, given: InvitationProof | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Decline an invitation: with the mailed token nobody need log in."""
        await self._client.send(
            "POST", "/v1/invitations:decline", {}, None, json=given, idempotency_key=idempotency_key
        )

    async def delete_api_key(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Revoke an API key and every key made with it; before this is answered they hold no more."""
        await self._client.send(
            "DELETE",
            "/v1/api_keys/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def delete_authorization(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Take back what you let an application have: its tokens hold no more."""
        await self._client.send(
            "DELETE",
            "/v1/users/me/authorizations/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def delete_identity(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Log in with this issuer no more; another way in must be left. Emits users.identity.unlinked."""
        await self._client.send(
            "DELETE",
            "/v1/users/me/identities/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def delete_invitation(
        self,
        organization_id: str,
        id: str,
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Take an invitation back. Emits users.invitation.revoked."""
        await self._client.send(
            "DELETE",
            "/v1/organizations/{organization_id}/invitations/{id}",
            {"organization_id": organization_id, "id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def delete_me(
        self,
        *,
        erase: bool | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Delete yourself, with all sessions and keys. Emits users.user.deleted, users.user.erased."""
        await self._client.send(
            "DELETE",
            "/v1/users/me",
            {},
            None,
            query={"erase": erase},
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def delete_member(
        self,
        organization_id: str,
        id: str,
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Remove a member, or leave. No rule takes them for a member once this is answered."""
        await self._client.send(
            "DELETE",
            "/v1/organizations/{organization_id}/members/{id}",
            {"organization_id": organization_id, "id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def delete_oauth_client(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Remove an application, with all its tokens. Emits users.oauth_client.deleted."""
        await self._client.send(
            "DELETE",
            "/v1/oauth_clients/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def delete_organization(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Delete an organisation as its owner: nobody is its member when this is answered."""
        await self._client.send(
            "DELETE",
            "/v1/organizations/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def delete_passkey(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Take a passkey away; another way in must be left."""
        await self._client.send(
            "DELETE",
            "/v1/users/me/passkeys/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def delete_role(
        self, name: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Delete a role and take it from everyone who holds it. Emits users.role.deleted."""
        await self._client.send(
            "DELETE",
            "/v1/roles/{name}",
            {"name": name},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def delete_session(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Log out; before this is answered the session's tokens hold no more."""
        await self._client.send(
            "DELETE",
            "/v1/sessions/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def delete_sessions(
        self, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Log out everywhere, here too. Emits users.session.revoked for each session."""
        await self._client.send(
            "DELETE", "/v1/sessions", {}, None, if_match=if_match, idempotency_key=idempotency_key
        )

    async def delete(
        self,
        id: str,
        *,
        erase: bool | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Delete a user who may do no more than you, with all sessions and keys."""
        await self._client.send(
            "DELETE",
            "/v1/users/{id}",
            {"id": id},
            None,
            query={"erase": erase},
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def disable_totp(
        self, given: FactorProof | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Log in without the authenticator app from now on; a code of it or a recovery code allows it."""
        await self._client.send(
            "POST",
            "/v1/users/me/totp:disable",
            {},
            None,
            json=given,
            idempotency_key=idempotency_key,
        )

    async def disable(
        self, id: str, given: Disabling | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> User | None:
        """Let a user who may do no more than you do nothing until you enable it again."""
        return await self._client.send(
            "POST",
            "/v1/users/{id}:disable",
            {"id": id},
            User,
            json=given,
            idempotency_key=idempotency_key,
        )

    async def enable(self, id: str, *, idempotency_key: str | None = None) -> User | None:
        """Let a user log in again who was disabled. Emits users.user.enabled."""
        return await self._client.send(
            "POST", "/v1/users/{id}:enable", {"id": id}, User, idempotency_key=idempotency_key
        )

    async def get_api_key(self, id: str) -> ApiKey:
        """Read what is known of an API key; the key itself is not."""
        return await self._client.send("GET", "/v1/api_keys/{id}", {"id": id}, ApiKey)

    async def get_authorization_server(self) -> ProviderMetadata:
        """Say the same to clients of OAuth 2.0 that ask there (RFC 8414)."""
        return await self._client.send(
            "GET", "/.well-known/oauth-authorization-server", {}, ProviderMetadata
        )

    async def get_factors(self) -> Factors:
        """Read what a log-in of yours takes beside the first factor."""
        return await self._client.send("GET", "/v1/users/me/factors", {}, Factors)

    async def get_jwks(self) -> Jwks:
        """Read the public keys that access tokens are signed with (RFC 7517)."""
        return await self._client.send("GET", "/.well-known/jwks.json", {}, Jwks)

    async def get_key_lineage(self, key_id: str) -> KeyLineage:
        """Read which keys a key was made with, and which end when it is revoked."""
        return await self._client.send(
            "GET", "/v1/api_keys/{key_id}/lineage", {"key_id": key_id}, KeyLineage
        )

    async def get_me(self) -> User:
        """Read yourself; with an API key, its owner."""
        return await self._client.send("GET", "/v1/users/me", {}, User)

    async def get_oauth_client(self, id: str) -> OAuthClient:
        """Read what is registered of an application; its secret is not."""
        return await self._client.send("GET", "/v1/oauth_clients/{id}", {"id": id}, OAuthClient)

    async def get_openid_configuration(self) -> ProviderMetadata:
        """Say what other applications need to know to log people in from here."""
        return await self._client.send(
            "GET", "/.well-known/openid-configuration", {}, ProviderMetadata
        )

    async def get_organization(self, id: str) -> Organization:
        """Read an organisation that you belong to. Those who may read users read any."""
        return await self._client.send("GET", "/v1/organizations/{id}", {"id": id}, Organization)

    async def get_role(self, name: str) -> Role:
        """Read a role."""
        return await self._client.send("GET", "/v1/roles/{name}", {"name": name}, Role)

    async def get_signing_keys(self) -> RsaKeys:
        """Read the keys that ID tokens verify with. Access tokens of the platform have others."""
        return await self._client.send("GET", "/oauth/jwks", {}, RsaKeys)

    async def get(self, id: str) -> User:
        """Read a user. Emits users.user.read once an hour for each reader and user."""
        return await self._client.send("GET", "/v1/users/{id}", {"id": id}, User)

    async def impersonate(
        self,
        id: str,
        given: Impersonating | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> ImpersonationToken:
        """Act as a user who may do no more than you and administrates nothing, for a short time."""
        return await self._client.send(
            "POST",
            "/v1/users/{id}:impersonate",
            {"id": id},
            ImpersonationToken,
            json=given,
            idempotency_key=idempotency_key,
        )

    async def import_users(
        self, batch: UserImport | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> ImportReport:
        """Make users who have passwords elsewhere; those that are well are made in one commit."""
        return await self._client.send(
            "POST",
            "/v1/users:import",
            {},
            ImportReport,
            json=batch,
            idempotency_key=idempotency_key,
        )

    def list_api_keys(self, *, limit: int | None = None) -> AsyncPages[ApiKey]:
        """List API keys, the oldest first: all with the scope api_keys:read, else your own."""
        return self._client.pages("/v1/api_keys", {}, ApiKey, {"limit": limit})

    def list_authorizations(self, *, limit: int | None = None) -> AsyncPages[Authorization]:
        """List what you let other applications have, the oldest first."""
        return self._client.pages(
            "/v1/users/me/authorizations", {}, Authorization, {"limit": limit}
        )

    def list_identities(self, *, limit: int | None = None) -> AsyncPages[LinkedIdentity]:
        """List the issuers you log in with."""
        return self._client.pages("/v1/users/me/identities", {}, LinkedIdentity, {"limit": limit})

    def list_impersonations(
        self, *, limit: int | None = None, user_id: str | None = None
    ) -> AsyncPages[ImpersonationInfo]:
        """List who acted as whom in the last 400 days, the oldest first."""
        return self._client.pages(
            "/v1/impersonations", {}, ImpersonationInfo, {"limit": limit, "user_id": user_id}
        )

    def list_invitations(
        self, organization_id: str, *, limit: int | None = None
    ) -> AsyncPages[Invitation]:
        """List the invitations that wait, as an owner or admin, or with the scope ``users:read``."""
        return self._client.pages(
            "/v1/organizations/{organization_id}/invitations",
            {"organization_id": organization_id},
            Invitation,
            {"limit": limit},
        )

    def list_members(self, organization_id: str, *, limit: int | None = None) -> AsyncPages[Member]:
        """List the members; owners and admins are shown their addresses."""
        return self._client.pages(
            "/v1/organizations/{organization_id}/members",
            {"organization_id": organization_id},
            Member,
            {"limit": limit},
        )

    def list_oauth_clients(self, *, limit: int | None = None) -> AsyncPages[OAuthClient]:
        """List the applications that are registered, the oldest first."""
        return self._client.pages("/v1/oauth_clients", {}, OAuthClient, {"limit": limit})

    def list_organizations(
        self, *, limit: int | None = None, all: bool | None = None
    ) -> AsyncPages[Organization]:
        """List the organisations that you belong to, the oldest first."""
        return self._client.pages(
            "/v1/organizations", {}, Organization, {"limit": limit, "all": all}
        )

    def list_own_invitations(self, *, limit: int | None = None) -> AsyncPages[OwnInvitation]:
        """List the invitations to your address; none while the address is not proved."""
        return self._client.pages("/v1/users/me/invitations", {}, OwnInvitation, {"limit": limit})

    def list_passkeys(self, *, limit: int | None = None) -> AsyncPages[Passkey]:
        """List your passkeys, the oldest first."""
        return self._client.pages("/v1/users/me/passkeys", {}, Passkey, {"limit": limit})

    def list_roles(self, *, limit: int | None = None) -> AsyncPages[Role]:
        """List roles by name."""
        return self._client.pages("/v1/roles", {}, Role, {"limit": limit})

    def list_sessions(self, *, limit: int | None = None) -> AsyncPages[Session]:
        """List your sessions, the oldest first."""
        return self._client.pages("/v1/sessions", {}, Session, {"limit": limit})

    def list(self, *, limit: int | None = None, email: str | None = None) -> AsyncPages[User]:
        """List users in the order they signed up, or find one by address."""
        return self._client.pages("/v1/users", {}, User, {"limit": limit, "email": email})

    async def magic_session(
        self, wish: LogInWish | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> LogInAsked:
        """Mail a link and a code to log in with, if somebody has signed up with the address."""
        return await self._client.send(
            "POST", "/v1/sessions/magic", {}, LogInAsked, json=wish, idempotency_key=idempotency_key
        )

    async def recover_api_key(
        self, wanted: Recovery | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Make the key with every scope that the machine itself asks for."""
        await self._client.send(
            "POST", "/v1/api_keys:recover", {}, None, json=wanted, idempotency_key=idempotency_key
        )

    async def redeem_log_in(
        self, proof: LogInProof | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Tokens:
        """Log in with the token of the link, or the request and its code; either ends both."""
        return await self._client.send(
            "POST",
            "/v1/sessions/magic:redeem",
            {},
            Tokens,
            json=proof,
            idempotency_key=idempotency_key,
        )

    async def refresh_session(
        self, given: RefreshRequest | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Tokens:
        """Trade the newest refresh token for the next one and a new access token."""
        return await self._client.send(
            "POST", "/v1/sessions/refresh", {}, Tokens, json=given, idempotency_key=idempotency_key
        )

    async def request_password_reset(
        self, request: ResetRequest | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Mail a token to the address if somebody has signed up with it; the answer does not tell."""
        await self._client.send(
            "POST",
            "/v1/users:request_password_reset",
            {},
            None,
            json=request,
            idempotency_key=idempotency_key,
        )

    async def resend_invitation(
        self, organization_id: str, id: str, *, idempotency_key: str | None = None
    ) -> None:
        """Mail an invitation once more, ever more seldom; it holds as long as a new one from now on."""
        await self._client.send(
            "POST",
            "/v1/organizations/{organization_id}/invitations/{id}:resend",
            {"organization_id": organization_id, "id": id},
            None,
            idempotency_key=idempotency_key,
        )

    async def reset_passkeys(self, user_id: str, *, idempotency_key: str | None = None) -> None:
        """Take away every passkey of a user who lost them."""
        await self._client.send(
            "POST",
            "/v1/users/{user_id}/passkeys:reset",
            {"user_id": user_id},
            None,
            idempotency_key=idempotency_key,
        )

    async def reset_password(
        self, reset: PasswordReset | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Set a password with the token that was mailed; every session and API key of the user ends."""
        await self._client.send(
            "POST",
            "/v1/users:reset_password",
            {},
            None,
            json=reset,
            idempotency_key=idempotency_key,
        )

    async def reset_totp(self, id: str, *, idempotency_key: str | None = None) -> None:
        """Let a user who lost the authenticator app log in without it."""
        await self._client.send(
            "POST", "/v1/users/{id}:reset_totp", {"id": id}, None, idempotency_key=idempotency_key
        )

    async def rotate_secret(
        self, id: str, *, idempotency_key: str | None = None
    ) -> OAuthClientSecret:
        """Give an application another secret; the former one ends. Emits users.oauth_client.updated."""
        return await self._client.send(
            "POST",
            "/v1/oauth_clients/{id}:rotate_secret",
            {"id": id},
            OAuthClientSecret,
            idempotency_key=idempotency_key,
        )

    async def send_verification(self, *, idempotency_key: str | None = None) -> None:
        """Mail the token that proves the address once more, at most once a minute."""
        await self._client.send(
            "POST", "/v1/users/me:send_verification", {}, None, idempotency_key=idempotency_key
        )

    async def step_up_session(
        self, id: str, given: StepUp | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> FreshToken:
        """Prove once more who you are, in the session that asks: dangerous acts want it to be recent."""
        return await self._client.send(
            "POST",
            "/v1/sessions/{id}:step_up",
            {"id": id},
            FreshToken,
            json=given,
            idempotency_key=idempotency_key,
        )

    async def stop_impersonation(self, id: str, *, idempotency_key: str | None = None) -> None:
        """End it before this is answered: whoever acts, by either token, and those with users:write."""
        await self._client.send(
            "POST",
            "/v1/impersonations/{id}:stop",
            {"id": id},
            None,
            idempotency_key=idempotency_key,
        )

    async def transfer_organization(
        self, id: str, transfer: Transfer | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Make another member the owner in your place; you are an admin from then on."""
        await self._client.send(
            "POST",
            "/v1/organizations/{id}:transfer",
            {"id": id},
            None,
            json=transfer,
            idempotency_key=idempotency_key,
        )

    async def undo_email_change(
        self, undo: EmailUndo | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Take back a change of address, with the token that was mailed to the former one."""
        await self._client.send(
            "POST",
            "/v1/users:undo_email_change",
            {},
            None,
            json=undo,
            idempotency_key=idempotency_key,
        )

    async def update_me(
        self,
        changes: OwnChanges | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> User:
        """Change your name. Emits users.user.updated."""
        return await self._client.send(
            "PATCH",
            "/v1/users/me",
            {},
            User,
            json=changes,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def update_member(
        self,
        organization_id: str,
        id: str,
        change: MemberChange | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Give a member another role. Owners give any; admins do not make or change owners and admins."""
        await self._client.send(
            "PATCH",
            "/v1/organizations/{organization_id}/members/{id}",
            {"organization_id": organization_id, "id": id},
            None,
            json=change,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def update_oauth_client(
        self,
        id: str,
        changes: OAuthClientChanges | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> OAuthClient | None:
        """Change an application of which you hold every scope. Emits users.oauth_client.updated."""
        return await self._client.send(
            "PATCH",
            "/v1/oauth_clients/{id}",
            {"id": id},
            OAuthClient,
            json=changes,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def update_organization(
        self,
        id: str,
        changes: NewOrganization | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Organization | None:
        """Rename an organisation as its owner or admin. Emits users.organization.updated."""
        return await self._client.send(
            "PATCH",
            "/v1/organizations/{id}",
            {"id": id},
            Organization,
            json=changes,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def update_passkey(
        self,
        id: str,
        changes: PasskeyChanges | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Passkey:
        """Call a passkey of yours otherwise."""
        return await self._client.send(
            "PATCH",
            "/v1/users/me/passkeys/{id}",
            {"id": id},
            Passkey,
            json=changes,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def update_role(
        self,
        name: str,
        changes: RoleChanges | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Role | None:
        """Give a role other scopes; its holders have them at once. Emits users.role.updated."""
        return await self._client.send(
            "PATCH",
            "/v1/roles/{name}",
            {"name": name},
            Role,
            json=changes,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def update(
        self,
        id: str,
        changes: UserChanges | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> User | None:
        """Change a user who may do no more than you. Emits users.user.updated."""
        return await self._client.send(
            "PATCH",
            "/v1/users/{id}",
            {"id": id},
            User,
            json=changes,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    async def verify_email(
        self, given: EmailProof | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Prove an address with the token that was mailed to it. Emits users.user.updated."""
        await self._client.send(
            "POST", "/v1/users:verify_email", {}, None, json=given, idempotency_key=idempotency_key
        )
