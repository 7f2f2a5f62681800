-- What happened to one thing before an event; seq, the rowid, is part of every index.
CREATE INDEX events_subject ON events (subject);
