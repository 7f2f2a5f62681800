-- Answers too large to stand in their record, each once however many calls were answered with it.
CREATE TABLE answer_bodies (
    digest bytea NOT NULL PRIMARY KEY,
    account bytea NOT NULL,
    size_bytes bigint NOT NULL,
    sealed bytea NOT NULL,
    made_ms bigint NOT NULL,
    expires_ms bigint NOT NULL
);
CREATE INDEX answer_bodies_account ON answer_bodies (account, made_ms, size_bytes);
CREATE INDEX answer_bodies_expiry ON answer_bodies (expires_ms);
ALTER TABLE idempotency ADD COLUMN digest bytea;
