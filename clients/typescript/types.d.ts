// Made of the declarations by `make clients`: edit those.

/** What a record, or any other object that the data knows, holds. */
export type RecordData = { [name: string]: any };

/** What a refusal is called. Later versions may know more. */
export type ErrorCode =
  | "idempotency_key_required"
  | "malformed"
  | "oauth_page_refused"
  | "challenge_invalid"
  | "factor_required"
  | "login_refused"
  | "refresh_token_invalid"
  | "refresh_token_reused"
  | "step_up_required"
  | "unauthenticated"
  | "wrong_credentials"
  | "wrong_log_in_code"
  | "wrong_passkey"
  | "account_disabled"
  | "address_not_proved"
  | "address_refused"
  | "ask_denied"
  | "captcha_refused"
  | "captcha_required"
  | "forbidden"
  | "log_in_links_off"
  | "not_for_impersonators"
  | "passkeys_off"
  | "role_beyond_yours"
  | "scope_not_held"
  | "session_needed"
  | "sign_up_closed"
  | "wrong_factor"
  | "wrong_password"
  | "not_found"
  | "method_not_allowed"
  | "not_acceptable"
  | "request_timeout"
  | "address_missing"
  | "already_member"
  | "concurrent_update"
  | "conflict"
  | "consent_required"
  | "email_taken"
  | "endpoint_disabled"
  | "factor_enrolled"
  | "factor_missing"
  | "id_taken"
  | "idempotency_in_flight"
  | "identity_taken"
  | "invitation_exists"
  | "job_state"
  | "last_owner"
  | "last_way_in"
  | "link_required"
  | "name_taken"
  | "not_to_impersonate"
  | "passkey_taken"
  | "role_built_in"
  | "role_taken"
  | "run_ended"
  | "schema_change_refused"
  | "still_referenced"
  | "too_many_api_keys"
  | "too_many_endpoints"
  | "too_many_invitations"
  | "too_many_members"
  | "too_many_organizations"
  | "too_many_passkeys"
  | "too_many_records"
  | "too_many_runs"
  | "unique"
  | "gone"
  | "idempotency_answer_gone"
  | "position_gone"
  | "precondition_failed"
  | "body_too_large"
  | "unsupported_media_type"
  | "range_not_satisfiable"
  | "misdirected"
  | "filter_needs_index"
  | "idempotency_key_reused"
  | "invalid"
  | "token_invalid"
  | "url_refused"
  | "factor_throttled"
  | "impersonation_throttled"
  | "log_in_throttled"
  | "mail_throttled"
  | "password_throttled"
  | "rate_limited"
  | "headers_too_large"
  | "ask_failed"
  | "ask_unavailable"
  | "checkpoint_refused"
  | "issuer_unavailable"
  | "not_served_here"
  | "outcome_unknown"
  | "peer_refused"
  | "unavailable"
  | "ask_timed_out"
  | "deadline_exceeded";

/**
 * A failure (RFC 9457). `code` is stable; `errors` point at what is wrong in the input.
 *
 * Where there is more wrong than is told, `errors_more` counts the rest.
 */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  instance: string;
  code: string;
  request_id: string;
  errors?: FieldError[];
  errors_more?: number;
}

/** One thing wrong with the input: where (RFC 6901 JSON Pointer) and what. */
export interface FieldError {
  pointer: string;
  detail: string;
}

/**
 * A sign-up. `roles` other than `user` are given only by those who may grant them.
 *
 * Without a `locale` who signs up is taken to read what `Accept-Language` likes best.
 */
export interface NewUser {
  email: string;
  password: string;
  display_name?: string;
  roles?: string[];
  captcha?: string | null;
  locale?: string | null;
}

/**
 * A person who can log in, unless disabled by an administrator, who gave a reason.
 *
 * `locale` is the language they are addressed in (BCP 47), null where nobody has said.
 */
export interface User {
  id: string;
  email: string;
  email_verified: boolean;
  display_name: string;
  roles: string[];
  created_at: string;
  updated_at: string;
  disabled_at?: string | null;
  disabled_reason?: string;
  profile?: { [name: string]: Json };
  locale?: string | null;
}

/** What users change about themselves without more ado. `profile` is a merge patch. */
export interface OwnChanges {
  display_name?: string;
  profile?: { [name: string]: Json };
  locale?: string | null;
}

/** Another address, which the password allows and a mail to it proves. */
export interface EmailChange {
  email: string;
  password: string;
}

/** The token out of a verification mail. */
export interface EmailProof {
  token: string;
}

/** The token out of the mail to the former address, and a new password. */
export interface EmailUndo {
  token: string;
  password: string;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_User_ {
  items: User[];
  next_cursor?: string | null;
}

/**
 * What an administrator changes about a user; `roles` replaces all of them.
 *
 * `profile` is a merge patch.
 */
export interface UserChanges {
  email?: string;
  display_name?: string;
  roles?: string[];
  profile?: { [name: string]: Json };
  locale?: string | null;
}

/** Why somebody may do nothing for now; those who may read users read it. */
export interface Disabling {
  reason: string;
}

/**
 * What a key is for and what it may do: at most what its maker may.
 *
 * With `addresses` it is good from these alone, as `192.0.2.7`, `192.0.2.0/24` or
 * `2001:db8::/32`.
 */
export interface NewApiKey {
  name: string;
  scopes: string[];
  expires_at?: string | null;
  addresses?: string[];
}

/** A new API key with the key itself, which is shown this once. */
export interface MadeApiKey {
  id: string;
  name: string;
  prefix: string;
  scopes: string[];
  owner_id: string | null;
  created_at: string;
  expires_at: string | null;
  maker_id: string | null;
  addresses?: string[];
  last_used_at?: string | null;
  key: string;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_ApiKey_ {
  items: ApiKey[];
  next_cursor?: string | null;
}

/**
 * An API key without the key itself; `prefix` is how it begins.
 *
 * `maker_id` is the user or key that made it, `owner_id` the user whose it is. It is good from
 * its `addresses`, and those of its makers; from everywhere where there are none.
 * `last_used_at` is at most ten minutes old while it is used.
 */
export interface ApiKey {
  id: string;
  name: string;
  prefix: string;
  scopes: string[];
  owner_id: string | null;
  created_at: string;
  expires_at: string | null;
  maker_id: string | null;
  addresses?: string[];
  last_used_at?: string | null;
}

/**
 * A key's line: the keys that it was made with, nearest first, as far as you may see them.
 *
 * `made` are those that were made with it, and with these: what ends when it does. `more` says
 * that there are more than are shown.
 */
export interface KeyLineage {
  makers: ApiKey[];
  made: ApiKey[];
  more: boolean;
}

/** The key that a machine wants: how it begins, and its SHA-256 in hexadecimal. */
export interface Recovery {
  prefix: string;
  key_hash: string;
}

/**
 * Why somebody is to act as a user, for how long, and whether to change anything.
 *
 * The user reads the reason.
 */
export interface Impersonating {
  reason: string;
  minutes?: number;
  write?: boolean;
}

/** An access token of the user's that says who acts (`act`, RFC 8693). Nothing renews it. */
export interface ImpersonationToken {
  access_token: string;
  expires_in: number;
  impersonation: ImpersonationInfo;
  token_type?: string;
}

/**
 * That somebody acts, or acted, as a user, in a session of the same id.
 *
 * `ended_at` is null while it lasts, `ended_by` says what ended it.
 */
export interface ImpersonationInfo {
  id: string;
  user_id: string;
  impersonator_id: string;
  reason: string;
  write: boolean;
  started_at: string;
  expires_at: string;
  ended_at: string | null;
  ended_by: string;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_ImpersonationInfo_ {
  items: ImpersonationInfo[];
  next_cursor?: string | null;
}

/** Users to make. */
export interface UserImport {
  users: ImportedUser[];
}

/**
 * Somebody from elsewhere, with the hash of their password as it was stored there.
 *
 * Argon2, bcrypt, Django's PBKDF2 and scrypt, and Firebase's scrypt are taken; without one they
 * log in by mail or by an issuer, or reset the password.
 */
export interface ImportedUser {
  email: string;
  password_hash?: string;
  email_verified?: boolean;
  display_name?: string;
  locale?: string | null;
  roles?: string[];
}

/** What became of each, in their order. */
export interface ImportReport {
  items: ImportOutcome[];
}

/**
 * What became of one: `known` has an account of this address, which stays as it is.
 *
 * `id` is shown to those who may read users. `errors` say what is wrong with one refused.
 */
export interface ImportOutcome {
  status: "created" | "known" | "refused";
  id?: string | null;
  errors?: FieldError[];
}

/**
 * Which issuer, and where the browser comes back to: one of `login_redirects`.
 *
 * `code_challenge` is the S256 of a secret that the app keeps (RFC 7636): only who has that
 * ends the log-in. `state` comes back as it is.
 */
export interface NewLogin {
  provider: string;
  redirect_uri: string;
  code_challenge: string;
  state?: string;
}

/** Where to send the browser, and for how many seconds the issuer's answer is waited for. */
export interface BegunLogin {
  url: string;
  expires_in: number;
}

/** The code that the browser brought back, and the secret of `code_challenge`. */
export interface LoginCode {
  code: string;
  code_verifier: string;
}

/** What a client holds while logged in. `expires_in` is the access token's life in seconds. */
export interface Tokens {
  access_token: string;
  refresh_token: string;
  expires_in: number;
  user: User;
  session_id: string;
  token_type?: string;
}

/** Somebody at an issuer: `provider` is its name in the settings. */
export interface LinkedIdentity {
  id: string;
  provider: string;
  issuer: string;
  subject: string;
  created_at: string;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_LinkedIdentity_ {
  items: LinkedIdentity[];
  next_cursor?: string | null;
}

/** The address of somebody who logs in by mail. */
export interface LogInWish {
  email: string;
  captcha?: string | null;
}

/** What the browser that asked keeps: the mailed code counts only together with it. */
export interface LogInAsked {
  request: string;
  expires_in: number;
}

/** Either the `token` of the mailed link, or the mailed `code` with its `request`. */
export interface LogInProof {
  token?: string | null;
  request?: string | null;
  code?: string | null;
}

/** What the platform says of itself (OpenID Connect Discovery 1.0, 3; RFC 8414; RFC 9207). */
export interface ProviderMetadata {
  issuer: string;
  authorization_endpoint: string;
  token_endpoint: string;
  userinfo_endpoint: string;
  jwks_uri: string;
  introspection_endpoint: string;
  revocation_endpoint: string;
  end_session_endpoint: string;
  scopes_supported: string[];
  response_types_supported: string[];
  response_modes_supported: string[];
  grant_types_supported: string[];
  subject_types_supported: string[];
  id_token_signing_alg_values_supported: string[];
  token_endpoint_auth_methods_supported: string[];
  introspection_endpoint_auth_methods_supported: string[];
  revocation_endpoint_auth_methods_supported: string[];
  code_challenge_methods_supported: string[];
  claims_supported: string[];
  prompt_values_supported: string[];
  authorization_response_iss_parameter_supported: boolean;
  claims_parameter_supported: boolean;
  request_parameter_supported: boolean;
  request_uri_parameter_supported: boolean;
}

/** The public keys that ID tokens are signed with, the newest first. */
export interface RsaKeys {
  keys: RsaKey[];
}

/** A public key of RSA (RFC 7517, RFC 7518). */
export interface RsaKey {
  kty: string;
  n: string;
  e: string;
  kid: string;
  alg: string;
  use: string;
}

/**
 * An application to be.
 *
 * It asks for no more than `scopes`, of which you hold those of the platform. People are not
 * asked where it `skips_consent`: for your own. One that `introspects` may ask about the
 * tokens of all clients: an API that takes them.
 */
export interface NewOAuthClient {
  name: string;
  public?: boolean;
  redirect_uris?: string[];
  post_logout_redirect_uris?: string[];
  scopes?: string[];
  skips_consent?: boolean;
  introspects?: boolean;
}

/** A client with its secret, which is shown this once; a public one has none. */
export interface MadeOAuthClient {
  id: string;
  name: string;
  public: boolean;
  redirect_uris: string[];
  post_logout_redirect_uris: string[];
  scopes: string[];
  skips_consent: boolean;
  introspects: boolean;
  created_at: string;
  updated_at: string;
  secret: string | null;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_OAuthClient_ {
  items: OAuthClient[];
  next_cursor?: string | null;
}

/** An application that logs people in from here. A `public` one keeps no secret. */
export interface OAuthClient {
  id: string;
  name: string;
  public: boolean;
  redirect_uris: string[];
  post_logout_redirect_uris: string[];
  scopes: string[];
  skips_consent: boolean;
  introspects: boolean;
  created_at: string;
  updated_at: string;
}

/** What changes about an application; a list replaces the whole. */
export interface OAuthClientChanges {
  name?: string;
  redirect_uris?: string[];
  post_logout_redirect_uris?: string[];
  scopes?: string[];
  skips_consent?: boolean;
  introspects?: boolean;
}

/** A client's secret from now on, shown this once. */
export interface OAuthClientSecret {
  secret: string;
}

/**
 * What another application asks, as it came to your page; and what the user says to it.
 *
 * Without a `decision` (`allow` or `deny`) it is what the user has said before.
 */
export interface Decision {
  request: string;
  decision?: "allow" | "deny" | null;
}

/** Where to send the browser: back to the application. */
export interface WayBack {
  url: string;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_Authorization_ {
  items: Authorization[];
  next_cursor?: string | null;
}

/** What you let an application have. */
export interface Authorization {
  id: string;
  client_id: string;
  client_name: string;
  scopes: string[];
  created_at: string;
  updated_at: string;
}

/** An organisation to be. Whoever makes it is its owner. */
export interface NewOrganization {
  name: string;
}

/** A group of people. `role` is your own in it; null where you are no member. */
export interface Organization {
  id: string;
  name: string;
  role: string | null;
  created_at: string;
  updated_at: string;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_Organization_ {
  items: Organization[];
  next_cursor?: string | null;
}

/** The member who is to be the owner in your place. */
export interface Transfer {
  user_id: string;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_Member_ {
  items: Member[];
  next_cursor?: string | null;
}

/** Somebody in an organisation. `email` is shown to its owners and admins, else null. */
export interface Member {
  user_id: string;
  role: string;
  display_name: string;
  email: string | null;
  joined_at: string;
}

/** What a member is from now on. */
export interface MemberChange {
  role: string;
}

/** Whom to invite, and as what. */
export interface NewInvitation {
  email: string;
  role?: string;
}

/** That whoever reads an address may join an organisation, until it expires. */
export interface Invitation {
  id: string;
  organization_id: string;
  email: string;
  role: string;
  inviter_id: string;
  created_at: string;
  expires_at: string;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_Invitation_ {
  items: Invitation[];
  next_cursor?: string | null;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_OwnInvitation_ {
  items: OwnInvitation[];
  next_cursor?: string | null;
}

/** An invitation to your address. */
export interface OwnInvitation {
  id: string;
  organization_id: string;
  organization_name: string;
  role: string;
  expires_at: string;
}

/** Either the `token` out of the mail, or the `id` of one to your own address. */
export interface InvitationProof {
  token?: string | null;
  id?: string | null;
}

/**
 * What a page hands to the browser, which answers it within `expires_in` seconds.
 *
 * `public_key` is for `PublicKeyCredential.parseCreationOptionsFromJSON()` or
 * `parseRequestOptionsFromJSON()` (WebAuthn Level 3, 5.1).
 */
export interface PasskeyOptions {
  public_key: { [name: string]: Json };
  expires_in: number;
}

/** What the browser answers to the options, and what its user calls it. */
export interface NewPasskey {
  credential: { [name: string]: Json };
  name?: string;
}

/** A new passkey. `recovery_codes` come with the first second factor, and are shown once. */
export interface MadePasskey {
  id: string;
  name: string;
  aaguid: string;
  backup_eligible: boolean;
  backed_up: boolean;
  created_at: string;
  last_used_at: string | null;
  recovery_codes: string[] | null;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_Passkey_ {
  items: Passkey[];
  next_cursor?: string | null;
}

/**
 * A passkey without its key. `backup_eligible` ones are copied to their user's other devices.
 *
 * `aaguid` says of which make it is, where its maker tells.
 */
export interface Passkey {
  id: string;
  name: string;
  aaguid: string;
  backup_eligible: boolean;
  backed_up: boolean;
  created_at: string;
  last_used_at: string | null;
}

/** What a passkey is called from now on. */
export interface PasskeyChanges {
  name: string;
}

/** With the `challenge` of factor_required a passkey is its second factor. */
export interface PasskeyWish {
  challenge?: string | null;
}

/** What the browser answers to the options of a log-in. */
export interface PasskeyLogin {
  credential: { [name: string]: Json };
}

/**
 * The password as it is, and as it is to be.
 *
 * Your API keys end, unless `keep_api_keys`: whoever knew the old password may have made some.
 */
export interface PasswordChange {
  password: string;
  new_password: string;
  keep_api_keys?: boolean;
}

/** The address of somebody who forgot the password. */
export interface ResetRequest {
  email: string;
  captcha?: string | null;
}

/** The token out of a reset mail, and the new password. */
export interface PasswordReset {
  token: string;
  password: string;
}

/** A role to be. */
export interface NewRole {
  name: string;
  scopes: string[];
}

/** A name for scopes that users can hold together. */
export interface Role {
  name: string;
  scopes: string[];
  created_at: string;
  updated_at: string;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_Role_ {
  items: Role[];
  next_cursor?: string | null;
}

/** The role's scopes from now on. */
export interface RoleChanges {
  scopes: string[];
}

/** How somebody can prove who they are: `recovery_codes` counts those that are left. */
export interface Factors {
  totp: boolean;
  totp_confirmed_at: string | null;
  passkeys: number;
  recovery_codes: number;
}

/** An authenticator app to be: the secret, shown this once, and the URI of its QR code. */
export interface TotpEnrolment {
  secret: string;
  uri: string;
}

/** A code that the authenticator app shows now. */
export interface TotpCode {
  code: string;
}

/** Codes that stand in for the second factor, each once; shown this once. */
export interface RecoveryCodes {
  recovery_codes: string[];
}

/** A code that the authenticator app shows now, a recovery code, or what a passkey signed. */
export interface FactorProof {
  code?: string | null;
  recovery_code?: string | null;
  passkey?: { [name: string]: Json } | null;
}

/** The challenge of `factor_required`, and the second factor. */
export interface SecondStep {
  code?: string | null;
  recovery_code?: string | null;
  passkey?: { [name: string]: Json } | null;
  challenge: string;
}

/** An address and its password. */
export interface Login {
  email: string;
  password: string;
  captcha?: string | null;
}

/** The newest refresh token of a session. */
export interface RefreshRequest {
  refresh_token: string;
}

/** Who you are once more: the second factor where there is one, else the password. */
export interface StepUp {
  code?: string | null;
  recovery_code?: string | null;
  passkey?: { [name: string]: Json } | null;
  password?: string | null;
}

/** An access token that says of the session that its user was there just now. */
export interface FreshToken {
  access_token: string;
  expires_in: number;
  token_type?: string;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_Session_ {
  items: Session[];
  next_cursor?: string | null;
}

/**
 * A login and everything refreshed from it. `current` is the one that asks.
 *
 * `device` is like `Firefox on Windows`; it, `address` and `user_agent` are of the last
 * log-in or refresh, and what a client says of itself. `place` is about where that address is,
 * null where nobody knows. `last_used_at` is of that too, or of a
 * step-up. In a session with an `impersonator_id` that one acts as you, and what it shows
 * of a device is empty.
 */
export interface Session {
  id: string;
  created_at: string;
  refreshed_at: string;
  expires_at: string;
  last_used_at: string;
  device: string;
  address: string;
  place: Whereabouts | null;
  user_agent: string;
  current: boolean;
  impersonator_id: string | null;
}

/** About where an address is, as far as is known: `country` by its ISO 3166 code. */
export interface Whereabouts {
  country: string | null;
  city: string | null;
}

/** The public keys that access tokens are signed with, the current one first. */
export interface Jwks {
  keys: Jwk[];
}

/** A public key (RFC 7517, RFC 8037). */
export interface Jwk {
  kty: string;
  crv: string;
  x: string;
  kid: string;
  alg: string;
  use: string;
}

/** What opens a stream as `?stream_token=…`, within `expires_in` seconds. */
export interface StreamToken {
  token: string;
  expires_in: number;
}

/** A collection to be. */
export interface NewCollection {
  name: string;
  fields?: Field[];
  rules?: Rules;
  indexes?: string[][];
  uniques?: string[][];
  documents?: boolean;
}

/**
 * A field of a collection. `min` and `max` bound the characters of text, or the number.
 *
 * `values` are those of a select, `collection` the one a relation points into, or `users`. A
 * `default` is stored when a new record leaves the field out. A `file` is uploaded to its own
 * address, and emptied with null; it is one of `types` (`image/*`, `application/pdf`; none
 * is any), and has at most `max_bytes`. Where it is `inline` browsers show it;
 * `thumbs` are the sizes that smaller pictures of it come in (`200x200`, `400x0`).
 *
 * `many` makes it a list of up to `max_items`, which is never null. `on_delete` says what
 * becomes of a record when what its relation points at goes. A `stamp` is set by the platform
 * when a record is made, or with each change (`stamp_on`).
 *
 * A `personal` field is sealed under the key of the user that the field `personal_of` names,
 * and ends when that user is erased.
 *
 * A text field with `search` is found by its words with `?q=`; what is found in one with more
 * `search_weight` comes first.
 *
 * A `hidden` field is shown to nobody without `records:read`; `rules` say who else may read
 * or write one. `renamed_from` is the name that a field had until now: its values stay.
 */
export interface Field {
  name: string;
  type: "boolean" | "datetime" | "email" | "file" | "integer" | "json" | "number" | "relation" | "select" | "text" | "url";
  required?: boolean;
  unique?: boolean;
  personal?: boolean;
  personal_of?: string | null;
  min?: number | null;
  max?: number | null;
  values?: string[];
  collection?: string | null;
  default?: Json;
  types?: string[];
  max_bytes?: number | null;
  inline?: boolean;
  thumbs?: string[];
  many?: boolean;
  max_items?: number | null;
  on_delete?: "cascade" | "restrict" | "set_null" | null;
  stamp?: "caller.id" | "caller.user" | "now" | null;
  stamp_on?: "create" | "write";
  hidden?: boolean;
  rules?: FieldRules | null;
  renamed_from?: string | null;
  search?: boolean;
  search_weight?: number;
}

/**
 * Who may `read` and who may `write` a field, beside what the collection's rules say.
 *
 * Each is CEL over the record, `caller` and `request`, and reaches no other collection.
 * Absent means whoever may view, or create and update, the record.
 */
export interface FieldRules {
  read?: string | null;
  write?: string | null;
}

/**
 * Who may do what without the scope, in CEL over `caller`, `record`, `request`.
 *
 * Absent means only keys with the scope; `"true"` means everyone.
 */
export interface Rules {
  list?: string | null;
  view?: string | null;
  create?: string | null;
  update?: string | null;
  delete?: string | null;
}

/**
 * A collection. While `ready` is false its stored records are being brought to the schema.
 *
 * Until then an index is not used that is new, or of a field that stored records get a default in;
 * all others are. `problem` says if a change had to be taken back.
 */
export interface Collection {
  id: string;
  name: string;
  fields: Field[];
  rules: Rules;
  indexes: string[][];
  uniques: string[][];
  ready: boolean;
  problem: string | null;
  created_at: string;
  updated_at: string;
  documents: boolean;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_Collection_ {
  items: Collection[];
  next_cursor?: string | null;
}

/** What to change; each part that is given replaces the whole of it. */
export interface CollectionChange {
  fields?: Field[];
  rules?: Rules;
  indexes?: string[][];
  uniques?: string[][];
  documents?: boolean;
}

/** Writes that land together or not at all, in order. */
export interface Batch {
  items: BatchItem[];
}

/**
 * One write of a batch. `create` takes `data`; `update` and `delete` an `id`.
 *
 * `upsert` takes `data` and the unique field `by` which it finds the record.
 */
export interface BatchItem {
  action: "create" | "delete" | "update" | "upsert";
  id?: string | null;
  by?: string | null;
  data?: Json;
}

/** The records as they are now, in the order of the request; null for one that was deleted. */
export interface BatchAnswer {
  items: (Json | null)[];
}

/**
 * A page of records. `total` is of all pages, where it was asked for.
 *
 * It is `exact`, or there are `at_least` so many: more than an estimate counts.
 */
export interface RecordPage {
  items: Json[];
  next_cursor?: string | null;
  total?: number;
  total_is?: "at_least" | "exact";
}

/** The groups, in order of their values. */
export interface Groups {
  items: Group[];
}

/** One group: its values, how many records, and what was asked for by field. */
export interface Group {
  group: { [name: string]: Json };
  count: number;
  sum?: { [name: string]: Json };
  avg?: { [name: string]: Json };
  min?: { [name: string]: Json };
  max?: { [name: string]: Json };
}

/** A find. Where it has a `sort`, `skip` goes on, and else the `cursor`. */
export interface FindQuery {
  limit?: number;
  cursor?: string | null;
  filter?: { [name: string]: Json };
  projection?: { [name: string]: Json };
  sort?: { [name: string]: Json };
  skip?: number;
}

/** Documents, and where the next page begins: null after a sort, and at the end. */
export interface DocumentPage {
  items: Json[];
  next_cursor?: string | null;
}

/** Stages, each of which is given what the one before it made. */
export interface Pipeline {
  pipeline: ({ [name: string]: Json })[];
}

/** What the last stage made. */
export interface PipelineAnswer {
  items: Json[];
}

/**
 * May `caller` do this? The id of a user or an API key, or `"nobody"`; absent, oneself.
 *
 * `record` names the record; a new one has none. `data` is the body of the create or update.
 */
export interface RuleQuestion {
  action: "create" | "delete" | "list" | "update" | "view";
  caller?: string | null;
  record?: string | null;
  data?: Json;
}

/**
 * Whether the caller may, and why. All judgements of the rule have to hold.
 *
 * `by` is what decided: a scope, for who holds it is asked no rule; the rule; that there is no
 * rule; or a field that the change writes and the caller may not. `fields` are those that not
 * everybody may read, of a record that is viewed, or write, of those that are changed.
 */
export interface RuleExplanation {
  allowed: boolean;
  by: "field" | "no_rule" | "rule" | "scope";
  scope: string;
  rule: string | null;
  judgements: Judgement[];
  fields?: FieldExplanation[];
}

/** What a rule says of the record as it is, or as it would be after the change. */
export interface Judgement {
  record: "as_it_is" | "as_it_would_be";
  holds: boolean;
  parts: JudgedPart[];
}

/** A part of a rule that `&&` or `||` joins: where it begins (1 is the first character). */
export interface JudgedPart {
  source: string;
  character: number;
  holds: boolean;
}

/**
 * Whether the caller may read or write one field that not everybody may, and why.
 *
 * Of a hidden field there is no rule: nobody reads it without the scope.
 */
export interface FieldExplanation {
  field: string;
  right: "read" | "write";
  allowed: boolean;
  rule: string | null;
  judgements: Judgement[];
}

/** For how long a link holds, and how it answers: as `FileView` says. */
export interface NewFileLink {
  expires_in_s?: number;
  download?: boolean;
  thumb?: string | null;
  file?: string | null;
}

/** A link to a file: `url` stands behind the platform's own address. */
export interface FileLink {
  url: string;
  expires_at: string;
}

/**
 * What will be sent: so many bytes with this SHA-256 (hex), and nothing else.
 *
 * What it is is read from its first bytes when it is finished; `media_type` counts where they do
 * not tell.
 */
export interface NewUpload {
  size_bytes: number;
  sha256: string;
  media_type?: string;
  name?: string | null;
}

/**
 * Where to send the file: a PUT of its bytes to `url`, with these `headers` as they are.
 *
 * A `url` without a host stands behind the platform's own address. `id` finishes it.
 */
export interface PendingUpload {
  id: string;
  url: string;
  method: string;
  headers: { [name: string]: string };
  expires_at: string;
}

/** Which upload is finished: the `id` of the one that was begun for this field. */
export interface FinishUpload {
  id: string;
}

/** Which records to delete; none where more than `limit_max` pass. `dry_run` only counts. */
export interface DeleteMany {
  filter: string;
  limit_max?: number | null;
  dry_run?: boolean;
}

/**
 * What became of many records. `id` is null where it was done at once, or only counted.
 *
 * `total` is how many there were to begin with, null where counting takes too long.
 * `progress` is how much of it is behind, of 1: of the file's bytes where one is imported; null
 * where that is not known. `done` were changed, or were so already; `skipped` may not be
 * changed by whoever asks; `failed` could not be, and the first hundred of those are in
 * `errors`, the first `reported` in its report. `problem` says why a run failed.
 */
export interface Run {
  id: string | null;
  kind: "delete" | "import" | "update";
  collection: string;
  state: "cancelled" | "counted" | "done" | "failed" | "running";
  total: number | null;
  progress: number | null;
  done: number;
  skipped: number;
  failed: number;
  reported: number;
  errors: RunError[];
  problem: string | null;
  created_at: string;
  updated_at: string;
}

/** A record that something kept from being changed: its id, or its line in what was imported. */
export interface RunError {
  code: string;
  detail: string;
  id?: string | null;
  line?: number | null;
  errors?: ({ [name: string]: Json })[];
}

/** Which records to change, and what each is sent: as the body of a PATCH. */
export interface UpdateMany {
  filter: string;
  limit_max?: number | null;
  dry_run?: boolean;
  set: Json;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_Run_ {
  items: Run[];
  next_cursor?: string | null;
}

/** Writes in any collections, taken in their order, that land together or not at all. */
export interface Steps {
  steps: Step[];
}

/**
 * One write of a batch over collections, as a `BatchItem` is one of a batch in one.
 *
 * `name` is what later steps call it by. `data` may hold `"$ref": {"field": "step.member"}`:
 * fields that get what an earlier step answered.
 */
export interface Step {
  collection: string;
  action: "create" | "delete" | "update" | "upsert";
  name?: string | null;
  id?: string | StepValue | null;
  by?: string | null;
  data?: Json;
}

/** A value that an earlier step answered: `order.id` is the id of the step `order`. */
export interface StepValue {
  $ref: string;
}

/**
 * Work to do: a job that a service declares as public, and the arguments of its handler.
 *
 * `priority` goes from 0 to 9, higher first within a queue. While a job of that name with the
 * same `unique_key` waits or runs, that one is answered and no other is made.
 */
export interface NewJob {
  name: string;
  args?: { [name: string]: Json };
  queue?: string | null;
  priority?: number;
  run_at?: string | null;
  unique_key?: string | null;
}

/**
 * A job. `args` are null for a job that is a service's own affair.
 *
 * Of such a job `unique_key` is null, and `error` its kind alone, for those without the
 * service's `read` scope. `acts_for` is the user or key that had it done; null where a service
 * did.
 *
 * `state` is `scheduled` (waits for `run_at`), `ready`, `running`, `done`, `dead`
 * (its last attempt failed) or `cancelled`. Done and cancelled ones are forgotten after a day.
 */
export interface JobInfo {
  id: string;
  name: string;
  queue: string;
  state: string;
  priority: number;
  args: Json | null;
  unique_key: string | null;
  run_at: string;
  attempts: number;
  max_attempts: number;
  progress: number | null;
  error: string | null;
  correlation_id: string;
  acts_for: string | null;
  created_at: string;
  updated_at: string;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_JobInfo_ {
  items: JobInfo[];
  next_cursor?: string | null;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_Queue_ {
  items: Queue[];
  next_cursor?: string | null;
}

/**
 * A queue: how deep it is, and how fast.
 *
 * `latency_s` is how long the oldest job that could run has waited, `done_last_minute` what
 * the processes at this address have finished. Depths count every tenant's jobs.
 */
export interface Queue {
  name: string;
  paused: boolean;
  scheduled: number;
  ready: number;
  running: number;
  dead: number;
  latency_s: number;
  done_last_minute: number;
}

/** How many dead letters to return at most, oldest first. */
export interface Redrive {
  limit?: number;
}

/** How many dead letters are ready to run again. Fewer than asked for means: no more. */
export interface Redriven {
  redriven: number;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_ScheduleInfo_ {
  items: ScheduleInfo[];
  next_cursor?: string | null;
}

/** A cron line (five fields, UTC) and its job; `next_at` is null until it is known. */
export interface ScheduleInfo {
  name: string;
  cron: string;
  job: string;
  next_at: string | null;
}

/**
 * Where to send which events.
 *
 * `personal` sends fields that are marked personal in the clear, and needs the scope
 * `events:personal`; else they are null.
 */
export interface NewWebhook {
  url: string;
  types?: string[];
  filter?: string | null;
  description?: string;
  personal?: boolean;
}

/** An endpoint and, this once, the secret its deliveries are signed with. */
export interface WebhookWithSecret {
  id: string;
  url: string;
  types: string[];
  filter: string | null;
  description: string;
  personal: boolean;
  acts_for: string;
  enabled: boolean;
  disabled_reason: string | null;
  failing_since: string | null;
  created_at: string;
  updated_at: string;
  secret: string;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_Webhook_ {
  items: Webhook[];
  next_cursor?: string | null;
}

/**
 * An endpoint that events are sent to.
 *
 * `acts_for` is the user or API key that made it, or last chose what it is sent and where: it is
 * sent what they may read, asked again for each event. `failing_since` is null when the last
 * attempt succeeded. `disabled_reason` is `by_caller`, `gone` (it answered 410), `failing`
 * (every attempt of five days failed) or `actor_gone` (whoever it acts for was revoked or
 * deleted, or has expired).
 */
export interface Webhook {
  id: string;
  url: string;
  types: string[];
  filter: string | null;
  description: string;
  personal: boolean;
  acts_for: string;
  enabled: boolean;
  disabled_reason: string | null;
  failing_since: string | null;
  created_at: string;
  updated_at: string;
}

/**
 * What to change; the rest stays. Enabling an endpoint forgets its failures.
 *
 * Whoever changes more than the description is whom the endpoint acts for from then on.
 */
export interface WebhookChanges {
  url?: string;
  types?: string[];
  filter?: string | null;
  description?: string;
  personal?: boolean;
  enabled?: boolean;
}

/** The new secret, shown once. Until `old_expires_at` both sign every delivery. */
export interface RotatedSecret {
  secret: string;
  old_expires_at: string;
}

/** The event that was made for the test; its delivery has the same id. */
export interface SentTest {
  event_id: string;
}

/** Which events to send again: those made from `since` until `until` (default: now). */
export interface ReplayWindow {
  since: string;
  until?: string | null;
}

/** The job that sends the first part of the events; it enqueues the one for the next. */
export interface ReplayStarted {
  job_id: string;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_Delivery_ {
  items: Delivery[];
  next_cursor?: string | null;
}

/**
 * What became of one event at one endpoint. `id` is the event's, and its `webhook-id`.
 *
 * It exists from the first attempt on and shows the newest attempts last.
 */
export interface Delivery {
  id: string;
  webhook_id: string;
  type: string;
  state: "delivered" | "failed" | "retrying";
  attempts: Attempt[];
  attempts_made: number;
  next_attempt_at: string | null;
  created_at: string;
  updated_at: string;
}

/**
 * One POST to the receiver. `error` is set where no answer came.
 *
 * `excerpt` is the start of the answer, where the address that gave it is public; else what went
 * wrong in words.
 */
export interface Attempt {
  at: string;
  duration_ms: number;
  status?: number | null;
  error?: string | null;
  excerpt?: string;
}

/**
 * Events in the order of `seq`, as far as the caller may read them.
 *
 * A page may be short and still have a `next_cursor`. When it is null the end was reached:
 * `position` is where to go on from (as `after`) once there is more.
 */
export interface Feed {
  items: Envelope[];
  next_cursor: string | null;
  position: string;
}

/**
 * A CloudEvent in the structured JSON form. `seq` is null until it has its place.
 *
 * `impersonator` is who acted as the `actor`, null where the actor did.
 */
export interface Envelope {
  specversion: string;
  id: string;
  source: string;
  type: string;
  subject: string;
  time: string;
  datacontenttype: string;
  dataschema: string;
  tenant: string;
  actor: string;
  correlationid: string;
  impersonator?: string | null;
  causationid?: string | null;
  partitionkey?: string | null;
  data: Json;
  seq?: number | null;
}

/** Some items and where the next page starts; `next_cursor` is null on the last page. */
export interface Page_AuditEntry_ {
  items: AuditEntry[];
  next_cursor?: string | null;
}

/**
 * An event as it was hashed: `leaf` is SHA-256 of a zero byte and the bytes of `event`.
 *
 * `index` is its place in the tree, `seq - 1`. Personal fields are shown sealed. Where the
 * caller may not read the event it is null and `withheld` is true: there is proof of it, and no
 * more.
 */
export interface AuditEntry {
  seq: number;
  index: number;
  id: string;
  type: string;
  leaf: string;
  event: Envelope | null;
  withheld: boolean;
}

/** A signed checkpoint. `note` is a C2SP signed note; `key` the verifier key it names. */
export interface CheckpointView {
  origin: string;
  size: number;
  root: string;
  time: string;
  note: string;
  key: string;
}

/**
 * The path (RFC 9162, 2.1.3) from an event's leaf to the root of the first `size` events.
 *
 * `checkpoint` is the signed note of that tree where one was published.
 */
export interface InclusionProof {
  event_id: string;
  seq: number;
  index: number;
  size: number;
  leaf: string;
  root: string;
  path: string[];
  checkpoint: string | null;
}

/** Proof (RFC 9162, 2.1.4) that the first `second` events begin with the first `first`. */
export interface ConsistencyProof {
  first: number;
  second: number;
  first_root: string;
  second_root: string;
  proof: string[];
}

/** Any JSON. */
export type Json =
  | null | boolean | number | string | Json[] | { [name: string]: Json };
