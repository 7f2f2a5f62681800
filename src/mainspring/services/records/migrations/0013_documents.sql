-- Collections as documents in a MongoDB: which indexes of them there are, and how far each is.
CREATE TABLE records_documents (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    collection text NOT NULL,
    fields text NOT NULL,
    made_of text NOT NULL,
    state text NOT NULL,
    place text NOT NULL,
    built bigint NOT NULL,
    applied bigint NOT NULL,
    version bigint NOT NULL
);
CREATE INDEX records_documents_collection ON records_documents (collection);
CREATE INDEX records_documents_tenant ON records_documents (tenant);
