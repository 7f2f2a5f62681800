-- What readiness writes to know that the database takes writes.
CREATE TABLE probe (
    name text NOT NULL PRIMARY KEY,
    at_ms bigint NOT NULL
);
