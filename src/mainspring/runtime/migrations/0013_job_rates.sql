-- When the next job of a key may start, as GCRA's theoretical arrival time, by the database's clock.
-- A row whose time has passed says what no row says, and is swept.
CREATE TABLE job_rates (
    limit_key text NOT NULL PRIMARY KEY,
    arrival_us bigint NOT NULL
);
CREATE INDEX job_rates_arrival ON job_rates (arrival_us);
-- Jobs of a key that run, or that were let go and wait for a worker.
DROP INDEX jobs_limited;
CREATE INDEX jobs_limited ON jobs (limit_key, state)
    WHERE limit_key IS NOT NULL AND NOT parked AND state IN ('ready', 'running');
