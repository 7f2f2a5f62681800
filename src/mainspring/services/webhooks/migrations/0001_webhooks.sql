CREATE TABLE webhooks_endpoints (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    url text NOT NULL,
    types text NOT NULL,
    filter text,
    description text NOT NULL,
    personal boolean NOT NULL,
    enabled boolean NOT NULL,
    disabled_reason text,
    failing_since_ms bigint,
    secret bytea NOT NULL,
    old_secret bytea,
    old_secret_until_ms bigint NOT NULL,
    created_event text NOT NULL,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL,
    version bigint NOT NULL
);
CREATE INDEX webhooks_endpoints_tenant ON webhooks_endpoints (tenant, id);

-- One row per tenant: how many endpoints it has, and the id of the last change to them. A routing
-- table that was built at a revision holds as long as the revision does, in every process.
CREATE TABLE webhooks_tenants (
    tenant text NOT NULL PRIMARY KEY,
    endpoints bigint NOT NULL,
    revision text NOT NULL
);

-- One row per endpoint and event, from its first attempt on; before that the job is the intent.
CREATE TABLE webhooks_deliveries (
    endpoint_id text NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    state text NOT NULL,
    attempts text NOT NULL,
    attempts_made bigint NOT NULL,
    tries bigint NOT NULL,
    next_ms bigint,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL,
    PRIMARY KEY (endpoint_id, event_id)
);
CREATE INDEX webhooks_deliveries_undelivered ON webhooks_deliveries (endpoint_id, state, event_id)
    WHERE state <> 'delivered';
