"""Jobs and schedules: claiming, running, and what falls due."""
