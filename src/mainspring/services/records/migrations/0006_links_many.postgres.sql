-- A field may point at several records, and at users: who is there, users say in the same commit.
ALTER TABLE records_links DROP CONSTRAINT records_links_pkey;
ALTER TABLE records_links ADD PRIMARY KEY (collection, record, field, target);

CREATE OR REPLACE FUNCTION records_link_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.target_collection = 'users' THEN
        RETURN NEW;
    END IF;
    PERFORM 1 FROM records_records
    WHERE collection = NEW.target_collection AND id = NEW.target FOR SHARE;
    IF FOUND THEN
        RETURN NEW;
    END IF;
    RETURN NULL;
END $$;
