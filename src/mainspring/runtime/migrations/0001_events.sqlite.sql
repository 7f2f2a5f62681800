-- seq is the rowid: one writer gives it in commit order, without gaps.
CREATE TABLE events (
    seq integer PRIMARY KEY,
    id text NOT NULL UNIQUE,
    tenant text NOT NULL,
    type text NOT NULL,
    subject text NOT NULL,
    time_ms bigint NOT NULL,
    leaf bytea NOT NULL,
    body text NOT NULL
);
