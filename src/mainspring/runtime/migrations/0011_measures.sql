-- What was counted, by measure, key and the moment its bucket begins.
CREATE TABLE measures (
    tenant text NOT NULL,
    name text NOT NULL,
    key text NOT NULL,
    bucket_ms bigint NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (tenant, name, key, bucket_ms)
);
CREATE INDEX measures_age ON measures (name, bucket_ms);
