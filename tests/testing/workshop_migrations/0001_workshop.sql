CREATE TABLE workshop_tools (
    id text NOT NULL PRIMARY KEY,
    name text NOT NULL UNIQUE,
    price_amount bigint NOT NULL,
    price_currency text NOT NULL,
    version bigint NOT NULL
);
