-- What a consumer has taken of the log from another bus, by its place there: whichever bus brings
-- it again. What is not in this log has a place after everything.
ALTER TABLE inbox RENAME TO inbox_of_sources;
CREATE TABLE inbox (
    consumer text NOT NULL,
    event_id text NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (consumer, event_id)
);
CREATE INDEX inbox_places ON inbox (consumer, seq);
INSERT INTO inbox (consumer, event_id, seq)
    SELECT DISTINCT taken.consumer, taken.event_id, COALESCE(events.seq, 9223372036854775807)
    FROM inbox_of_sources AS taken LEFT JOIN events ON events.id = taken.event_id;
DROP TABLE inbox_of_sources;
