CREATE TABLE users_users (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    version bigint NOT NULL,
    email text NOT NULL,
    email_key text NOT NULL,
    email_verified boolean NOT NULL,
    display_name text NOT NULL,
    password_hash text NOT NULL,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL
);
CREATE UNIQUE INDEX users_users_email ON users_users (tenant, email_key);
CREATE INDEX users_users_page ON users_users (tenant, id);

-- The id tells a role from another that had its name before.
CREATE TABLE users_roles (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    name text NOT NULL,
    version bigint NOT NULL,
    scopes text NOT NULL,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL
);
CREATE UNIQUE INDEX users_roles_name ON users_roles (tenant, name);
INSERT INTO users_roles (id, tenant, name, version, scopes, created_ms, updated_ms) VALUES
    ('role_00000000000000000000000001', 'main', 'admin', 1, '*', 0, 0),
    ('role_00000000000000000000000002', 'main', 'user', 1, 'users:own', 0, 0);

CREATE TABLE users_grants (
    tenant text NOT NULL,
    user_id text NOT NULL,
    role text NOT NULL,
    PRIMARY KEY (tenant, user_id, role)
);
CREATE INDEX users_grants_role ON users_grants (tenant, role);

-- A session is a family of refresh tokens. Tokens are derived from its id and the generation.
CREATE TABLE users_sessions (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    version bigint NOT NULL,
    user_id text NOT NULL,
    generation bigint NOT NULL,
    created_ms bigint NOT NULL,
    rotated_ms bigint NOT NULL,
    expires_ms bigint NOT NULL
);
CREATE INDEX users_sessions_user ON users_sessions (tenant, user_id, id);
CREATE INDEX users_sessions_expiry ON users_sessions (expires_ms);

CREATE TABLE users_api_keys (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    version bigint NOT NULL,
    name text NOT NULL,
    prefix text NOT NULL,
    hash bytea NOT NULL UNIQUE,
    scopes text NOT NULL,
    owner_id text,
    created_ms bigint NOT NULL,
    expires_ms bigint
);
CREATE INDEX users_api_keys_page ON users_api_keys (tenant, id);
CREATE INDEX users_api_keys_owner ON users_api_keys (tenant, owner_id, id);

-- That the first administrator's key was made, so that one revoked later never comes back.
CREATE TABLE users_first_key (
    tenant text NOT NULL PRIMARY KEY,
    key_id text NOT NULL
);

-- What was mailed to prove that somebody reads an address. The token itself is derived, not stored.
CREATE TABLE users_mail_tokens (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    user_id text NOT NULL,
    purpose text NOT NULL,
    email text NOT NULL,
    hash bytea NOT NULL UNIQUE,
    created_ms bigint NOT NULL,
    expires_ms bigint NOT NULL
);
CREATE INDEX users_mail_tokens_user ON users_mail_tokens (tenant, user_id, purpose, id);
CREATE INDEX users_mail_tokens_expiry ON users_mail_tokens (expires_ms);

-- Wrong passwords by a keyed hash of the address that was tried, whether it has an account or not.
CREATE TABLE users_failures (
    tenant text NOT NULL,
    account bytea NOT NULL,
    failures bigint NOT NULL,
    failed_ms bigint NOT NULL,
    PRIMARY KEY (tenant, account)
);
CREATE INDEX users_failures_age ON users_failures (failed_ms);
