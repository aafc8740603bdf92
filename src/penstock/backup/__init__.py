"""Backups: dumps by day, base backups with WAL, and how each comes back.

Owns what is in the store and how it gets there and back. Must not know ingest, search
or questions. Inside, each module uses only those named before it:

    store.py            the port: what a place for backups can do
    files.py            ... in a directory
    s3_words.py         what each failure of boto3's means, in a line
    s3_client.py        boto3's client: how often it tries, how long it waits
    s3_upload.py        one object, in parts, or nothing
    s3.py               ... in a bucket
    stores.py           which of them a URL is
    lock.py             who is changing a store now
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
    create.py           all of it: a backup
    at_once.py          work for each of many things, so many at once
    archive.py          a dump through pg_restore: its statements, its rows
    loading.py          a part's rows into a table
    target.py           where a backup is restored to, and how far a restore came
    restore_whole.py    into an empty database
    restore_days.py     days, into one that is in use
    restore.py          what is asked for, and what has been done
    verify.py           restoring into a scratch PostgreSQL, and comparing
    physical.py         the port: base backups and WAL, and what is done with them
    barman.py           ... by barman-cloud's programs
    base.py             making a base backup, and what has to be so before
    wal_owner.py        whose WAL is in the archive
    wal_enable.py       turning the archiving on, up to the first segment
    target_time.py      the moment that a restore goes to
    recovery_files.py   what a restored PGDATA is told, and what its log says then
    recovery.py         base backup, WAL, and a server that is there again
"""
