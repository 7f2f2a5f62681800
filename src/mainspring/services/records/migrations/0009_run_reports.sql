-- What a run could not do, beyond what it tells itself: as many rows as pages in which something failed.
CREATE TABLE records_run_reports (
    run text NOT NULL REFERENCES records_runs (id) ON DELETE CASCADE,
    begins_at bigint NOT NULL,
    errors text NOT NULL,
    PRIMARY KEY (run, begins_at)
);
ALTER TABLE records_runs ADD COLUMN reported bigint NOT NULL DEFAULT 0;
-- While it goes on: the file that it imports, and which of its actor's places it has.
ALTER TABLE records_runs ADD COLUMN blob text;
ALTER TABLE records_runs ADD COLUMN slot bigint;
CREATE UNIQUE INDEX records_runs_slot ON records_runs (tenant, actor, slot);
CREATE INDEX records_runs_actor ON records_runs (tenant, actor, id);
CREATE INDEX records_runs_blob ON records_runs (blob);
