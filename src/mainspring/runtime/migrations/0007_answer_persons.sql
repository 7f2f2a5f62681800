-- Whom a stored answer tells of: a user's id, or * where there are several. Erasing that user
-- removes its bytes. What was stored before may tell of anybody.
ALTER TABLE idempotency ADD COLUMN person text;
UPDATE idempotency SET person = '*' WHERE event_id IS NULL;
CREATE INDEX idempotency_person ON idempotency (person) WHERE person IS NOT NULL;
