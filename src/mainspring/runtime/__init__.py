"""What moves: the commit, the event log, consumers, jobs and schedules. Owns the system tables."""
