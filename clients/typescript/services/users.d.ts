// Made of the declarations by `make clients`: edit those.

import type { Call, Change, Core, Write } from "../core.js";
import type { Pages } from "../service.js";
import type { ApiKey, Authorization, BegunLogin, Decision, Disabling, EmailChange, EmailProof, EmailUndo, FactorProof, Factors, FreshToken, Impersonating, ImpersonationInfo, ImpersonationToken, ImportReport, Invitation, InvitationProof, Jwks, KeyLineage, LinkedIdentity, LogInAsked, LogInProof, LogInWish, Login, LoginCode, MadeApiKey, MadeOAuthClient, MadePasskey, Member, MemberChange, NewApiKey, NewInvitation, NewLogin, NewOAuthClient, NewOrganization, NewPasskey, NewRole, NewUser, OAuthClient, OAuthClientChanges, OAuthClientSecret, Organization, OwnChanges, OwnInvitation, Passkey, PasskeyChanges, PasskeyLogin, PasskeyOptions, PasskeyWish, PasswordChange, PasswordReset, ProviderMetadata, Recovery, RecoveryCodes, RefreshRequest, ResetRequest, Role, RoleChanges, RsaKeys, SecondStep, Session, StepUp, StreamToken, Tokens, TotpCode, TotpEnrolment, Transfer, User, UserChanges, UserImport, WayBack } from "../types.js";

export interface Users {
  /**
   * Join the organisation that invited your address, which must be proved. It holds once.
   *
   * Emits users.member.added.
   *
   * `POST /v1/invitations:accept`
   */
  acceptInvitation(given?: InvitationProof, options?: Write): Promise<Organization>;
  /**
   * Get the options with which the browser makes a passkey of yours, within five minutes.
   *
   * Where you have a second factor, the session must have been proved by it (step_up_required).
   *
   * `POST /v1/users/me/passkeys:begin`
   */
  beginPasskey(options?: Write): Promise<PasskeyOptions>;
  /**
   * Get the options with which a passkey logs somebody in, within five minutes.
   *
   * With the `challenge` of factor_required, or logged in, they are for a passkey of that user as
   * a second factor: for POST /v1/sessions:complete, a step-up, or what else takes a factor.
   *
   * `POST /v1/passkeys:begin`
   */
  beginPasskeyLogin(wish?: PasskeyWish, options?: Write): Promise<PasskeyOptions>;
  /**
   * Ask for another address: it counts once the token mailed to it proves that you read it.
   *
   * Where somebody has the address already, the answer is the same, and the mail says so to them.
   *
   * `POST /v1/users/me:change_email`
   */
  changeEmail(change: EmailChange, options?: Write): Promise<undefined>;
  /**
   * Change your password; your other sessions and your API keys end.
   *
   * With `keep_api_keys` the keys stay. Emits users.password.changed.
   *
   * `POST /v1/users/me:change_password`
   */
  changePassword(change: PasswordChange, options?: Write): Promise<undefined>;
  /**
   * Log in with the code that the browser brought back. Emits users.session.created.
   *
   * Who is new there and here signs up with it. An account of the same address is entered only
   * where the issuer has verified the address and the account has proved it: else link_required.
   * Emits users.user.created, users.identity.linked.
   *
   * `POST /v1/logins:complete`
   */
  completeLogin(given: LoginCode, options?: Write): Promise<Tokens>;
  /**
   * Log in with the second factor, after factor_required. Emits users.session.created.
   *
   * The challenge holds for five minutes, also after a wrong code; these are counted. After five in
   * a row the user waits, up to a quarter of an hour.
   *
   * `POST /v1/sessions:complete`
   */
  completeSession(given: SecondStep, options?: Write): Promise<Tokens>;
  /**
   * Confirm the authenticator app with a code of it: from now on a log-in takes one.
   *
   * The recovery codes are shown this once. Emits users.totp.enabled.
   *
   * `POST /v1/users/me/totp:confirm`
   */
  confirmTotp(given: TotpCode, options?: Write): Promise<RecoveryCodes>;
  /**
   * Make an API key; the key itself is shown this once. Emits users.api_key.created.
   *
   * It never does more than its maker may, now or later, and ends with its maker: a key when that
   * key expires or is revoked, and everything a user made when the user goes or resets the password.
   * A user who gives it a wide scope (`*`, `service:*`, or to write users, roles or API keys)
   * must have logged in, or stepped up, within 15 minutes: step_up_required.
   *
   * `POST /v1/api_keys`
   */
  createApiKey(given: NewApiKey, options?: Write): Promise<MadeApiKey>;
  /**
   * Link yourself at an issuer, with the code that the browser brought back.
   *
   * Emits users.identity.linked.
   *
   * `POST /v1/users/me/identities`
   */
  createIdentity(given: LoginCode, options?: Write): Promise<LinkedIdentity>;
  /**
   * Invite whoever reads an address, by mail; the answer does not tell who has an account.
   *
   * It holds while you may invite, for `invitation_s` of the settings. Emits
   * users.invitation.created.
   *
   * `POST /v1/organizations/{organization_id}/invitations`
   */
  createInvitation(organizationId: string, given: NewInvitation, options?: Write): Promise<Invitation>;
  /**
   * Begin to link yourself at an issuer to your account, as POST /v1/logins begins a log-in.
   *
   * `POST /v1/users/me/logins`
   */
  createLink(given: NewLogin, options?: Write): Promise<BegunLogin>;
  /**
   * Begin a log-in with an issuer that the settings name: send the browser to `url`.
   *
   * It comes back to `redirect_uri` with a `code`, or an `error`, and your `state`.
   *
   * `POST /v1/logins`
   */
  createLogin(given: NewLogin, options?: Write): Promise<BegunLogin>;
  /**
   * Register an application; its secret is shown this once. Emits users.oauth_client.created.
   *
   * It never has more than its scopes, more than the user let it have, or more than the user holds.
   *
   * `POST /v1/oauth_clients`
   */
  createOauthClient(given: NewOAuthClient, options?: Write): Promise<MadeOAuthClient>;
  /**
   * Make an organisation, whose owner you are.
   *
   * Emits users.organization.created, users.member.added.
   *
   * `POST /v1/organizations`
   */
  createOrganization(given: NewOrganization, options?: Write): Promise<Organization>;
  /**
   * Register a passkey with what the browser made: from now on a password alone is not enough.
   *
   * Recovery codes come with it where you have none; they are shown this once. You are told by mail.
   * Emits users.passkey.created.
   *
   * `POST /v1/users/me/passkeys`
   */
  createPasskey(given: NewPasskey, options?: Write): Promise<MadePasskey>;
  /**
   * Log in with a passkey, and no address or password. Emits users.session.created.
   *
   * It has verified its user, so that it is two factors in one. One that counts how often it signs,
   * and goes back, is refused; its owner is told by mail, and by users.passkey.refused.
   *
   * `POST /v1/sessions/passkey`
   */
  createPasskeySession(given: PasskeyLogin, options?: Write): Promise<Tokens>;
  /**
   * Get other recovery codes for a code; the former hold no more.
   *
   * Emits users.recovery_codes.created.
   *
   * `POST /v1/users/me/recovery_codes`
   */
  createRecoveryCodes(given?: FactorProof, options?: Write): Promise<RecoveryCodes>;
  /**
   * Make a role of scopes that you hold yourself. Emits users.role.created.
   *
   * `POST /v1/roles`
   */
  createRole(given: NewRole, options?: Write): Promise<Role>;
  /**
   * Log in. Emits users.session.created.
   *
   * Who has a second factor hears factor_required, with a challenge for POST /v1/sessions:complete.
   *
   * A wrong password and an unknown address are answered alike, and counted; after five in a row the
   * address waits, up to a quarter of an hour.
   *
   * `POST /v1/sessions`
   */
  createSession(login: Login, options?: Write): Promise<Tokens>;
  /**
   * Make a token that opens a stream where no header can be sent, as by `EventSource`.
   *
   * It is good for streams only, as `?stream_token=…`, and has to be used within a minute. What it
   * opened lasts, and may do, as long and as much as what you came with: your access token or key.
   *
   * `POST /v1/stream_tokens`
   */
  createStreamToken(options?: Write): Promise<StreamToken>;
  /**
   * Enrol an authenticator app (RFC 6238); the secret is shown this once.
   *
   * It counts once a code of it confirms that the app has it. One that was not confirmed is
   * replaced.
   *
   * `POST /v1/users/me/totp`
   */
  createTotp(options?: Write): Promise<TotpEnrolment>;
  /**
   * Sign up. A mail to prove the address is on its way. Emits users.user.created.
   *
   * Where somebody has the address already, the answer is the same and nobody is made; the mail says
   * so to whoever reads it. Those with the scope users:write are told: EmailTaken.
   *
   * `POST /v1/users`
   */
  create(given: NewUser, options?: Write): Promise<User>;
  /**
   * Let another application log you in, from the product's own page (`oauth_log_in_page`).
   *
   * Where you have not said yet what it may have, and do not now, that is consent_required. Where
   * it wants a newer log-in than yours, step_up_required. Emits users.oauth_consent.granted.
   *
   * `POST /v1/users/me/authorizations`
   */
  createUserAuthorization(given: Decision, options?: Write): Promise<WayBack>;
  /**
   * Decline an invitation: with the mailed token nobody need log in.
   *
   * Emits users.invitation.declined.
   *
   * `POST /v1/invitations:decline`
   */
  declineInvitation(given?: InvitationProof, options?: Write): Promise<undefined>;
  /**
   * Revoke an API key and every key made with it; before this is answered they hold no more.
   *
   * Your own, and those made with it; of others those that do no more than you. Emits
   * users.api_key.revoked for each.
   *
   * `DELETE /v1/api_keys/{id}`
   */
  deleteApiKey(id: string, options?: Change): Promise<undefined>;
  /**
   * Take back what you let an application have: its tokens hold no more.
   *
   * It asks again at your next log-in there. Emits users.oauth_consent.revoked.
   *
   * `DELETE /v1/users/me/authorizations/{id}`
   */
  deleteAuthorization(id: string, options?: Change): Promise<undefined>;
  /**
   * Log in with this issuer no more; another way in must be left. Emits users.identity.unlinked.
   *
   * Sessions that began with it go on.
   *
   * `DELETE /v1/users/me/identities/{id}`
   */
  deleteIdentity(id: string, options?: Change): Promise<undefined>;
  /**
   * Take an invitation back. Emits users.invitation.revoked.
   *
   * `DELETE /v1/organizations/{organization_id}/invitations/{id}`
   */
  deleteInvitation(organizationId: string, id: string, options?: Change): Promise<undefined>;
  /**
   * Delete yourself, with all sessions and keys. Emits users.user.deleted, users.user.erased.
   *
   * `DELETE /v1/users/me`
   */
  deleteMe(options?: { erase?: boolean; } & Change): Promise<undefined>;
  /**
   * Remove a member, or leave. No rule takes them for a member once this is answered.
   *
   * The last owner hands the organisation over first, or deletes it. Emits users.member.removed.
   *
   * `DELETE /v1/organizations/{organization_id}/members/{id}`
   */
  deleteMember(organizationId: string, id: string, options?: Change): Promise<undefined>;
  /**
   * Remove an application, with all its tokens. Emits users.oauth_client.deleted.
   *
   * `DELETE /v1/oauth_clients/{id}`
   */
  deleteOauthClient(id: string, options?: Change): Promise<undefined>;
  /**
   * Delete an organisation as its owner: nobody is its member when this is answered.
   *
   * Records that point at it go or let go, as their fields say. Emits users.member.removed for each
   * member, users.organization.deleted.
   *
   * `DELETE /v1/organizations/{id}`
   */
  deleteOrganization(id: string, options?: Change): Promise<undefined>;
  /**
   * Take a passkey away; another way in must be left.
   *
   * The session must have been proved by a second factor (step_up_required). With the last one, and
   * no authenticator app, the recovery codes end. Emits users.passkey.deleted.
   *
   * `DELETE /v1/users/me/passkeys/{id}`
   */
  deletePasskey(id: string, options?: Change): Promise<undefined>;
  /**
   * Delete a role and take it from everyone who holds it. Emits users.role.deleted.
   *
   * `DELETE /v1/roles/{name}`
   */
  deleteRole(name: string, options?: Change): Promise<undefined>;
  /**
   * Log out; before this is answered the session's tokens hold no more.
   *
   * Those with the scope users:write end the sessions of others. Emits users.session.revoked.
   *
   * `DELETE /v1/sessions/{id}`
   */
  deleteSession(id: string, options?: Change): Promise<undefined>;
  /**
   * Log out everywhere, here too. Emits users.session.revoked for each session.
   *
   * `DELETE /v1/sessions`
   */
  deleteSessions(options?: Change): Promise<undefined>;
  /**
   * Delete a user who may do no more than you, with all sessions and keys.
   *
   * With `erase` the person's key is destroyed as well, also when the user was deleted before:
   * then what the user held at that time counts.
   * Emits users.user.deleted, users.user.erased.
   *
   * `DELETE /v1/users/{id}`
   */
  delete(id: string, options?: { erase?: boolean; } & Change): Promise<undefined>;
  /**
   * Log in without the authenticator app from now on; a code of it or a recovery code allows it.
   *
   * Emits users.totp.disabled.
   *
   * `POST /v1/users/me/totp:disable`
   */
  disableTotp(given?: FactorProof, options?: Write): Promise<undefined>;
  /**
   * Let a user who may do no more than you do nothing until you enable it again.
   *
   * Before this is answered no session, token, API key, stream or job of theirs holds. Sessions end;
   * API keys hold again with their user, and records stay. Log-in says so (account_disabled) to who
   * proves to be the user, and to nobody else. Emits users.user.disabled, users.session.revoked.
   *
   * `POST /v1/users/{id}:disable`
   */
  disable(id: string, given: Disabling, options?: Write): Promise<User | undefined>;
  /**
   * Let a user log in again who was disabled. Emits users.user.enabled.
   *
   * `POST /v1/users/{id}:enable`
   */
  enable(id: string, options?: Write): Promise<User | undefined>;
  /**
   * Read what is known of an API key; the key itself is not.
   *
   * `GET /v1/api_keys/{id}`
   */
  getApiKey(id: string, options?: Call): Promise<ApiKey>;
  /**
   * Say the same to clients of OAuth 2.0 that ask there (RFC 8414).
   *
   * `GET /.well-known/oauth-authorization-server`
   */
  getAuthorizationServer(options?: Call): Promise<ProviderMetadata>;
  /**
   * Read what a log-in of yours takes beside the first factor.
   *
   * `GET /v1/users/me/factors`
   */
  getFactors(options?: Call): Promise<Factors>;
  /**
   * Read the public keys that access tokens are signed with (RFC 7517).
   *
   * `GET /.well-known/jwks.json`
   */
  getJwks(options?: Call): Promise<Jwks>;
  /**
   * Read which keys a key was made with, and which end when it is revoked.
   *
   * `GET /v1/api_keys/{key_id}/lineage`
   */
  getKeyLineage(keyId: string, options?: Call): Promise<KeyLineage>;
  /**
   * Read yourself; with an API key, its owner.
   *
   * `GET /v1/users/me`
   */
  getMe(options?: Call): Promise<User>;
  /**
   * Read what is registered of an application; its secret is not.
   *
   * `GET /v1/oauth_clients/{id}`
   */
  getOauthClient(id: string, options?: Call): Promise<OAuthClient>;
  /**
   * Say what other applications need to know to log people in from here.
   *
   * There is nothing unless `[users] url` says where the platform is reached.
   *
   * `GET /.well-known/openid-configuration`
   */
  getOpenidConfiguration(options?: Call): Promise<ProviderMetadata>;
  /**
   * Read an organisation that you belong to. Those who may read users read any.
   *
   * `GET /v1/organizations/{id}`
   */
  getOrganization(id: string, options?: Call): Promise<Organization>;
  /**
   * Read a role.
   *
   * `GET /v1/roles/{name}`
   */
  getRole(name: string, options?: Call): Promise<Role>;
  /**
   * Read the keys that ID tokens verify with. Access tokens of the platform have others.
   *
   * `GET /oauth/jwks`
   */
  getSigningKeys(options?: Call): Promise<RsaKeys>;
  /**
   * Read a user. Emits users.user.read once an hour for each reader and user.
   *
   * `GET /v1/users/{id}`
   */
  get(id: string, options?: Call): Promise<User>;
  /**
   * Act as a user who may do no more than you and administrates nothing, for a short time.
   *
   * Only people do, who logged in recently. You see what the user sees, and change nothing unless
   * you said `write`; what is about the account itself is refused, and so is what shows a secret.
   * Whatever happens then names both of you. The user is told by mail. It ends with your session.
   * Emits users.impersonation.started.
   *
   * `POST /v1/users/{id}:impersonate`
   */
  impersonate(id: string, given: Impersonating, options?: Write): Promise<ImpersonationToken>;
  /**
   * Make users who have passwords elsewhere; those that are well are made in one commit.
   *
   * The first log-in stores the password anew, as Argon2id. Nobody is mailed. Doing it again makes
   * nobody twice. Emits users.user.created for each.
   *
   * `POST /v1/users:import`
   */
  importUsers(batch: UserImport, options?: Write): Promise<ImportReport>;
  /**
   * List API keys, the oldest first: all with the scope api_keys:read, else your own.
   *
   * A key that belongs to no user lists those that were made with it.
   *
   * `GET /v1/api_keys`
   */
  listApiKeys(options?: { limit?: number; } & Call): Pages<ApiKey>;
  /**
   * List what you let other applications have, the oldest first.
   *
   * `GET /v1/users/me/authorizations`
   */
  listAuthorizations(options?: { limit?: number; } & Call): Pages<Authorization>;
  /**
   * List the issuers you log in with.
   *
   * `GET /v1/users/me/identities`
   */
  listIdentities(options?: { limit?: number; } & Call): Pages<LinkedIdentity>;
  /**
   * List who acted as whom in the last 400 days, the oldest first.
   *
   * `GET /v1/impersonations`
   */
  listImpersonations(options?: { limit?: number; user_id?: string; } & Call): Pages<ImpersonationInfo>;
  /**
   * List the invitations that wait, as an owner or admin, or with the scope `users:read`.
   *
   * `GET /v1/organizations/{organization_id}/invitations`
   */
  listInvitations(organizationId: string, options?: { limit?: number; } & Call): Pages<Invitation>;
  /**
   * List the members; owners and admins are shown their addresses.
   *
   * `GET /v1/organizations/{organization_id}/members`
   */
  listMembers(organizationId: string, options?: { limit?: number; } & Call): Pages<Member>;
  /**
   * List the applications that are registered, the oldest first.
   *
   * `GET /v1/oauth_clients`
   */
  listOauthClients(options?: { limit?: number; } & Call): Pages<OAuthClient>;
  /**
   * List the organisations that you belong to, the oldest first.
   *
   * `GET /v1/organizations`
   */
  listOrganizations(options?: { limit?: number; all?: boolean; } & Call): Pages<Organization>;
  /**
   * List the invitations to your address; none while the address is not proved.
   *
   * `GET /v1/users/me/invitations`
   */
  listOwnInvitations(options?: { limit?: number; } & Call): Pages<OwnInvitation>;
  /**
   * List your passkeys, the oldest first.
   *
   * `GET /v1/users/me/passkeys`
   */
  listPasskeys(options?: { limit?: number; } & Call): Pages<Passkey>;
  /**
   * List roles by name.
   *
   * `GET /v1/roles`
   */
  listRoles(options?: { limit?: number; } & Call): Pages<Role>;
  /**
   * List your sessions, the oldest first.
   *
   * `GET /v1/sessions`
   */
  listSessions(options?: { limit?: number; } & Call): Pages<Session>;
  /**
   * List users in the order they signed up, or find one by address.
   *
   * Emits users.user.listed, or users.user.read for the one that is found, once an hour.
   *
   * `GET /v1/users`
   */
  list(options?: { limit?: number; email?: string; } & Call): Pages<User>;
  /**
   * Mail a link and a code to log in with, if somebody has signed up with the address.
   *
   * The answer does not tell. The link works in any browser; the code only with the `request` that
   * is answered here. Where `[users] log_in_links` is off it is refused.
   *
   * `POST /v1/sessions/magic`
   */
  magicSession(wish: LogInWish, options?: Write): Promise<LogInAsked>;
  /**
   * Make the key with every scope that the machine itself asks for.
   *
   * Only `mainspring admin key --recover` can: no key or user is a machine, whatever they hold.
   * Emits users.api_key.created, users.api_key.recovered.
   *
   * `POST /v1/api_keys:recover`
   */
  recoverApiKey(wanted: Recovery, options?: Write): Promise<undefined>;
  /**
   * Log in with the token of the link, or the request and its code; either ends both.
   *
   * Wrong codes are counted; after five in a row the address waits, up to a quarter of an hour. The
   * address counts as proved. Where it was not before, whoever signed up with it may have been
   * somebody else: the password, sessions and API keys of then hold no more. Emits
   * users.session.created.
   *
   * `POST /v1/sessions/magic:redeem`
   */
  redeemLogIn(proof?: LogInProof, options?: Write): Promise<Tokens>;
  /**
   * Trade the newest refresh token for the next one and a new access token.
   *
   * The one before it is answered with the newest again for 10 s, so an answer that was lost or two
   * refreshes at once do no harm. Any older one ends the session (users.session.revoked).
   *
   * `POST /v1/sessions/refresh`
   */
  refreshSession(given: RefreshRequest, options?: Write): Promise<Tokens>;
  /**
   * Mail a token to the address if somebody has signed up with it; the answer does not tell.
   *
   * `POST /v1/users:request_password_reset`
   */
  requestPasswordReset(request: ResetRequest, options?: Write): Promise<undefined>;
  /**
   * Mail an invitation once more, ever more seldom; it holds as long as a new one from now on.
   *
   * `POST /v1/organizations/{organization_id}/invitations/{id}:resend`
   */
  resendInvitation(organizationId: string, id: string, options?: Write): Promise<undefined>;
  /**
   * Take away every passkey of a user who lost them.
   *
   * The user may do no more than you. Emits users.passkey.deleted.
   *
   * `POST /v1/users/{user_id}/passkeys:reset`
   */
  resetPasskeys(userId: string, options?: Write): Promise<undefined>;
  /**
   * Set a password with the token that was mailed; every session and API key of the user ends.
   *
   * The address counts as proved. Emits users.password.changed.
   *
   * `POST /v1/users:reset_password`
   */
  resetPassword(reset: PasswordReset, options?: Write): Promise<undefined>;
  /**
   * Let a user who lost the authenticator app log in without it.
   *
   * The user may do no more than you. Emits users.totp.disabled.
   *
   * `POST /v1/users/{id}:reset_totp`
   */
  resetTotp(id: string, options?: Write): Promise<undefined>;
  /**
   * Give an application another secret; the former one ends. Emits users.oauth_client.updated.
   *
   * Tokens that it has go on.
   *
   * `POST /v1/oauth_clients/{id}:rotate_secret`
   */
  rotateSecret(id: string, options?: Write): Promise<OAuthClientSecret>;
  /**
   * Mail the token that proves the address once more, at most once a minute.
   *
   * `POST /v1/users/me:send_verification`
   */
  sendVerification(options?: Write): Promise<undefined>;
  /**
   * Prove once more who you are, in the session that asks: dangerous acts want it to be recent.
   *
   * Give a code where a second factor is on, else the password; who has neither logs in anew. The
   * session's refresh token stays as it is. Emits users.session.stepped_up.
   *
   * `POST /v1/sessions/{id}:step_up`
   */
  stepUpSession(id: string, given?: StepUp, options?: Write): Promise<FreshToken>;
  /**
   * End it before this is answered: whoever acts, by either token, and those with users:write.
   *
   * The user ends the session. Emits users.impersonation.ended, users.session.revoked.
   *
   * `POST /v1/impersonations/{id}:stop`
   */
  stopImpersonation(id: string, options?: Write): Promise<undefined>;
  /**
   * Make another member the owner in your place; you are an admin from then on.
   *
   * Emits users.member.updated for both.
   *
   * `POST /v1/organizations/{id}:transfer`
   */
  transferOrganization(id: string, transfer: Transfer, options?: Write): Promise<undefined>;
  /**
   * Take back a change of address, with the token that was mailed to the former one.
   *
   * The former address counts again, with the password given here; every session and API key of the
   * user ends, and so does what was mailed since. Emits users.user.updated, users.password.changed.
   *
   * `POST /v1/users:undo_email_change`
   */
  undoEmailChange(undo: EmailUndo, options?: Write): Promise<undefined>;
  /**
   * Change your name. Emits users.user.updated.
   *
   * `PATCH /v1/users/me`
   */
  updateMe(changes: OwnChanges, options?: Change): Promise<User>;
  /**
   * Give a member another role. Owners give any; admins do not make or change owners and admins.
   *
   * Emits users.member.updated.
   *
   * `PATCH /v1/organizations/{organization_id}/members/{id}`
   */
  updateMember(organizationId: string, id: string, change: MemberChange, options?: Change): Promise<undefined>;
  /**
   * Change an application of which you hold every scope. Emits users.oauth_client.updated.
   *
   * A scope that is taken from it is gone from its tokens too, before this is answered.
   *
   * `PATCH /v1/oauth_clients/{id}`
   */
  updateOauthClient(id: string, changes: OAuthClientChanges, options?: Change): Promise<OAuthClient | undefined>;
  /**
   * Rename an organisation as its owner or admin. Emits users.organization.updated.
   *
   * What owners may, those with the scope `users:write` may in every organisation.
   *
   * `PATCH /v1/organizations/{id}`
   */
  updateOrganization(id: string, changes: NewOrganization, options?: Change): Promise<Organization | undefined>;
  /**
   * Call a passkey of yours otherwise.
   *
   * `PATCH /v1/users/me/passkeys/{id}`
   */
  updatePasskey(id: string, changes: PasskeyChanges, options?: Change): Promise<Passkey>;
  /**
   * Give a role other scopes; its holders have them at once. Emits users.role.updated.
   *
   * The role is answered to those who may read roles, others hear 204.
   *
   * `PATCH /v1/roles/{name}`
   */
  updateRole(name: string, changes: RoleChanges, options?: Change): Promise<Role | undefined>;
  /**
   * Change a user who may do no more than you. Emits users.user.updated.
   *
   * Another address must be proved anew. Roles are given and taken only by those who hold every
   * scope the role gives. The user is answered to those who may read users, others hear 204.
   *
   * `PATCH /v1/users/{id}`
   */
  update(id: string, changes: UserChanges, options?: Change): Promise<User | undefined>;
  /**
   * Prove an address with the token that was mailed to it. Emits users.user.updated.
   *
   * One that was asked for takes the place of the former, which is told and can undo it for a week;
   * every session and API key of the user ends then.
   *
   * `POST /v1/users:verify_email`
   */
  verifyEmail(given: EmailProof, options?: Write): Promise<undefined>;
}

export declare const users: (core: Core) => Users;
