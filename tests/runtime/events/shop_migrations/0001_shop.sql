CREATE TABLE shop_lines (
    id text NOT NULL PRIMARY KEY,
    place text NOT NULL,
    batch text NOT NULL
);
