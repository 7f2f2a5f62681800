-- A row is written under the schema its collection has now, or not at all: whoever read an older
-- one finds no row changed and starts again. A change of schema locks records_records against
-- writers until it has committed, so that none of them can be between this look and its own commit.
CREATE FUNCTION records_schema_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM records_collections
    WHERE id = NEW.collection AND schema_version = NEW.schema_version;
    IF FOUND THEN
        RETURN NEW;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER records_schema_of_new BEFORE INSERT ON records_records
FOR EACH ROW EXECUTE FUNCTION records_schema_guard();

CREATE TRIGGER records_schema_of_changed BEFORE UPDATE OF data ON records_records
FOR EACH ROW EXECUTE FUNCTION records_schema_guard();
