-- How often a job was claimed. It only grows, so it fences what an earlier claim still wants to
-- write; attempts are counted apart, because waiting longer costs none.
ALTER TABLE jobs ADD COLUMN claim bigint NOT NULL DEFAULT 0;
DROP INDEX jobs_ready;
CREATE INDEX jobs_ready ON jobs (queue, priority DESC, id, name) WHERE state = 'ready';
