-- Which database this is, and which keyring it was written with: one row, made by the first start.
CREATE TABLE identity (
    one bigint NOT NULL PRIMARY KEY,
    id text NOT NULL,
    epoch bigint NOT NULL,
    keyring text NOT NULL,
    keys text NOT NULL,
    created_ms bigint NOT NULL
);
