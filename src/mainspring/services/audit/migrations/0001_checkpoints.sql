-- Published checkpoints: what was signed once is never contradicted, so the next one is proved to
-- extend the last before it is signed.
CREATE TABLE audit_checkpoints (
    size bigint NOT NULL PRIMARY KEY,
    root bytea NOT NULL,
    time_ms bigint NOT NULL,
    note text NOT NULL
);
