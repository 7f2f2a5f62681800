"""Databases: SQLite embedded, PostgreSQL when one machine is outgrown."""
