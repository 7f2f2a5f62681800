-- A field may point at several records, and at users: who is there, users say in the same commit.
DROP TRIGGER records_target_of_link;
DROP INDEX records_links_target;
ALTER TABLE records_links RENAME TO records_links_single;
CREATE TABLE records_links (
    collection text NOT NULL,
    record text NOT NULL,
    field text NOT NULL,
    target_collection text NOT NULL,
    target text NOT NULL,
    PRIMARY KEY (collection, record, field, target)
);
INSERT INTO records_links (collection, record, field, target_collection, target)
SELECT collection, record, field, target_collection, target FROM records_links_single;
DROP TABLE records_links_single;
CREATE INDEX records_links_target
ON records_links (target_collection, target, collection, field, record);
CREATE TRIGGER records_target_of_link BEFORE INSERT ON records_links
WHEN NEW.target_collection <> 'users' AND NOT EXISTS (
    SELECT 1 FROM records_records WHERE collection = NEW.target_collection AND id = NEW.target
)
BEGIN
    SELECT RAISE(IGNORE);
END;
