-- Who somebody is at an issuer they log in with (OpenID Connect, or OAuth 2 at GitHub).
CREATE TABLE users_identities (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    user_id text NOT NULL,
    provider text NOT NULL,
    issuer text NOT NULL,
    subject text NOT NULL,
    created_ms bigint NOT NULL
);
CREATE UNIQUE INDEX users_identities_subject ON users_identities (tenant, issuer, subject);
CREATE INDEX users_identities_user ON users_identities (tenant, user_id, id);
