-- What it costs to compare passwords that came with users from elsewhere: an address that nobody has
-- costs as much as some of theirs, so that the time of an answer does not tell.
CREATE TABLE users_hash_shapes (
    tenant text NOT NULL,
    decoy text NOT NULL,
    PRIMARY KEY (tenant, decoy)
);
