"""PostgreSQL as all of Penstock meets it: connections, its errors in words, SQL files.

It owns what storing and reading share. It must not know a table.
"""
