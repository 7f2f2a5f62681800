"""The operations of users. Made of the declarations by ``make clients``: edit those."""

from collections.abc import Mapping
from typing import Any

from mainspring.client.client import Client, Pages
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


class Users:
    """The operations of users."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def accept_invitation(
        self, given: InvitationProof | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Organization:
        """Join the organisation that invited your address, which must be proved. It holds once.

        Emits users.member.added.

        ``POST /v1/invitations:accept``
        """
        return self._client.send(
            "POST",
            "/v1/invitations:accept",
            {},
            Organization,
            json=given,
            idempotency_key=idempotency_key,
        )

    def begin_passkey(self, *, idempotency_key: str | None = None) -> PasskeyOptions:
        """Get the options with which the browser makes a passkey of yours, within five minutes.

        Where you have a second factor, the session must have been proved by it (step_up_required).

        ``POST /v1/users/me/passkeys:begin``
        """
        return self._client.send(
            "POST",
            "/v1/users/me/passkeys:begin",
            {},
            PasskeyOptions,
            idempotency_key=idempotency_key,
        )

    def begin_passkey_login(
        self, wish: PasskeyWish | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> PasskeyOptions:
        """Get the options with which a passkey logs somebody in, within five minutes.

        With the ``challenge`` of factor_required, or logged in, they are for a passkey of that user as
        a second factor: for POST /v1/sessions:complete, a step-up, or what else takes a factor.

        ``POST /v1/passkeys:begin``
        """
        return self._client.send(
            "POST",
            "/v1/passkeys:begin",
            {},
            PasskeyOptions,
            json=wish,
            idempotency_key=idempotency_key,
        )

    def change_email(
        self, change: EmailChange | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Ask for another address: it counts once the token mailed to it proves that you read it.

        Where somebody has the address already, the answer is the same, and the mail says so to them.

        ``POST /v1/users/me:change_email``
        """
        self._client.send(
            "POST",
            "/v1/users/me:change_email",
            {},
            None,
            json=change,
            idempotency_key=idempotency_key,
        )

    def change_password(
        self, change: PasswordChange | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Change your password; your other sessions and your API keys end.

        With ``keep_api_keys`` the keys stay. Emits users.password.changed.

        ``POST /v1/users/me:change_password``
        """
        self._client.send(
            "POST",
            "/v1/users/me:change_password",
            {},
            None,
            json=change,
            idempotency_key=idempotency_key,
        )

    def complete_login(
        self, given: LoginCode | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Tokens:
        """Log in with the code that the browser brought back. Emits users.session.created.

        Who is new there and here signs up with it. An account of the same address is entered only
        where the issuer has verified the address and the account has proved it: else link_required.
        Emits users.user.created, users.identity.linked.

        ``POST /v1/logins:complete``
        """
        return self._client.send(
            "POST", "/v1/logins:complete", {}, Tokens, json=given, idempotency_key=idempotency_key
        )

    def complete_session(
        self, given: SecondStep | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Tokens:
        """Log in with the second factor, after factor_required. Emits users.session.created.

        The challenge holds for five minutes, also after a wrong code; these are counted. After five in
        a row the user waits, up to a quarter of an hour.

        ``POST /v1/sessions:complete``
        """
        return self._client.send(
            "POST", "/v1/sessions:complete", {}, Tokens, json=given, idempotency_key=idempotency_key
        )

    def confirm_totp(
        self, given: TotpCode | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> RecoveryCodes:
        """Confirm the authenticator app with a code of it: from now on a log-in takes one.

        The recovery codes are shown this once. Emits users.totp.enabled.

        ``POST /v1/users/me/totp:confirm``
        """
        return self._client.send(
            "POST",
            "/v1/users/me/totp:confirm",
            {},
            RecoveryCodes,
            json=given,
            idempotency_key=idempotency_key,
        )

    def create_api_key(
        self, new: NewApiKey | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> MadeApiKey:
        """Make an API key; the key itself is shown this once. Emits users.api_key.created.

        It never does more than its maker may, now or later, and ends with its maker: a key when that
        key expires or is revoked, and everything a user made when the user goes or resets the password.
        A user who gives it a wide scope (``*``, ``service:*``, or to write users, roles or API keys)
        must have logged in, or stepped up, within 15 minutes: step_up_required.

        ``POST /v1/api_keys``
        """
        return self._client.send(
            "POST", "/v1/api_keys", {}, MadeApiKey, json=new, idempotency_key=idempotency_key
        )

    def create_identity(
        self, given: LoginCode | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> LinkedIdentity:
        """Link yourself at an issuer, with the code that the browser brought back.

        Emits users.identity.linked.

        ``POST /v1/users/me/identities``
        """
        return self._client.send(
            "POST",
            "/v1/users/me/identities",
            {},
            LinkedIdentity,
            json=given,
            idempotency_key=idempotency_key,
        )

    def create_invitation(
        self,
        organization_id: str,
        new: NewInvitation | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> Invitation:
        """Invite whoever reads an address, by mail; the answer does not tell who has an account.

        It holds while you may invite, for ``invitation_s`` of the settings. Emits
        users.invitation.created.

        ``POST /v1/organizations/{organization_id}/invitations``
        """
        return self._client.send(
            "POST",
            "/v1/organizations/{organization_id}/invitations",
            {"organization_id": organization_id},
            Invitation,
            json=new,
            idempotency_key=idempotency_key,
        )

    def create_link(
        self, new: NewLogin | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> BegunLogin:
        """Begin to link yourself at an issuer to your account, as POST /v1/logins begins a log-in.

        ``POST /v1/users/me/logins``
        """
        return self._client.send(
            "POST", "/v1/users/me/logins", {}, BegunLogin, json=new, idempotency_key=idempotency_key
        )

    def create_login(
        self, new: NewLogin | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> BegunLogin:
        """Begin a log-in with an issuer that the settings name: send the browser to ``url``.

        It comes back to ``redirect_uri`` with a ``code``, or an ``error``, and your ``state``.

        ``POST /v1/logins``
        """
        return self._client.send(
            "POST", "/v1/logins", {}, BegunLogin, json=new, idempotency_key=idempotency_key
        )

    def create_oauth_client(
        self, new: NewOAuthClient | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> MadeOAuthClient:
        """Register an application; its secret is shown this once. Emits users.oauth_client.created.

        It never has more than its scopes, more than the user let it have, or more than the user holds.

        ``POST /v1/oauth_clients``
        """
        return self._client.send(
            "POST",
            "/v1/oauth_clients",
            {},
            MadeOAuthClient,
            json=new,
            idempotency_key=idempotency_key,
        )

    def create_organization(
        self, new: NewOrganization | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Organization:
        """Make an organisation, whose owner you are.

        Emits users.organization.created, users.member.added.

        ``POST /v1/organizations``
        """
        return self._client.send(
            "POST", "/v1/organizations", {}, Organization, json=new, idempotency_key=idempotency_key
        )

    def create_passkey(
        self, new: NewPasskey | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> MadePasskey:
        """Register a passkey with what the browser made: from now on a password alone is not enough.

        Recovery codes come with it where you have none; they are shown this once. You are told by mail.
        Emits users.passkey.created.

        ``POST /v1/users/me/passkeys``
        """
        return self._client.send(
            "POST",
            "/v1/users/me/passkeys",
            {},
            MadePasskey,
            json=new,
            idempotency_key=idempotency_key,
        )

    def create_passkey_session(
        self, given: PasskeyLogin | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Tokens:
        """Log in with a passkey, and no address or password. Emits users.session.created.

        It has verified its user, so that it is two factors in one. One that counts how often it signs,
        and goes back, is refused; its owner is told by mail, and by users.passkey.refused.

        ``POST /v1/sessions/passkey``
        """
        return self._client.send(
            "POST", "/v1/sessions/passkey", {}, Tokens, json=given, idempotency_key=idempotency_key
        )

    def create_recovery_codes(
        self, given: FactorProof | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> RecoveryCodes:
        """Get other recovery codes for a code; the former hold no more.

        Emits users.recovery_codes.created.

        ``POST /v1/users/me/recovery_codes``
        """
        return self._client.send(
            "POST",
            "/v1/users/me/recovery_codes",
            {},
            RecoveryCodes,
            json=given,
            idempotency_key=idempotency_key,
        )

    def create_role(
        self, new: NewRole | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Role:
        """Make a role of scopes that you hold yourself. Emits users.role.created.

        ``POST /v1/roles``
        """
        return self._client.send(
            "POST", "/v1/roles", {}, Role, json=new, idempotency_key=idempotency_key
        )

    def create_session(
        self, login: Login | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Tokens:
        """Log in. Emits users.session.created.

        Who has a second factor hears factor_required, with a challenge for POST /v1/sessions:complete.

        A wrong password and an unknown address are answered alike, and counted; after five in a row the
        address waits, up to a quarter of an hour.

        ``POST /v1/sessions``
        """
        return self._client.send(
            "POST", "/v1/sessions", {}, Tokens, json=login, idempotency_key=idempotency_key
        )

    def create_stream_token(self, *, idempotency_key: str | None = None) -> StreamToken:
        """Make a token that opens a stream where no header can be sent, as by ``EventSource``.

        It is good for streams only, as ``?stream_token=…``, and has to be used within a minute. What it
        opened lasts, and may do, as long and as much as what you came with: your access token or key.

        ``POST /v1/stream_tokens``
        """
        return self._client.send(
            "POST", "/v1/stream_tokens", {}, StreamToken, idempotency_key=idempotency_key
        )

    def create_totp(self, *, idempotency_key: str | None = None) -> TotpEnrolment:
        """Enrol an authenticator app (RFC 6238); the secret is shown this once.

        It counts once a code of it confirms that the app has it. One that was not confirmed is
        replaced.

        ``POST /v1/users/me/totp``
        """
        return self._client.send(
            "POST", "/v1/users/me/totp", {}, TotpEnrolment, idempotency_key=idempotency_key
        )

    def create(
        self, new: NewUser | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> User:
        """Sign up. A mail to prove the address is on its way. Emits users.user.created.

        Where somebody has the address already, the answer is the same and nobody is made; the mail says
        so to whoever reads it. Those with the scope users:write are told: EmailTaken.

        ``POST /v1/users``
        """
        return self._client.send(
            "POST", "/v1/users", {}, User, json=new, idempotency_key=idempotency_key
        )

    def create_user_authorization(
        self, given: Decision | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> WayBack:
        """Let another application log you in, from the product's own page (``oauth_log_in_page``).

        Where you have not said yet what it may have, and do not now, that is consent_required. Where
        it wants a newer log-in than yours, step_up_required. Emits users.oauth_consent.granted.

        ``POST /v1/users/me/authorizations``
        """
        return self._client.send(
            "POST",
            "/v1/users/me/authorizations",
            {},
            WayBack,
            json=given,
            idempotency_key=idempotency_key,
        )

    def decline_invitation(
        self, given: InvitationProof | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Decline an invitation: with the mailed token nobody need log in.

        Emits users.invitation.declined.

        ``POST /v1/invitations:decline``
        """
        self._client.send(
            "POST", "/v1/invitations:decline", {}, None, json=given, idempotency_key=idempotency_key
        )

    def delete_api_key(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Revoke an API key and every key made with it; before this is answered they hold no more.

        Your own, and those made with it; of others those that do no more than you. Emits
        users.api_key.revoked for each.

        ``DELETE /v1/api_keys/{id}``
        """
        self._client.send(
            "DELETE",
            "/v1/api_keys/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def delete_authorization(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Take back what you let an application have: its tokens hold no more.

        It asks again at your next log-in there. Emits users.oauth_consent.revoked.

        ``DELETE /v1/users/me/authorizations/{id}``
        """
        self._client.send(
            "DELETE",
            "/v1/users/me/authorizations/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def delete_identity(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Log in with this issuer no more; another way in must be left. Emits users.identity.unlinked.

        Sessions that began with it go on.

        ``DELETE /v1/users/me/identities/{id}``
        """
        self._client.send(
            "DELETE",
            "/v1/users/me/identities/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def delete_invitation(
        self,
        organization_id: str,
        id: str,
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Take an invitation back. Emits users.invitation.revoked.

        ``DELETE /v1/organizations/{organization_id}/invitations/{id}``
        """
        self._client.send(
            "DELETE",
            "/v1/organizations/{organization_id}/invitations/{id}",
            {"organization_id": organization_id, "id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def delete_me(
        self,
        *,
        erase: bool | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Delete yourself, with all sessions and keys. Emits users.user.deleted, users.user.erased.

        ``DELETE /v1/users/me``
        """
        self._client.send(
            "DELETE",
            "/v1/users/me",
            {},
            None,
            query={"erase": erase},
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def delete_member(
        self,
        organization_id: str,
        id: str,
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Remove a member, or leave. No rule takes them for a member once this is answered.

        The last owner hands the organisation over first, or deletes it. Emits users.member.removed.

        ``DELETE /v1/organizations/{organization_id}/members/{id}``
        """
        self._client.send(
            "DELETE",
            "/v1/organizations/{organization_id}/members/{id}",
            {"organization_id": organization_id, "id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def delete_oauth_client(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Remove an application, with all its tokens. Emits users.oauth_client.deleted.

        ``DELETE /v1/oauth_clients/{id}``
        """
        self._client.send(
            "DELETE",
            "/v1/oauth_clients/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def delete_organization(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Delete an organisation as its owner: nobody is its member when this is answered.

        Records that point at it go or let go, as their fields say. Emits users.member.removed for each
        member, users.organization.deleted.

        ``DELETE /v1/organizations/{id}``
        """
        self._client.send(
            "DELETE",
            "/v1/organizations/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def delete_passkey(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Take a passkey away; another way in must be left.

        The session must have been proved by a second factor (step_up_required). With the last one, and
        no authenticator app, the recovery codes end. Emits users.passkey.deleted.

        ``DELETE /v1/users/me/passkeys/{id}``
        """
        self._client.send(
            "DELETE",
            "/v1/users/me/passkeys/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def delete_role(
        self, name: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Delete a role and take it from everyone who holds it. Emits users.role.deleted.

        ``DELETE /v1/roles/{name}``
        """
        self._client.send(
            "DELETE",
            "/v1/roles/{name}",
            {"name": name},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def delete_session(
        self, id: str, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Log out; before this is answered the session's tokens hold no more.

        Those with the scope users:write end the sessions of others. Emits users.session.revoked.

        ``DELETE /v1/sessions/{id}``
        """
        self._client.send(
            "DELETE",
            "/v1/sessions/{id}",
            {"id": id},
            None,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def delete_sessions(
        self, *, if_match: str | None = None, idempotency_key: str | None = None
    ) -> None:
        """Log out everywhere, here too. Emits users.session.revoked for each session.

        ``DELETE /v1/sessions``
        """
        self._client.send(
            "DELETE", "/v1/sessions", {}, None, if_match=if_match, idempotency_key=idempotency_key
        )

    def delete(
        self,
        id: str,
        *,
        erase: bool | None = None,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Delete a user who may do no more than you, with all sessions and keys.

        With ``erase`` the person's key is destroyed as well, also when the user was deleted before:
        then what the user held at that time counts.
        Emits users.user.deleted, users.user.erased.

        ``DELETE /v1/users/{id}``
        """
        self._client.send(
            "DELETE",
            "/v1/users/{id}",
            {"id": id},
            None,
            query={"erase": erase},
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def disable_totp(
        self, given: FactorProof | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Log in without the authenticator app from now on; a code of it or a recovery code allows it.

        Emits users.totp.disabled.

        ``POST /v1/users/me/totp:disable``
        """
        self._client.send(
            "POST",
            "/v1/users/me/totp:disable",
            {},
            None,
            json=given,
            idempotency_key=idempotency_key,
        )

    def disable(
        self, id: str, given: Disabling | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> User | None:
        """Let a user who may do no more than you do nothing until you enable it again.

        Before this is answered no session, token, API key, stream or job of theirs holds. Sessions end;
        API keys hold again with their user, and records stay. Log-in says so (account_disabled) to who
        proves to be the user, and to nobody else. Emits users.user.disabled, users.session.revoked.

        ``POST /v1/users/{id}:disable``
        """
        return self._client.send(
            "POST",
            "/v1/users/{id}:disable",
            {"id": id},
            User,
            json=given,
            idempotency_key=idempotency_key,
        )

    def enable(self, id: str, *, idempotency_key: str | None = None) -> User | None:
        """Let a user log in again who was disabled. Emits users.user.enabled.

        ``POST /v1/users/{id}:enable``
        """
        return self._client.send(
            "POST", "/v1/users/{id}:enable", {"id": id}, User, idempotency_key=idempotency_key
        )

    def get_api_key(self, id: str) -> ApiKey:
        """Read what is known of an API key; the key itself is not.

        ``GET /v1/api_keys/{id}``
        """
        return self._client.send("GET", "/v1/api_keys/{id}", {"id": id}, ApiKey)

    def get_authorization_server(self) -> ProviderMetadata:
        """Say the same to clients of OAuth 2.0 that ask there (RFC 8414).

        ``GET /.well-known/oauth-authorization-server``
        """
        return self._client.send(
            "GET", "/.well-known/oauth-authorization-server", {}, ProviderMetadata
        )

    def get_factors(self) -> Factors:
        """Read what a log-in of yours takes beside the first factor.

        ``GET /v1/users/me/factors``
        """
        return self._client.send("GET", "/v1/users/me/factors", {}, Factors)

    def get_jwks(self) -> Jwks:
        """Read the public keys that access tokens are signed with (RFC 7517).

        ``GET /.well-known/jwks.json``
        """
        return self._client.send("GET", "/.well-known/jwks.json", {}, Jwks)

    def get_key_lineage(self, key_id: str) -> KeyLineage:
        """Read which keys a key was made with, and which end when it is revoked.

        ``GET /v1/api_keys/{key_id}/lineage``
        """
        return self._client.send(
            "GET", "/v1/api_keys/{key_id}/lineage", {"key_id": key_id}, KeyLineage
        )

    def get_me(self) -> User:
        """Read yourself; with an API key, its owner.

        ``GET /v1/users/me``
        """
        return self._client.send("GET", "/v1/users/me", {}, User)

    def get_oauth_client(self, id: str) -> OAuthClient:
        """Read what is registered of an application; its secret is not.

        ``GET /v1/oauth_clients/{id}``
        """
        return self._client.send("GET", "/v1/oauth_clients/{id}", {"id": id}, OAuthClient)

    def get_openid_configuration(self) -> ProviderMetadata:
        """Say what other applications need to know to log people in from here.

        There is nothing unless ``[users] url`` says where the platform is reached.

        ``GET /.well-known/openid-configuration``
        """
        return self._client.send("GET", "/.well-known/openid-configuration", {}, ProviderMetadata)

    def get_organization(self, id: str) -> Organization:
        """Read an organisation that you belong to. Those who may read users read any.

        ``GET /v1/organizations/{id}``
        """
        return self._client.send("GET", "/v1/organizations/{id}", {"id": id}, Organization)

    def get_role(self, name: str) -> Role:
        """Read a role.

        ``GET /v1/roles/{name}``
        """
        return self._client.send("GET", "/v1/roles/{name}", {"name": name}, Role)

    def get_signing_keys(self) -> RsaKeys:
        """Read the keys that ID tokens verify with. Access tokens of the platform have others.

        ``GET /oauth/jwks``
        """
        return self._client.send("GET", "/oauth/jwks", {}, RsaKeys)

    def get(self, id: str) -> User:
        """Read a user. Emits users.user.read once an hour for each reader and user.

        ``GET /v1/users/{id}``
        """
        return self._client.send("GET", "/v1/users/{id}", {"id": id}, User)

    def impersonate(
        self,
        id: str,
        given: Impersonating | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
    ) -> ImpersonationToken:
        """Act as a user who may do no more than you and administrates nothing, for a short time.

        Only people do, who logged in recently. You see what the user sees, and change nothing unless
        you said ``write``; what is about the account itself is refused, and so is what shows a secret.
        Whatever happens then names both of you. The user is told by mail. It ends with your session.
        Emits users.impersonation.started.

        ``POST /v1/users/{id}:impersonate``
        """
        return self._client.send(
            "POST",
            "/v1/users/{id}:impersonate",
            {"id": id},
            ImpersonationToken,
            json=given,
            idempotency_key=idempotency_key,
        )

    def import_users(
        self, batch: UserImport | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> ImportReport:
        """Make users who have passwords elsewhere; those that are well are made in one commit.

        The first log-in stores the password anew, as Argon2id. Nobody is mailed. Doing it again makes
        nobody twice. Emits users.user.created for each.

        ``POST /v1/users:import``
        """
        return self._client.send(
            "POST",
            "/v1/users:import",
            {},
            ImportReport,
            json=batch,
            idempotency_key=idempotency_key,
        )

    def list_api_keys(self, *, limit: int | None = None) -> Pages[ApiKey]:
        """List API keys, the oldest first: all with the scope api_keys:read, else your own.

        A key that belongs to no user lists those that were made with it.

        ``GET /v1/api_keys``
        """
        return self._client.pages("/v1/api_keys", {}, ApiKey, {"limit": limit})

    def list_authorizations(self, *, limit: int | None = None) -> Pages[Authorization]:
        """List what you let other applications have, the oldest first.

        ``GET /v1/users/me/authorizations``
        """
        return self._client.pages(
            "/v1/users/me/authorizations", {}, Authorization, {"limit": limit}
        )

    def list_identities(self, *, limit: int | None = None) -> Pages[LinkedIdentity]:
        """List the issuers you log in with.

        ``GET /v1/users/me/identities``
        """
        return self._client.pages("/v1/users/me/identities", {}, LinkedIdentity, {"limit": limit})

    def list_impersonations(
        self, *, limit: int | None = None, user_id: str | None = None
    ) -> Pages[ImpersonationInfo]:
        """List who acted as whom in the last 400 days, the oldest first.

        ``GET /v1/impersonations``
        """
        return self._client.pages(
            "/v1/impersonations", {}, ImpersonationInfo, {"limit": limit, "user_id": user_id}
        )

    def list_invitations(
        self, organization_id: str, *, limit: int | None = None
    ) -> Pages[Invitation]:
        """List the invitations that wait, as an owner or admin, or with the scope ``users:read``.

        ``GET /v1/organizations/{organization_id}/invitations``
        """
        return self._client.pages(
            "/v1/organizations/{organization_id}/invitations",
            {"organization_id": organization_id},
            Invitation,
            {"limit": limit},
        )

    def list_members(self, organization_id: str, *, limit: int | None = None) -> Pages[Member]:
        """List the members; owners and admins are shown their addresses.

        ``GET /v1/organizations/{organization_id}/members``
        """
        return self._client.pages(
            "/v1/organizations/{organization_id}/members",
            {"organization_id": organization_id},
            Member,
            {"limit": limit},
        )

    def list_oauth_clients(self, *, limit: int | None = None) -> Pages[OAuthClient]:
        """List the applications that are registered, the oldest first.

        ``GET /v1/oauth_clients``
        """
        return self._client.pages("/v1/oauth_clients", {}, OAuthClient, {"limit": limit})

    def list_organizations(
        self, *, limit: int | None = None, all: bool | None = None
    ) -> Pages[Organization]:
        """List the organisations that you belong to, the oldest first.

        ``GET /v1/organizations``
        """
        return self._client.pages(
            "/v1/organizations", {}, Organization, {"limit": limit, "all": all}
        )

    def list_own_invitations(self, *, limit: int | None = None) -> Pages[OwnInvitation]:
        """List the invitations to your address; none while the address is not proved.

        ``GET /v1/users/me/invitations``
        """
        return self._client.pages("/v1/users/me/invitations", {}, OwnInvitation, {"limit": limit})

    def list_passkeys(self, *, limit: int | None = None) -> Pages[Passkey]:
        """List your passkeys, the oldest first.

        ``GET /v1/users/me/passkeys``
        """
        return self._client.pages("/v1/users/me/passkeys", {}, Passkey, {"limit": limit})

    def list_roles(self, *, limit: int | None = None) -> Pages[Role]:
        """List roles by name.

        ``GET /v1/roles``
        """
        return self._client.pages("/v1/roles", {}, Role, {"limit": limit})

    def list_sessions(self, *, limit: int | None = None) -> Pages[Session]:
        """List your sessions, the oldest first.

        ``GET /v1/sessions``
        """
        return self._client.pages("/v1/sessions", {}, Session, {"limit": limit})

    def list(self, *, limit: int | None = None, email: str | None = None) -> Pages[User]:
        """List users in the order they signed up, or find one by address.

        Emits users.user.listed, or users.user.read for the one that is found, once an hour.

        ``GET /v1/users``
        """
        return self._client.pages("/v1/users", {}, User, {"limit": limit, "email": email})

    def magic_session(
        self, wish: LogInWish | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> LogInAsked:
        """Mail a link and a code to log in with, if somebody has signed up with the address.

        The answer does not tell. The link works in any browser; the code only with the ``request`` that
        is answered here. Where `[users] log_in_links` is off it is refused.

        ``POST /v1/sessions/magic``
        """
        return self._client.send(
            "POST", "/v1/sessions/magic", {}, LogInAsked, json=wish, idempotency_key=idempotency_key
        )

    def recover_api_key(
        self, wanted: Recovery | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Make the key with every scope that the machine itself asks for.

        Only `mainspring admin key --recover` can: no key or user is a machine, whatever they hold.
        Emits users.api_key.created, users.api_key.recovered.

        ``POST /v1/api_keys:recover``
        """
        self._client.send(
            "POST", "/v1/api_keys:recover", {}, None, json=wanted, idempotency_key=idempotency_key
        )

    def redeem_log_in(
        self, proof: LogInProof | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Tokens:
        """Log in with the token of the link, or the request and its code; either ends both.

        Wrong codes are counted; after five in a row the address waits, up to a quarter of an hour. The
        address counts as proved. Where it was not before, whoever signed up with it may have been
        somebody else: the password, sessions and API keys of then hold no more. Emits
        users.session.created.

        ``POST /v1/sessions/magic:redeem``
        """
        return self._client.send(
            "POST",
            "/v1/sessions/magic:redeem",
            {},
            Tokens,
            json=proof,
            idempotency_key=idempotency_key,
        )

    def refresh_session(
        self, given: RefreshRequest | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Tokens:
        """Trade the newest refresh token for the next one and a new access token.

        The one before it is answered with the newest again for 10 s, so an answer that was lost or two
        refreshes at once do no harm. Any older one ends the session (users.session.revoked).

        ``POST /v1/sessions/refresh``
        """
        return self._client.send(
            "POST", "/v1/sessions/refresh", {}, Tokens, json=given, idempotency_key=idempotency_key
        )

    def request_password_reset(
        self, request: ResetRequest | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Mail a token to the address if somebody has signed up with it; the answer does not tell.

        ``POST /v1/users:request_password_reset``
        """
        self._client.send(
            "POST",
            "/v1/users:request_password_reset",
            {},
            None,
            json=request,
            idempotency_key=idempotency_key,
        )

    def resend_invitation(
        self, organization_id: str, id: str, *, idempotency_key: str | None = None
    ) -> None:
        """Mail an invitation once more, ever more seldom; it holds as long as a new one from now on.

        ``POST /v1/organizations/{organization_id}/invitations/{id}:resend``
        """
        self._client.send(
            "POST",
            "/v1/organizations/{organization_id}/invitations/{id}:resend",
            {"organization_id": organization_id, "id": id},
            None,
            idempotency_key=idempotency_key,
        )

    def reset_passkeys(self, user_id: str, *, idempotency_key: str | None = None) -> None:
        """Take away every passkey of a user who lost them.

        The user may do no more than you. Emits users.passkey.deleted.

        ``POST /v1/users/{user_id}/passkeys:reset``
        """
        self._client.send(
            "POST",
            "/v1/users/{user_id}/passkeys:reset",
            {"user_id": user_id},
            None,
            idempotency_key=idempotency_key,
        )

    def reset_password(
        self, reset: PasswordReset | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Set a password with the token that was mailed; every session and API key of the user ends.

        The address counts as proved. Emits users.password.changed.

        ``POST /v1/users:reset_password``
        """
        self._client.send(
            "POST",
            "/v1/users:reset_password",
            {},
            None,
            json=reset,
            idempotency_key=idempotency_key,
        )

    def reset_totp(self, id: str, *, idempotency_key: str | None = None) -> None:
        """Let a user who lost the authenticator app log in without it.

        The user may do no more than you. Emits users.totp.disabled.

        ``POST /v1/users/{id}:reset_totp``
        """
        self._client.send(
            "POST", "/v1/users/{id}:reset_totp", {"id": id}, None, idempotency_key=idempotency_key
        )

    def rotate_secret(self, id: str, *, idempotency_key: str | None = None) -> OAuthClientSecret:
        """Give an application another secret; the former one ends. Emits users.oauth_client.updated.

        Tokens that it has go on.

        ``POST /v1/oauth_clients/{id}:rotate_secret``
        """
        return self._client.send(
            "POST",
            "/v1/oauth_clients/{id}:rotate_secret",
            {"id": id},
            OAuthClientSecret,
            idempotency_key=idempotency_key,
        )

    def send_verification(self, *, idempotency_key: str | None = None) -> None:
        """Mail the token that proves the address once more, at most once a minute.

        ``POST /v1/users/me:send_verification``
        """
        self._client.send(
            "POST", "/v1/users/me:send_verification", {}, None, idempotency_key=idempotency_key
        )

    def step_up_session(
        self, id: str, given: StepUp | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> FreshToken:
        """Prove once more who you are, in the session that asks: dangerous acts want it to be recent.

        Give a code where a second factor is on, else the password; who has neither logs in anew. The
        session's refresh token stays as it is. Emits users.session.stepped_up.

        ``POST /v1/sessions/{id}:step_up``
        """
        return self._client.send(
            "POST",
            "/v1/sessions/{id}:step_up",
            {"id": id},
            FreshToken,
            json=given,
            idempotency_key=idempotency_key,
        )

    def stop_impersonation(self, id: str, *, idempotency_key: str | None = None) -> None:
        """End it before this is answered: whoever acts, by either token, and those with users:write.

        The user ends the session. Emits users.impersonation.ended, users.session.revoked.

        ``POST /v1/impersonations/{id}:stop``
        """
        self._client.send(
            "POST",
            "/v1/impersonations/{id}:stop",
            {"id": id},
            None,
            idempotency_key=idempotency_key,
        )

    def transfer_organization(
        self, id: str, transfer: Transfer | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Make another member the owner in your place; you are an admin from then on.

        Emits users.member.updated for both.

        ``POST /v1/organizations/{id}:transfer``
        """
        self._client.send(
            "POST",
            "/v1/organizations/{id}:transfer",
            {"id": id},
            None,
            json=transfer,
            idempotency_key=idempotency_key,
        )

    def undo_email_change(
        self, undo: EmailUndo | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Take back a change of address, with the token that was mailed to the former one.

        The former address counts again, with the password given here; every session and API key of the
        user ends, and so does what was mailed since. Emits users.user.updated, users.password.changed.

        ``POST /v1/users:undo_email_change``
        """
        self._client.send(
            "POST",
            "/v1/users:undo_email_change",
            {},
            None,
            json=undo,
            idempotency_key=idempotency_key,
        )

    def update_me(
        self,
        changes: OwnChanges | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> User:
        """Change your name. Emits users.user.updated.

        ``PATCH /v1/users/me``
        """
        return self._client.send(
            "PATCH",
            "/v1/users/me",
            {},
            User,
            json=changes,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def update_member(
        self,
        organization_id: str,
        id: str,
        change: MemberChange | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> None:
        """Give a member another role. Owners give any; admins do not make or change owners and admins.

        Emits users.member.updated.

        ``PATCH /v1/organizations/{organization_id}/members/{id}``
        """
        self._client.send(
            "PATCH",
            "/v1/organizations/{organization_id}/members/{id}",
            {"organization_id": organization_id, "id": id},
            None,
            json=change,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def update_oauth_client(
        self,
        id: str,
        changes: OAuthClientChanges | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> OAuthClient | None:
        """Change an application of which you hold every scope. Emits users.oauth_client.updated.

        A scope that is taken from it is gone from its tokens too, before this is answered.

        ``PATCH /v1/oauth_clients/{id}``
        """
        return self._client.send(
            "PATCH",
            "/v1/oauth_clients/{id}",
            {"id": id},
            OAuthClient,
            json=changes,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def update_organization(
        self,
        id: str,
        changes: NewOrganization | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Organization | None:
        """Rename an organisation as its owner or admin. Emits users.organization.updated.

        What owners may, those with the scope ``users:write`` may in every organisation.

        ``PATCH /v1/organizations/{id}``
        """
        return self._client.send(
            "PATCH",
            "/v1/organizations/{id}",
            {"id": id},
            Organization,
            json=changes,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def update_passkey(
        self,
        id: str,
        changes: PasskeyChanges | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Passkey:
        """Call a passkey of yours otherwise.

        ``PATCH /v1/users/me/passkeys/{id}``
        """
        return self._client.send(
            "PATCH",
            "/v1/users/me/passkeys/{id}",
            {"id": id},
            Passkey,
            json=changes,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def update_role(
        self,
        name: str,
        changes: RoleChanges | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> Role | None:
        """Give a role other scopes; its holders have them at once. Emits users.role.updated.

        The role is answered to those who may read roles, others hear 204.

        ``PATCH /v1/roles/{name}``
        """
        return self._client.send(
            "PATCH",
            "/v1/roles/{name}",
            {"name": name},
            Role,
            json=changes,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def update(
        self,
        id: str,
        changes: UserChanges | Mapping[str, Any],
        *,
        if_match: str | None = None,
        idempotency_key: str | None = None,
    ) -> User | None:
        """Change a user who may do no more than you. Emits users.user.updated.

        Another address must be proved anew. Roles are given and taken only by those who hold every
        scope the role gives. The user is answered to those who may read users, others hear 204.

        ``PATCH /v1/users/{id}``
        """
        return self._client.send(
            "PATCH",
            "/v1/users/{id}",
            {"id": id},
            User,
            json=changes,
            if_match=if_match,
            idempotency_key=idempotency_key,
        )

    def verify_email(
        self, given: EmailProof | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> None:
        """Prove an address with the token that was mailed to it. Emits users.user.updated.

        One that was asked for takes the place of the former, which is told and can undo it for a week;
        every session and API key of the user ends then.

        ``POST /v1/users:verify_email``
        """
        self._client.send(
            "POST", "/v1/users:verify_email", {}, None, json=given, idempotency_key=idempotency_key
        )
