-- The place of an event is written beside it, and the event is never rewritten. ordinal is taken
-- inside a transaction and so is not commit order; a transaction has its id before it takes one
-- (sequencer.py says why). Whatever is unique in events holds time_ms, so that the table can be
-- partitioned by it.
LOCK TABLE events IN ACCESS EXCLUSIVE MODE;
CREATE TABLE event_places (
    seq bigint NOT NULL PRIMARY KEY,
    ordinal bigint NOT NULL UNIQUE,
    time_ms bigint NOT NULL,
    settled bigint NOT NULL
);
INSERT INTO event_places (seq, ordinal, time_ms, settled)
    SELECT seq, ordinal, time_ms, (
        SELECT COALESCE(MIN(ordinal) FILTER (WHERE seq IS NULL) - 1, MAX(ordinal)) FROM events
    )
    FROM events WHERE seq IS NOT NULL;

DROP INDEX events_unsequenced;
ALTER TABLE events DROP CONSTRAINT events_pkey;
ALTER TABLE events DROP CONSTRAINT events_id_key;
ALTER TABLE events DROP COLUMN seq;
ALTER TABLE events ADD PRIMARY KEY (id, time_ms);
CREATE INDEX events_ordinal ON events (ordinal);

ALTER TABLE events ALTER COLUMN ordinal DROP IDENTITY;
CREATE SEQUENCE event_ordinals;
SELECT setval('event_ordinals', (SELECT COALESCE(MAX(ordinal), 0) + 1 FROM events), false);
ALTER TABLE events ALTER COLUMN ordinal SET DEFAULT
    CASE WHEN pg_current_xact_id() IS NOT NULL THEN nextval('event_ordinals') END;

CREATE VIEW logged_events AS
    SELECT places.seq, events.id, tenant, type, subject, events.time_ms, leaf, body
    FROM events LEFT JOIN event_places AS places ON places.ordinal = events.ordinal;
