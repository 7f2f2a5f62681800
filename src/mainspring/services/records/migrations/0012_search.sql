-- Indexes of the texts of collections in the search engine: which there are, and how far each is.
CREATE TABLE records_search (
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
CREATE INDEX records_search_collection ON records_search (collection);
CREATE INDEX records_search_tenant ON records_search (tenant);
