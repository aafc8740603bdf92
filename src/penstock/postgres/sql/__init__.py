"""The SQL about PostgreSQL itself, in files that a DBA can read."""
