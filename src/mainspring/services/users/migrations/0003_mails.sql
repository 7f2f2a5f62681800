-- Mails of one kind to one address, by a keyed hash of both, so that nobody can be flooded.
CREATE TABLE users_mails (
    tenant text NOT NULL,
    account bytea NOT NULL,
    mails bigint NOT NULL,
    mailed_ms bigint NOT NULL,
    PRIMARY KEY (tenant, account)
);
CREATE INDEX users_mails_age ON users_mails (mailed_ms);

-- Who has read whom lately, so that an hour of reading leaves one event.
CREATE TABLE users_reads (
    tenant text NOT NULL,
    reader text NOT NULL,
    person text NOT NULL,
    read_ms bigint NOT NULL,
    PRIMARY KEY (tenant, reader, person)
);
CREATE INDEX users_reads_person ON users_reads (tenant, person);
CREATE INDEX users_reads_age ON users_reads (read_ms);
