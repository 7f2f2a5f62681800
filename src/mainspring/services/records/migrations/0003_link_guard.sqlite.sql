-- A link is written while its target is there, or not at all.
CREATE TRIGGER records_target_of_link BEFORE INSERT ON records_links
WHEN NOT EXISTS (
    SELECT 1 FROM records_records WHERE collection = NEW.target_collection AND id = NEW.target
)
BEGIN
    SELECT RAISE(IGNORE);
END;
