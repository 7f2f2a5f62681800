-- A field may point at organisations: which there are, users say in the same commit.
CREATE OR REPLACE FUNCTION records_link_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.target_collection IN ('users', 'organizations') THEN
        RETURN NEW;
    END IF;
    PERFORM 1 FROM records_records
    WHERE collection = NEW.target_collection AND id = NEW.target FOR SHARE;
    IF FOUND THEN
        RETURN NEW;
    END IF;
    RETURN NULL;
END $$;
