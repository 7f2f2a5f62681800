-- What happened to one thing before an event. Of one thing, events take their ordinals in the order
-- of their commits: whoever changes it next has read what the one before committed.
CREATE INDEX events_subject ON events (subject, ordinal);
