-- Whether this database is in use, or one end of a move between engines (runtime/move), and what
-- the other end is called, without its password.
ALTER TABLE identity ADD COLUMN standing text NOT NULL DEFAULT 'live';
ALTER TABLE identity ADD COLUMN other_end text NOT NULL DEFAULT '';
