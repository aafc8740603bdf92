"""The metrics of backups: commands write them to a file, and the server shows it.

It owns their names and help, the form of that file, and what the server says of one
that it cannot read: a broken file is a metric, never a broken /metrics. It must not
know what a backup is.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import GaugeMetricFamily, Metric


class Told(NamedTuple):
    """What a metric is, and its label, if it has one."""

    help_text: str
    label: str = ""


# All are gauges: each says how it was the last time.
FAMILIES: dict[str, Told] = {
    "penstock_backup_last_success_timestamp_seconds": Told(
        "The time of the newest backup: what was committed before it is in it.", "kind"
    ),
    "penstock_backup_last_failure_timestamp_seconds": Told(
        "When a backup command last failed; one that was interrupted has failed too.",
        "command",
    ),
    "penstock_backup_size_bytes": Told(
        "All that a restore of the newest backup reads.", "kind"
    ),
    "penstock_backup_own_bytes": Told(
        "What the newest backup itself has added to the store.", "kind"
    ),
    "penstock_backup_rows": Told("Rows of logs in the newest backup.", "kind"),
    "penstock_backup_duration_seconds": Told("How long the newest took.", "kind"),
    "penstock_backup_verify_success": Told(
        "Is 1 if the backup verified last came back as it was, 0 if not."
    ),
    "penstock_backup_verify_timestamp_seconds": Told(
        "When a backup was last verified, whatever came of it."
    ),
    "penstock_backup_kept": Told("Backups in the store after the last prune."),
    "penstock_backup_kept_bytes": Told("All that they hold together, each part once."),
    "penstock_backup_prune_timestamp_seconds": Told("When they were last pruned."),
}
READABLE = "penstock_backup_metrics_file_readable"

# A sample's name and its label, if it has one: ("kind", "logical").
Sample = tuple[str, tuple[str, str] | None]
Samples = dict[Sample, float]

# Some dozens of lines are 4 KB; a file of more is none of ours.
MAX_FILE_BYTES = 64 * 1024
_LINE = re.compile(
    r"(?P<name>penstock_backup_[a-z_]+)"
    r'(?:\{(?P<label>[a-z_]+)="(?P<value>[^"\\\n]*)"\})? (?P<number>\S+)'
)


def text_of(samples: Samples) -> str:
    """Return Prometheus's text format of what `parse` reads."""
    lines: list[str] = []
    names = sorted({name for name, _ in samples})
    for name in names:
        if name in FAMILIES:
            lines.append(f"# HELP {name} {FAMILIES[name].help_text}")
        lines.append(f"# TYPE {name} gauge")
        for (each, label), number in sorted(samples.items(), key=lambda item: item[0]):
            if each == name:
                labels = "" if label is None else f'{{{label[0]}="{label[1]}"}}'
                lines.append(f"{name}{labels} {number!r}")
    return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> Samples:
    """Return the samples of a text that backup commands have written.

    Raises:
        ValueError: a line is none of theirs.
    """
    samples: Samples = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise ValueError(f"line {number} is not of a backup command's metrics")
        label = (found["label"], found["value"]) if found["label"] else None
        samples[found["name"], label] = float(found["number"])
    return samples


def read_samples(path: Path) -> Samples:
    """Return what is in the file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large, no file, or not of backup commands.
    """
    # Without waiting: where the path is a pipe nobody may ever write to it.
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(opened, "rb") as file:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            raise ValueError("it is no file")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ValueError(f"it has more than {MAX_FILE_BYTES:,} bytes")
    return parse(data.decode())


class BackupFile:
    """Shows the file in /metrics: read when Prometheus asks."""

    def __init__(self, path: Path, registry: CollectorRegistry) -> None:
        self._path = path
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Yield what the file says, and whether it could be read."""
        try:
            samples = read_samples(self._path)
        except (OSError, ValueError):
            samples, is_readable = {}, False
        else:
            is_readable = True
        yield GaugeMetricFamily(
            READABLE,
            "Is 1 if the file that backup_metrics_file names could be read just now, 0"
            " if not, or if no backup command has written it yet. This and what else"
            " begins with penstock_backup_, but for _wal_, is there where that is set.",
            value=float(is_readable),
        )
        yield from _families(samples)


def _families(samples: Mapping[Sample, float]) -> Iterator[Metric]:
    """Yield a metric for each name that we know; another might be the server's own."""
    for name, told in FAMILIES.items():
        found = {label: v for (each, label), v in samples.items() if each == name}
        family = GaugeMetricFamily(name, told.help_text)
        for label, number in found.items():
            family.add_sample(name, dict([label] if label else []), number)
        if found:
            yield family
