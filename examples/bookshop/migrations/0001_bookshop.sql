CREATE TABLE bookshop_books (
    id text NOT NULL PRIMARY KEY,
    title text NOT NULL,
    price_cents bigint NOT NULL,
    stock bigint NOT NULL,
    version bigint NOT NULL
);
CREATE UNIQUE INDEX bookshop_books_title ON bookshop_books (title);

CREATE TABLE bookshop_orders (
    id text NOT NULL PRIMARY KEY,
    book_id text NOT NULL,
    copies bigint NOT NULL,
    total_cents bigint NOT NULL,
    state text NOT NULL,
    version bigint NOT NULL
);
CREATE INDEX bookshop_orders_open ON bookshop_orders (id) WHERE state = 'placed';

-- What every book has sold: kept by a consumer of the shop's own events.
CREATE TABLE bookshop_sales (
    book_id text NOT NULL PRIMARY KEY,
    copies bigint NOT NULL,
    revenue_cents bigint NOT NULL
);
