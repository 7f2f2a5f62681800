-- From where a key may be used (CIDR, between spaces; from everywhere where it is empty), and when it
-- was last used, to within some minutes.
ALTER TABLE users_api_keys ADD COLUMN addresses text NOT NULL DEFAULT '';
ALTER TABLE users_api_keys ADD COLUMN used_ms bigint;
