-- What people tell of themselves beside their name: JSON, in the fields that settings name.
ALTER TABLE users_users ADD COLUMN profile text NOT NULL DEFAULT '{}';
