-- ordinal is taken inside a transaction and so is not commit order; the sequencer gives seq to
-- what it can see committed, in steps. A reader follows seq only.
CREATE TABLE events (
    ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq bigint UNIQUE,
    id text NOT NULL UNIQUE,
    tenant text NOT NULL,
    type text NOT NULL,
    subject text NOT NULL,
    time_ms bigint NOT NULL,
    leaf bytea NOT NULL,
    body text NOT NULL
);
CREATE INDEX events_unsequenced ON events (ordinal) WHERE seq IS NULL;
