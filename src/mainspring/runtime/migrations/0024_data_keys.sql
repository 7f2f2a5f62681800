-- Data keys, wrapped by the keyring's root key or a KMS: the newest generation seals, all of them open.
CREATE TABLE data_keys (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    purpose text NOT NULL,
    generation bigint NOT NULL,
    wrapped bytea NOT NULL,
    wrapped_by text NOT NULL,
    created_ms bigint NOT NULL,
    UNIQUE (tenant, purpose, generation)
);
