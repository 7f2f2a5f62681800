-- How far each consumer has come in each partition of what it reads, and who takes it further: a
-- lease by the database's clock, and a claim number that only grows.
CREATE TABLE consumer_cursors (
    consumer text NOT NULL,
    source text NOT NULL,
    partition bigint NOT NULL,
    position bigint NOT NULL,
    owner text NOT NULL,
    claim bigint NOT NULL,
    lease_until_ms bigint NOT NULL,
    PRIMARY KEY (consumer, source, partition)
);
INSERT INTO consumer_cursors (consumer, source, partition, position, owner, claim, lease_until_ms)
    SELECT consumer, 'log', 0, seq, '', 0, 0 FROM cursors;
DROP TABLE cursors;

-- What a consumer has taken of a source that may repeat it.
CREATE TABLE inbox (
    consumer text NOT NULL,
    source text NOT NULL,
    event_id text NOT NULL,
    taken_ms bigint NOT NULL,
    PRIMARY KEY (consumer, source, event_id)
);
CREATE INDEX inbox_taken ON inbox (taken_ms);
