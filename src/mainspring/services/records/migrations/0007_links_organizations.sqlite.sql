-- A field may point at organisations: which there are, users say in the same commit.
DROP TRIGGER records_target_of_link;
CREATE TRIGGER records_target_of_link BEFORE INSERT ON records_links
WHEN NEW.target_collection NOT IN ('users', 'organizations') AND NOT EXISTS (
    SELECT 1 FROM records_records WHERE collection = NEW.target_collection AND id = NEW.target
)
BEGIN
    SELECT RAISE(IGNORE);
END;
