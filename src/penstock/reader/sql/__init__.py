"""The SQL that a reading session runs itself, in a file that a DBA can read."""
