-- Tenants whose last endpoint has gone: their rows go too.
CREATE INDEX webhooks_tenants_empty ON webhooks_tenants (tenant) WHERE endpoints = 0;
