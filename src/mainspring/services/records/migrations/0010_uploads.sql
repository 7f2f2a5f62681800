-- Uploads that were begun and not finished: what was announced, and where it is to go.
CREATE TABLE records_uploads (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    maker text NOT NULL,
    collection text NOT NULL,
    record text NOT NULL,
    field text NOT NULL,
    blob text NOT NULL,
    compared bigint NOT NULL,
    size_bytes bigint NOT NULL,
    sha256 text NOT NULL,
    media_type text NOT NULL,
    name text,
    expires_ms bigint NOT NULL,
    version bigint NOT NULL
);
CREATE INDEX records_uploads_expires ON records_uploads (expires_ms);
CREATE INDEX records_uploads_maker ON records_uploads (tenant, maker);
