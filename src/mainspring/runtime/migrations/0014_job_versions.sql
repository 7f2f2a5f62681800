-- Since when a job waits aside for a version of the program that can read it, and which cannot.
-- It is parked; what waits aside for the limit of its key has no such moment.
ALTER TABLE jobs ADD COLUMN unread_since_ms bigint;
ALTER TABLE jobs ADD COLUMN unread_by text;
CREATE INDEX jobs_unread ON jobs (unread_since_ms)
    WHERE state = 'ready' AND parked AND unread_since_ms IS NOT NULL;
DROP INDEX jobs_parked;
CREATE INDEX jobs_parked ON jobs (limit_key, priority DESC, id)
    WHERE state = 'ready' AND parked AND unread_since_ms IS NULL;
