-- Groups of people. The version of an organisation guards who is in it: whoever changes that
-- changes the row.
CREATE TABLE users_organizations (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    version bigint NOT NULL,
    name text NOT NULL,
    created_ms bigint NOT NULL,
    updated_ms bigint NOT NULL
);
CREATE INDEX users_organizations_page ON users_organizations (tenant, id);

CREATE TABLE users_members (
    tenant text NOT NULL,
    organization_id text NOT NULL,
    user_id text NOT NULL,
    role text NOT NULL,
    joined_ms bigint NOT NULL,
    PRIMARY KEY (tenant, organization_id, user_id)
);
CREATE INDEX users_members_user ON users_members (tenant, user_id, organization_id);

-- The token that was mailed is derived, not stored.
CREATE TABLE users_invitations (
    id text NOT NULL PRIMARY KEY,
    tenant text NOT NULL,
    organization_id text NOT NULL,
    email text NOT NULL,
    email_key text NOT NULL,
    role text NOT NULL,
    hash bytea NOT NULL UNIQUE,
    inviter_id text NOT NULL,
    created_ms bigint NOT NULL,
    expires_ms bigint NOT NULL
);
CREATE UNIQUE INDEX users_invitations_address
    ON users_invitations (tenant, organization_id, email_key);
CREATE INDEX users_invitations_page ON users_invitations (tenant, organization_id, id);
CREATE INDEX users_invitations_invitee ON users_invitations (tenant, email_key, id);
CREATE INDEX users_invitations_expiry ON users_invitations (expires_ms);
