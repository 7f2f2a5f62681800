-- Other applications that log people in with accounts from here (OAuth 2.0, OpenID Connect). The
-- secret is stored hashed; a public client has none. Lists stand between spaces.
CREATE TABLE users_oauth_clients (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    version bigint NOT NULL,
    name text NOT NULL,
    secret_hash bytea,
    redirect_uris text NOT NULL,
    post_logout_redirect_uris text NOT NULL,
    scopes text NOT NULL,
    skips_consent boolean NOT NULL,
    introspects boolean NOT NULL,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL
);
CREATE INDEX users_oauth_clients_page ON users_oauth_clients (tenant, id);

-- What a user lets a client have, until one of them is gone or the user takes it back.
CREATE TABLE users_oauth_consents (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    version bigint NOT NULL,
    user_id text NOT NULL,
    client_id text NOT NULL,
    scopes text NOT NULL,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL
);
CREATE UNIQUE INDEX users_oauth_consents_pair ON users_oauth_consents (tenant, user_id, client_id);
CREATE INDEX users_oauth_consents_client ON users_oauth_consents (client_id);

-- One log-in at a client: a code, then a family of refresh tokens of which ``generation`` is the
-- newest. No token is stored: each is derived from the id. Without a user it is the client's own.
CREATE TABLE users_oauth_grants (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    version bigint NOT NULL,
    client_id text NOT NULL,
    user_id text,
    session_id text,
    scopes text NOT NULL,
    redirect_uri text NOT NULL,
    code_challenge text NOT NULL,
    nonce text NOT NULL,
    auth_ms bigint NOT NULL,
    amr text NOT NULL,
    generation bigint NOT NULL,
    created_ms bigint NOT NULL,
    rotated_ms bigint NOT NULL,
    expires_ms bigint NOT NULL
);
CREATE INDEX users_oauth_grants_user ON users_oauth_grants (tenant, user_id, client_id, id);
CREATE INDEX users_oauth_grants_expiry ON users_oauth_grants (expires_ms);

-- What ID tokens are signed with: an RSA key each, sealed. The next one is shown before it signs.
CREATE TABLE users_signing_keys (
    tenant text NOT NULL,
    number bigint NOT NULL,
    id text NOT NULL,
    sealed bytea NOT NULL,
    created_ms bigint NOT NULL,
    PRIMARY KEY (tenant, number)
);
