-- What jobs share that may run only so many at a time; those over it are parked, out of the index
-- that workers claim from, until one of the same key ends.
ALTER TABLE jobs ADD COLUMN limit_key text;
ALTER TABLE jobs ADD COLUMN parked boolean NOT NULL DEFAULT false;
DROP INDEX jobs_ready;
CREATE INDEX jobs_ready ON jobs (queue, priority DESC, id, name)
    WHERE state = 'ready' AND NOT parked;
CREATE INDEX jobs_parked ON jobs (limit_key, priority DESC, id)
    WHERE state = 'ready' AND parked;
CREATE INDEX jobs_limited ON jobs (limit_key) WHERE state = 'running' AND limit_key IS NOT NULL;
