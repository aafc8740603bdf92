"""What `penstock doctor` says of backups: whether they are set up, and can be made.

It owns what is looked for. It must not open a store: `penstock backup list` does.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from penstock.cli.findings import Finding
from penstock.settings import BackupSettings

HOW_TO_GET_BOTO3 = "`make setup` in the clone, or pip install 'penstock[backup]'"


def backups(settings: BackupSettings) -> Iterator[Finding]:
    """Look at where backups go."""
    store = settings.backup_store
    if not store:
        yield Finding("ok", "backups are not set up: backup_store names no place")
        return
    parts = urlsplit(store)
    if parts.scheme == "s3" and find_spec("boto3") is None:
        yield Finding(
            "warn", f"backups go to {store}, and S3 needs boto3", HOW_TO_GET_BOTO3
        )
    elif parts.scheme == "file" and not Path(parts.path).is_dir():
        yield Finding(
            "warn",
            f"backups go to {store}, and there is no such directory",
            "is its disk mounted? `penstock backup create` makes it otherwise",
        )
    else:
        yield Finding("ok", f"backups go to {store}; `penstock backup list` shows them")
