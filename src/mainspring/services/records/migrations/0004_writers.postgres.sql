-- Who writes a record shares a lock of its collection until the commit, and looks at the schema with
-- it in hand; a change of the collection takes that lock alone. Nobody waits for another collection,
-- and no lock of the table is taken, which VACUUM and every long transaction hold too.
CREATE OR REPLACE FUNCTION records_schema_guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(NEW.collection, 4));
    PERFORM 1 FROM records_collections
    WHERE id = NEW.collection AND schema_version = NEW.schema_version;
    IF FOUND THEN
        RETURN NEW;
    END IF;
    RETURN NULL;
END $$;

-- Whether the lock was to be had in time. Writers who come meanwhile wait behind it: not for long.
CREATE FUNCTION records_hold_writers(collection text) RETURNS boolean
LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended(collection, 4));
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END $$;
