-- The event that a consumer is at, and how often that was tried by processes that died meanwhile.
ALTER TABLE consumer_cursors ADD COLUMN trying bigint NOT NULL DEFAULT 0;
ALTER TABLE consumer_cursors ADD COLUMN tries bigint NOT NULL DEFAULT 0;
