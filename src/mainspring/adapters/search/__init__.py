"""Search: SQLite FTS5 embedded, OpenSearch when one machine is outgrown."""
