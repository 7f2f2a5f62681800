-- Since when no version of the app that runs has declared a queue: that it is paused is kept for a
-- time. A queue that is not paused needs no row.
ALTER TABLE queues ADD COLUMN left_ms bigint;
