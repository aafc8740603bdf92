"""Backups: dumps by day, base backups with WAL, and how each comes back.

Owns what is in the store and how it gets there and back. Must not know ingest, search
or questions. Inside, each module uses only those named before it:

    store.py            the port: what a place for backups can do
    manifest.py         what a backup says of itself
    metrics_file.py     what the commands tell Prometheus
    catalogue.py        all backups of a store, and what verifying them gave
    retention.py        which of them stay, and what nothing refers to any more
    prune.py            removing the others
    programs.py         pg_dump, pg_restore, psql: which, and how they are started
    checksum.py         how many rows a table has, and their sum
    snapshot.py         one look at the database that all parts share
    contents.py         what is in the database
    fingerprint.py      what tells that a day has not changed, without reading it
    dump.py             pg_dump as something to read, to its true end
"""
