-- Dead letters by their age: they are kept for a time.
CREATE INDEX jobs_buried ON jobs (updated_ms) WHERE state = 'dead';
