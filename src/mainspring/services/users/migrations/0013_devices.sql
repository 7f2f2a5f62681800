-- What a session's user recognises it by: of when it was last refreshed.
ALTER TABLE users_sessions ADD COLUMN address text NOT NULL DEFAULT '';
ALTER TABLE users_sessions ADD COLUMN user_agent text NOT NULL DEFAULT '';

-- Devices that users logged in from, as keyed hashes: another one is told of.
CREATE TABLE users_devices (
    tenant text NOT NULL,
    user_id text NOT NULL,
    hash bytea NOT NULL,
    seen_ms bigint NOT NULL,
    PRIMARY KEY (tenant, user_id, hash)
);
CREATE INDEX users_devices_age ON users_devices (seen_ms);

-- What a mail tells besides its token: from which device somebody logged in.
ALTER TABLE users_mail_tokens ADD COLUMN about text NOT NULL DEFAULT '';
