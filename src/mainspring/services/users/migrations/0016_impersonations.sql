-- Who acts as a user in this session, which has no refresh token then; null for the user's own.
ALTER TABLE users_sessions ADD COLUMN impersonator_id text;

-- Who acted as whom, and why: each with the id of its session. It holds for as long as the session
-- does that it was begun in.
CREATE TABLE users_impersonations (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    user_id text NOT NULL,
    impersonator_id text NOT NULL,
    begun_in text NOT NULL,
    reason text NOT NULL,
    writes boolean NOT NULL,
    started_ms bigint NOT NULL,
    expires_ms bigint NOT NULL,
    ended_ms bigint,
    ended_by text NOT NULL DEFAULT ''
);
CREATE INDEX users_impersonations_page ON users_impersonations (tenant, id);
CREATE INDEX users_impersonations_user ON users_impersonations (tenant, user_id, id);
CREATE INDEX users_impersonations_impersonator
    ON users_impersonations (tenant, impersonator_id, started_ms);
CREATE INDEX users_impersonations_age ON users_impersonations (started_ms);
