"""Backups: dumps by day, base backups with WAL, and how each comes back.

Owns what is in the store and how it gets there and back. Must not know ingest, search
or questions. Inside, each module uses only those named before it:

    store.py        the port: what a place for backups can do
    files.py        ... in a directory
    s3_words.py     what each failure of boto3's means, in a line
    s3_client.py    boto3's client: how often it tries, how long it waits
    s3_upload.py    one object, in parts, or nothing
    s3.py           ... in a bucket
    stores.py       which of them a URL is
    manifest.py     what a backup says of itself
    lock.py         who is changing a store now
"""
