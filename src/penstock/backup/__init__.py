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
    manifest.py         what a backup says of itself
    lock.py             who is changing a store now
    metrics_file.py     what the commands tell Prometheus
    catalogue.py        all backups of a store, and what verifying them gave
    latest.py           which of them is the newest, and of which database
    retention.py        which of them stay, and what nothing refers to any more
    prune.py            removing the others
    programs.py         pg_dump, pg_restore, psql: which, and how they are started
    checksum.py         how many rows a table has, and their sum
    snapshot.py         one look at the database that all parts share
    contents.py         what is in the database
    fingerprint.py      what tells that a day has not changed, without reading it
    dump.py             pg_dump as something to read, to its true end
    threads.py          work that blocks, for who may be stopped meanwhile
    earlier.py          what an earlier backup has dumped, to be referred to
    parts.py            the parts of one backup, dumped or referred to
    create.py           all of it: a backup
    at_once.py          work for each of many things, so many at once
    archive.py          a dump through pg_restore: its statements, its rows
    loading.py          a part's rows into a table
    target.py           where a backup is restored to, and how far a restore came
    restore_whole.py    into an empty database
    restore_days.py     days, into one that is in use
    restore.py          what is asked for, and what has been done
    verify.py           restoring into a scratch PostgreSQL, and comparing
    physical.py         the port: what makes base backups and keeps WAL
    barman.py           ... by barman-cloud's programs
    base.py             a base backup, and which of them stay
    wal_owner.py        whose WAL is in an archive
    wal_segment.py      having WAL archived now, and waiting until it is
    wal_enable.py       having WAL archived from now on
    target_time.py      the moment that a restore goes to
    timelines.py        which timeline was in use then, and whether its WAL is whole
    recovery_files.py   what makes a server recover, and what it says of it
    recovery.py         all of it: a restore to a moment
    schedule.py         what makes backups by itself: systemd, compose, cron
    schedule_install.py putting that where systemd finds it
"""
