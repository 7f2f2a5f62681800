CREATE TABLE ledger_accounts (
    id text NOT NULL PRIMARY KEY,
    name text NOT NULL UNIQUE,
    balance bigint NOT NULL,
    version bigint NOT NULL
);

-- What the consumer saw: a second effect of one event would break the primary key.
CREATE TABLE ledger_seen (
    event_id text NOT NULL PRIMARY KEY,
    type text NOT NULL
);

-- What the jobs did: a second effect of one job would break the primary key.
CREATE TABLE ledger_stamps (
    account text NOT NULL PRIMARY KEY
);

-- What the jobs of a scenario did, and its frail consumer: again each once, or the key breaks.
CREATE TABLE ledger_done (
    task text NOT NULL PRIMARY KEY
);
