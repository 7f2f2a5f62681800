-- A key belongs to the jobs of one name: callers, who choose keys for the public ones, cannot take
-- one that a service relies on.
DROP INDEX jobs_unique;
CREATE UNIQUE INDEX jobs_unique ON jobs (tenant, unique_key, name)
    WHERE unique_key IS NOT NULL AND state IN ('scheduled', 'ready', 'running');
