-- A link is written while its target is there, or not at all. The target is held until the commit, so
-- that nobody deletes it in between.
CREATE FUNCTION records_link_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM records_records
    WHERE collection = NEW.target_collection AND id = NEW.target FOR SHARE;
    IF FOUND THEN
        RETURN NEW;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER records_target_of_link BEFORE INSERT ON records_links
FOR EACH ROW EXECUTE FUNCTION records_link_guard();
