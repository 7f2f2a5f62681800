CREATE TABLE notes_notes (id text PRIMARY KEY, title text NOT NULL, version bigint NOT NULL);
