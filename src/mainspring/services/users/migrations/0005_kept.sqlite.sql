-- Since when somebody is gone, and which keys have expired: neither is kept for ever.
ALTER TABLE users_gone ADD COLUMN gone_ms bigint NOT NULL DEFAULT 0;
UPDATE users_gone SET gone_ms = CAST(unixepoch() AS bigint) * 1000;
CREATE INDEX users_gone_age ON users_gone (gone_ms);
CREATE INDEX users_api_keys_expiry ON users_api_keys (expires_ms) WHERE expires_ms IS NOT NULL;
-- Removed by the platform's own sweep from now on.
DELETE FROM jobs WHERE name = 'users.sweep' AND state IN ('ready', 'scheduled', 'dead');
