-- Whoever made an endpoint, or last chose what it is sent: it is sent what they may read. The event
-- of its creation names the maker of each that is there already.
ALTER TABLE webhooks_endpoints ADD COLUMN actor text NOT NULL DEFAULT '';
UPDATE webhooks_endpoints SET actor = COALESCE((
    SELECT CAST(e.body AS jsonb) ->> 'actor' FROM events e WHERE e.id = created_event
), '');
