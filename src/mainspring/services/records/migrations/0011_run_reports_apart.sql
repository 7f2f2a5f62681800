-- Reports stand by themselves: a move between engines copies table by table, in any order. No
-- release had the table of before.
DROP TABLE records_run_reports;
CREATE TABLE records_run_reports (
    run text NOT NULL,
    begins_at bigint NOT NULL,
    errors text NOT NULL,
    made_ms bigint NOT NULL,
    PRIMARY KEY (run, begins_at)
);
CREATE INDEX records_run_reports_made ON records_run_reports (made_ms);
