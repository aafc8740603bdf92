"""Backups: dumps by day, base backups with WAL, and how each comes back.

Owns what is in the store and how it gets there and back. Must not know ingest, search
or questions. Inside, each module uses only those named before it:

    store.py            the port: what a place for backups can do
    manifest.py         what a backup says of itself
    metrics_file.py     what the commands tell Prometheus
    catalogue.py        all backups of a store, and what verifying them gave
    retention.py        which of them stay, and what nothing refers to any more
    prune.py            removing the others
"""
