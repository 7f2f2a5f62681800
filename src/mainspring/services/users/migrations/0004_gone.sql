-- What somebody held who was deleted and not erased: only those who hold as much erase the rest.
CREATE TABLE users_gone (
    tenant text NOT NULL,
    id text NOT NULL,
    scopes text NOT NULL,
    PRIMARY KEY (tenant, id)
);
