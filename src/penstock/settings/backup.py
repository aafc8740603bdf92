"""What can be set of backups: where they go, how they are made, how long they stay."""

from dataclasses import dataclass

from penstock.settings.declared import setting


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSettings:
    """Where backups are, what makes them, and which of them are kept.

    Credentials are no settings: boto3 finds them as every AWS program does.
    """

    backup_store: str = setting(
        "",
        "Where backups are: s3://bucket/prefix, or file:///directory. Another S3 than"
        " AWS's is named by boto3's own AWS_ENDPOINT_URL_S3.",
        may_be_empty=True,
    )
    backup_jobs: int = setting(
        2,
        "Days that are dumped, restored or verified at once. Each takes a core of"
        " PostgreSQL's and half of one here; the writers need the others.",
        low=1,
        high=32,
    )
    backup_compress: str = setting(
        "auto",
        "How dumps and base backups are compressed. auto: dumps by gzip:1, which every"
        " pg_restore can read. zstd:3 is quicker and smaller, where pg_dump and each"
        " pg_restore that is to read it have it; the embedded PostgreSQL's have not."
        " Base backups by lz4 where barman's Python is ours and has it, else by gzip.",
        choices=("auto", "none", "gzip:1", "gzip:6", "lz4", "zstd:3", "zstd:9"),
    )
    backup_pg_bin: str = setting(
        "",
        "The directory of pg_dump, pg_restore and psql. Empty: those of the embedded"
        " PostgreSQL, of PATH, or of Debian's places, whichever fit the server.",
        may_be_empty=True,
    )
    backup_sse: str = setting(
        "",
        "How S3 encrypts what it stores: AES256 (SSE-S3) or aws:kms (SSE-KMS). Empty:"
        " as the bucket is set.",
        choices=("", "AES256", "aws:kms"),
        may_be_empty=True,
    )
    backup_sse_kms_key_id: str = setting(
        "",
        "The key of aws:kms, as an ARN or an alias. Empty: the account's own for S3.",
        may_be_empty=True,
    )
    backup_keep_daily: int = setting(
        7,
        "Days of which `penstock backup prune` keeps the last backup.",
        low=0,
        high=100_000,
    )
    backup_keep_weekly: int = setting(
        5,
        "Weeks of which it keeps the last backup: a month of them.",
        low=0,
        high=10_000,
    )
    backup_keep_monthly: int = setting(
        12,
        "Months of which it keeps the last backup: a year of them.",
        low=0,
        high=10_000,
    )
    backup_metrics_file: str = setting(
        "",
        "A file for Prometheus, written by each backup command at its end: for"
        " node_exporter's textfile collector. A server that has the same setting shows"
        " it in its /metrics.",
        may_be_empty=True,
    )
    backup_wal_server: str = setting(
        "penstock",
        "Under which name the base backups and the WAL of this PostgreSQL are in the"
        " store: one for each PostgreSQL.",
    )
    backup_barman_bin: str = setting(
        "",
        "The directory of barman-cloud-backup and its kin. Empty: beside Python, else"
        " in PATH.",
        may_be_empty=True,
    )
