-- Whether a job keeps others of its unique key out. One that coalesces gives that up when it is
-- claimed, and takes it again when its run did not end it.
ALTER TABLE jobs ADD COLUMN holds_key boolean NOT NULL DEFAULT true;
DROP INDEX jobs_unique;
CREATE UNIQUE INDEX jobs_unique ON jobs (tenant, unique_key, name)
    WHERE unique_key IS NOT NULL AND holds_key AND state IN ('scheduled', 'ready', 'running');
