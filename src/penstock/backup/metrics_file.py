"""What the backup commands tell Prometheus: a file, for it or for our server to read.

It owns what each command says at its end, and that a reader never sees half of it, nor
loses what another command has said. It must not fail a command: that a file cannot be
written is logged, and the backup is as good without it.
"""

import fcntl
import logging
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

from penstock.backup.manifest import Manifest
from penstock.telemetry.backup import Samples, read_samples, text_of

# node_exporter, and a server, read it as other users.
FILE_MODE = 0o644

logger = logging.getLogger(__name__)


def created(path: str, manifest: Manifest) -> None:
    """Tell of a backup that is complete; without a path nobody is told."""
    kind = ("kind", "logical")
    record(
        path,
        {
            ("penstock_backup_rows", kind): manifest.rows,
            ("penstock_backup_own_bytes", kind): manifest.own_bytes,
            **_of_a_backup(
                "logical",
                manifest.created_at,
                manifest.size_bytes,
                manifest.duration_seconds,
            ),
        },
    )


def base_created(
    path: str, created_at: datetime, size_bytes: int, duration_seconds: float
) -> None:
    """Tell of a base backup that is complete."""
    record(path, _of_a_backup("base", created_at, size_bytes, duration_seconds))


def _of_a_backup(
    kind: str, created_at: datetime, size_bytes: int, duration_seconds: float
) -> Samples:
    label, at = ("kind", kind), created_at.timestamp()
    return {
        ("penstock_backup_last_success_timestamp_seconds", label): at,
        ("penstock_backup_size_bytes", label): size_bytes,
        ("penstock_backup_duration_seconds", label): duration_seconds,
    }


def failed(path: str, command: str) -> None:
    """Tell that a command (`create`, `verify`, `base` ...) has failed now."""
    name = "penstock_backup_last_failure_timestamp_seconds"
    record(path, {(name, ("command", command)): time.time()})


@contextmanager
def telling_failure(path: str, command: str) -> Iterator[None]:
    """Tell that a command has failed, if the block does; one interrupted has, too."""
    try:
        yield
    except BaseException:
        failed(path, command)
        raise


def verified(path: str, backup_id: str, ok: bool) -> None:
    """Tell what came of verifying a backup."""
    logger.debug("backup verified", extra={"backup": backup_id, "ok": ok})
    record(
        path,
        {
            ("penstock_backup_verify_success", None): float(ok),
            ("penstock_backup_verify_timestamp_seconds", None): time.time(),
        },
    )


def pruned(path: str, kept: Iterable[Manifest]) -> None:
    """Tell which backups are left."""
    manifests = list(kept)
    parts = {part.key: part.size_bytes for each in manifests for part in each.parts}
    record(
        path,
        {
            ("penstock_backup_kept", None): len(manifests),
            ("penstock_backup_kept_bytes", None): sum(parts.values()),
            ("penstock_backup_prune_timestamp_seconds", None): time.time(),
        },
    )


def record(path: str, samples: Samples) -> None:
    """Write these samples, and keep what else the file says.

    Args:
        path: of the file, empty for none.
    """
    if not path:
        return
    file = Path(path)
    try:
        with _alone_in(file.parent):
            _write(file, text_of(_already_in(file) | samples))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        logger.warning("backup_metrics_file %s is not written: %s", path, reason)


def _already_in(file: Path) -> Samples:
    """Return what commands have said before.

    Raises:
        ValueError: somebody else's metrics are in it, and would be lost.
    """
    try:
        return read_samples(file)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{error}; remove it, or name another file") from error


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Let no other command write between our reading and our writing."""
    handle = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(file: Path, text: str) -> None:
    """Put a new file in the place of the old: whoever reads sees one of both.

    Its name meanwhile does not end as node_exporter's files do (`.prom`).
    """
    with NamedTemporaryFile(
        "w", dir=file.parent, prefix=f".{file.name}.", delete=False
    ) as new:
        try:
            new.write(text)
            os.fchmod(new.fileno(), FILE_MODE)
            new.close()
            os.replace(new.name, file)
        except BaseException:
            Path(new.name).unlink(missing_ok=True)
            raise
