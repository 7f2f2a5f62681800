-- For whom a job runs that a caller had done, and the scope that caller needs when it starts. Null
-- for what a service has done: that is the service's own.
ALTER TABLE jobs ADD COLUMN actor text;
ALTER TABLE jobs ADD COLUMN scope text;
