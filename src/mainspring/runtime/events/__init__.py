"""The event log, and everything that follows it."""
