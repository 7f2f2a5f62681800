-- Who made a key: a user or another key. It is good only while its whole line is.
-- Of keys that belong to no user nobody wrote down who made them: they stand for themselves.
ALTER TABLE users_api_keys ADD COLUMN maker_id text;
UPDATE users_api_keys SET maker_id = owner_id;
CREATE INDEX users_api_keys_maker ON users_api_keys (tenant, maker_id, id);
