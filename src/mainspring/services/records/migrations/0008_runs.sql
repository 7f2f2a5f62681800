-- Work on many records that takes more than one commit: how far it has come is part of each of them.
CREATE TABLE records_runs (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    collection text NOT NULL,
    kind text NOT NULL,
    spec text NOT NULL,
    actor text NOT NULL,
    state text NOT NULL,
    total bigint,
    done bigint NOT NULL,
    skipped bigint NOT NULL,
    failed bigint NOT NULL,
    errors text NOT NULL,
    problem text,
    place text NOT NULL,
    at_once bigint NOT NULL,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL,
    version bigint NOT NULL
);
CREATE INDEX records_runs_updated ON records_runs (updated_ms);
