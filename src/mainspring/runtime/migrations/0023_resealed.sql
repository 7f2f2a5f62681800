-- Under which key of the keyring all of a sealed column is, and how often it was gone through for it.
CREATE TABLE resealed (
    name text NOT NULL PRIMARY KEY,
    key_id text NOT NULL,
    passes bigint NOT NULL,
    done_ms bigint NOT NULL
);
