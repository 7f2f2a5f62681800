-- Since when an administrator lets somebody do nothing, and why; the reason is empty otherwise.
ALTER TABLE users_users ADD COLUMN disabled_ms bigint;
ALTER TABLE users_users ADD COLUMN disabled_reason text NOT NULL DEFAULT '';
