CREATE TABLE idempotency (
    key_hash bytea NOT NULL PRIMARY KEY,
    fingerprint bytea NOT NULL,
    status bigint NOT NULL,
    headers text NOT NULL,
    body bytea,
    event_id text,
    body_from bigint NOT NULL,
    body_to bigint NOT NULL,
    sealed boolean NOT NULL,
    expires_ms bigint NOT NULL
);
CREATE INDEX idempotency_expiry ON idempotency (expires_ms);

CREATE TABLE jobs (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    queue text NOT NULL,
    name text NOT NULL,
    args text NOT NULL,
    state text NOT NULL,
    priority bigint NOT NULL,
    run_at_ms bigint NOT NULL,
    attempt bigint NOT NULL,
    max_attempts bigint NOT NULL,
    lease_until_ms bigint NOT NULL,
    worker text,
    unique_key text,
    coalesces boolean NOT NULL,
    progress double precision,
    error text,
    correlation_id text NOT NULL,
    causation_id text,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL
);
CREATE INDEX jobs_ready ON jobs (queue, priority DESC, id) WHERE state = 'ready';
CREATE INDEX jobs_scheduled ON jobs (run_at_ms) WHERE state = 'scheduled';
CREATE INDEX jobs_running ON jobs (lease_until_ms) WHERE state = 'running';
CREATE INDEX jobs_dead ON jobs (queue, id) WHERE state = 'dead';
CREATE UNIQUE INDEX jobs_unique ON jobs (tenant, unique_key)
    WHERE unique_key IS NOT NULL AND state IN ('scheduled', 'ready', 'running');

CREATE TABLE queues (
    name text NOT NULL PRIMARY KEY,
    paused boolean NOT NULL
);

-- How far each consumer has taken the log: its inbox. Moving it is part of the consumer's commit.
CREATE TABLE cursors (
    consumer text NOT NULL PRIMARY KEY,
    seq bigint NOT NULL
);

CREATE TABLE schedules (
    name text NOT NULL PRIMARY KEY,
    next_ms bigint NOT NULL
);

-- A person's key, sealed with the keyring; destroying the row erases the person.
CREATE TABLE subject_keys (
    tenant text NOT NULL,
    person text NOT NULL,
    sealed bytea NOT NULL,
    PRIMARY KEY (tenant, person)
);

-- Roots of complete subtrees of 256 leaves at level 1, of 256 of those at level 2, and so on.
CREATE TABLE tree_nodes (
    level bigint NOT NULL,
    position bigint NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (level, position)
);
