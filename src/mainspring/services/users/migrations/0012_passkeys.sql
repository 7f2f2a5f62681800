-- Passkeys (WebAuthn): which credential of which user, its public key, and how often it has signed
-- as far as it counts. ``backup_eligible`` ones are copied to other devices by their maker.
CREATE TABLE users_passkeys (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    version bigint NOT NULL,
    user_id text NOT NULL,
    credential bytea NOT NULL,
    public_key bytea NOT NULL,
    sign_count bigint NOT NULL,
    name text NOT NULL,
    transports text NOT NULL,
    aaguid text NOT NULL,
    backup_eligible boolean NOT NULL,
    backed_up boolean NOT NULL,
    created_ms bigint NOT NULL,
    used_ms bigint
);
CREATE UNIQUE INDEX users_passkeys_credential ON users_passkeys (tenant, credential);
CREATE INDEX users_passkeys_user ON users_passkeys (tenant, user_id, id);
