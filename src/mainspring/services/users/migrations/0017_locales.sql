-- In which language people are addressed (BCP 47); empty where nobody has said.
ALTER TABLE users_users ADD COLUMN locale text NOT NULL DEFAULT '';
