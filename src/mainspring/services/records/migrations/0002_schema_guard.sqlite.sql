-- A row is written under the schema its collection has now, or not at all: whoever read an older
-- one finds no row changed and starts again.
CREATE TRIGGER records_schema_of_new BEFORE INSERT ON records_records
WHEN NOT EXISTS (
    SELECT 1 FROM records_collections
    WHERE id = NEW.collection AND schema_version = NEW.schema_version
)
BEGIN
    SELECT RAISE(IGNORE);
END;

CREATE TRIGGER records_schema_of_changed BEFORE UPDATE OF data ON records_records
WHEN NOT EXISTS (
    SELECT 1 FROM records_collections
    WHERE id = NEW.collection AND schema_version = NEW.schema_version
)
BEGIN
    SELECT RAISE(IGNORE);
END;
