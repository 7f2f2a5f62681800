CREATE TABLE links_links (
    id text NOT NULL PRIMARY KEY,
    slug text NOT NULL UNIQUE,
    hits bigint NOT NULL,
    version bigint NOT NULL
);
CREATE TABLE links_hits (
    id text NOT NULL PRIMARY KEY,
    link text NOT NULL
);
