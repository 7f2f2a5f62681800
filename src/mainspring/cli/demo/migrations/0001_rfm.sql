CREATE TABLE rfm_orders (
    id text NOT NULL PRIMARY KEY,
    customer text NOT NULL,
    day text NOT NULL,
    cents bigint NOT NULL
);
CREATE INDEX rfm_orders_customer ON rfm_orders (customer);

-- seen counts the orders that came; frequency those the job has counted. They end up equal.
CREATE TABLE rfm_customers (
    customer text NOT NULL PRIMARY KEY,
    version bigint NOT NULL,
    seen bigint NOT NULL,
    recency_days bigint NOT NULL,
    frequency bigint NOT NULL,
    monetary_cents bigint NOT NULL
);
CREATE INDEX rfm_customers_stale ON rfm_customers (customer) WHERE seen <> frequency;
