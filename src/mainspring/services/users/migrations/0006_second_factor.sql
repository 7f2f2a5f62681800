-- When somebody last proved who they are in a session, and by what (RFC 8176, between spaces).
ALTER TABLE users_sessions ADD COLUMN auth_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE users_sessions ADD COLUMN amr text NOT NULL DEFAULT 'pwd';
UPDATE users_sessions SET auth_ms = created_ms;

-- An authenticator app: its secret is sealed, and confirmed once a code of it was shown. ``step``
-- is the newest time step of which a code was taken: none is taken twice.
CREATE TABLE users_totp (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    version bigint NOT NULL,
    user_id text NOT NULL,
    secret bytea NOT NULL,
    step bigint NOT NULL,
    created_ms bigint NOT NULL,
    confirmed_ms bigint
);
CREATE UNIQUE INDEX users_totp_user ON users_totp (tenant, user_id);

CREATE TABLE users_recovery_codes (
    tenant text NOT NULL,
    user_id text NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (tenant, user_id, hash)
);

-- What was begun and is to be ended once: a log-in that waits for its second factor, say.
CREATE TABLE users_tickets (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    kind text NOT NULL,
    user_id text,
    hash bytea NOT NULL UNIQUE,
    data bytea NOT NULL,
    created_ms bigint NOT NULL,
    expires_ms bigint NOT NULL
);
CREATE INDEX users_tickets_user ON users_tickets (tenant, user_id);
CREATE INDEX users_tickets_expiry ON users_tickets (expires_ms);
