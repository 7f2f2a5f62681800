CREATE TABLE records_collections (
    tenant text NOT NULL,
    name text NOT NULL,
    id text NOT NULL UNIQUE,
    definition text NOT NULL,
    schema_version bigint NOT NULL,
    ready_version bigint NOT NULL,
    problem text,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL,
    version bigint NOT NULL,
    PRIMARY KEY (tenant, name)
);

-- data is the whole representation, as it is answered. k1 to k8 are the keys of the collection's
-- indexes, u1 to u4 those of its unique fields: bytes whose order is the order of the values, so it
-- is the same on every engine and no index is made or dropped while the platform runs.
CREATE TABLE records_records (
    collection text NOT NULL,
    id text NOT NULL,
    version bigint NOT NULL,
    schema_version bigint NOT NULL,
    data text NOT NULL,
    k1 bytea,
    k2 bytea,
    k3 bytea,
    k4 bytea,
    k5 bytea,
    k6 bytea,
    k7 bytea,
    k8 bytea,
    u1 bytea,
    u2 bytea,
    u3 bytea,
    u4 bytea,
    PRIMARY KEY (collection, id)
);
CREATE INDEX records_k1 ON records_records (collection, k1, id) WHERE k1 IS NOT NULL;
CREATE INDEX records_k2 ON records_records (collection, k2, id) WHERE k2 IS NOT NULL;
CREATE INDEX records_k3 ON records_records (collection, k3, id) WHERE k3 IS NOT NULL;
CREATE INDEX records_k4 ON records_records (collection, k4, id) WHERE k4 IS NOT NULL;
CREATE INDEX records_k5 ON records_records (collection, k5, id) WHERE k5 IS NOT NULL;
CREATE INDEX records_k6 ON records_records (collection, k6, id) WHERE k6 IS NOT NULL;
CREATE INDEX records_k7 ON records_records (collection, k7, id) WHERE k7 IS NOT NULL;
CREATE INDEX records_k8 ON records_records (collection, k8, id) WHERE k8 IS NOT NULL;
CREATE UNIQUE INDEX records_u1 ON records_records (collection, u1) WHERE u1 IS NOT NULL;
CREATE UNIQUE INDEX records_u2 ON records_records (collection, u2) WHERE u2 IS NOT NULL;
CREATE UNIQUE INDEX records_u3 ON records_records (collection, u3) WHERE u3 IS NOT NULL;
CREATE UNIQUE INDEX records_u4 ON records_records (collection, u4) WHERE u4 IS NOT NULL;

-- Which record points at which, by relation field.
CREATE TABLE records_links (
    collection text NOT NULL,
    record text NOT NULL,
    field text NOT NULL,
    target_collection text NOT NULL,
    target text NOT NULL,
    PRIMARY KEY (collection, record, field)
);
CREATE INDEX records_links_target ON records_links (target_collection, target);
