-- What points at a record is found in the index alone, in the order of what points.
DROP INDEX records_links_target;
CREATE INDEX records_links_target
ON records_links (target_collection, target, collection, field, record);
