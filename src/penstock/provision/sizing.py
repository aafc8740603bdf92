"""Chooses the machines for a load, and says so plainly where no single one will do.

Owns the rules: cores at the peak, memory for the last hour's rows, what disk and net
carry, the shares of memory on a machine. It must not know prices: the smallest that
will do is taken.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from penstock.amounts import amount
from penstock.errors import ProvisionError
from penstock.provision import measured
from penstock.provision.load import GB, GIB, Indexes, Load, in_digits
from penstock.provision.machines import ARM64, MACHINES, RDS_CLASSES, Machine
from penstock.provision.stored import (
    LEAST_GIB,
    MOST_FULL,
    Bucket,
    Disk,
    Keeping,
    bucket_of,
    disk_of,
    most_days,
)

MIB: Final = 1024**2

# Of the cores that a peak may take: the others are for searches, backups, closed days.
BUSY_AT_PEAK: Final = 0.5
# gp3, as deploy/terraform takes it: what is in the price, and the most there is.
GP3_IOPS: Final = 3_000
GP3_MIBPS: Final = 125
GP3_MOST_IOPS: Final = 16_000
GP3_MOST_MIBPS: Final = 1_000
GP3_MOST_GIB: Final = 16_384
MIBPS_AN_IOPS: Final = 0.25
# rds_storage_gib goes so far: RDS has twice as much, and it may grow to it.
RDS_MOST_GIB: Final = 32_768
RDS_LEAST_GIB: Final = 20
# Prometheus and Grafana take half a GiB, which a machine with less than this lacks.
MONITORING_MIB: Final = 4_096
# There only half of what a larger machine is trusted with, because nobody sees it near
# its end; and half a GiB is left for the system and a night's dump.
TRUST_IN_SMALL: Final = 0.5
# Two zones have one each; as many again at a peak, and while one is replaced.
LEAST_RECEIVERS: Final = 2


def memory_of(total_mib: int, *, with_postgres: bool = True) -> dict[str, int]:
    """Return the shares of a machine's memory, in MiB.

    The same as `penstock-instance memory` of deploy/instance, which a test compares:
    what is left over is the system's, nginx's and the agent's.
    """
    if not with_postgres:
        penstock = min(4_096, total_mib * 60 // 100)
        return {"PENSTOCK_MEMORY": penstock, "PENSTOCK_RING_BYTES": _ring(penstock)}
    postgres = total_mib * 55 // 100
    penstock = max(320, min(4_096, total_mib * 20 // 100))
    return {
        "POSTGRES_MEMORY": postgres,
        "POSTGRES_SHARED_BUFFERS": postgres * 40 // 100,
        "POSTGRES_EFFECTIVE_CACHE_SIZE": postgres * 75 // 100,
        "POSTGRES_SHM_SIZE": max(64, total_mib * 5 // 100),
        "PENSTOCK_MEMORY": penstock,
        "PENSTOCK_RING_BYTES": _ring(penstock),
    }


def _ring(penstock_mib: int) -> int:
    return max(64, min(1_024, penstock_mib * 40 // 100))


@dataclass(frozen=True, slots=True)
class Wishes:
    """What somebody has decided, rather than the load."""

    days: int
    variant: str = "single"  # or "receivers"
    database: str = "docker"  # or "rds"
    architecture: str = ARM64
    indexes: Indexes = field(default_factory=Indexes)
    keeping: Keeping = field(default_factory=Keeping)
    replicas: int = 1
    multi_az: bool = False
    nat: bool = False
    spot: bool = False
    snapshots: bool = True


@dataclass(frozen=True, slots=True)
class DataDisk:
    """A gp3 volume."""

    gib: int
    iops: int
    mibps: int


@dataclass(frozen=True, slots=True)
class Rds:
    """A PostgreSQL of AWS's."""

    machine: Machine
    gib: int
    replicas: int
    multi_az: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The machines, with what lies on them.

    `disk` is what the database holds, on `data_disk` or, where there is one, on `rds`.
    """

    load: Load
    wishes: Wishes
    machine: Machine
    machines: int
    disk: Disk
    bucket: Bucket
    data_disk: DataDisk | None = None
    rds: Rds | None = None

    @property
    def has_monitoring(self) -> bool:
        """Whether Prometheus and Grafana fit beside."""
        return self.machine.memory_mib >= MONITORING_MIB


def plan_of(load: Load, wishes: Wishes, machines: Sequence[Machine] = MACHINES) -> Plan:
    """Return the smallest machines that carry a load.

    Args:
        machines: those that have a price, the smallest first.

    Raises:
        ProvisionError: it is past one PostgreSQL; the line says what then.
    """
    _check_rate(load)
    own = wishes.database == "docker"
    disk = disk_of(load, wishes.days, wishes.indexes, with_penstock=own)
    _check_disk(load, wishes, disk)
    fitting = [m for m in machines if m.architecture == wishes.architecture]
    machine = _smallest(load, fitting, with_penstock=True, with_postgres=own)
    keeping = wishes.keeping
    if not own:  # RDS archives its own WAL
        keeping = replace(keeping, has_wal=False)
    bucket = bucket_of(load, wishes.days, wishes.indexes, keeping)
    if own:
        volume = _volume(load, disk)
        return Plan(load, wishes, machine, 1, disk, bucket, data_disk=volume)
    database = _smallest(load, RDS_CLASSES, with_penstock=False, with_postgres=True)
    gib = min(RDS_MOST_GIB, max(RDS_LEAST_GIB, disk.gib))
    rds = Rds(database, gib, wishes.replicas, wishes.multi_az)
    if wishes.variant == "receivers":
        return Plan(load, wishes, machine, LEAST_RECEIVERS, disk, bucket, rds=rds)
    # The spool and the metrics of a single machine are on a volume of their own.
    small = DataDisk(LEAST_GIB, GP3_IOPS, GP3_MIBPS)
    return Plan(load, wishes, machine, 1, disk, bucket, data_disk=small, rds=rds)


def written_mibps(load: Load) -> float:
    """Return what the data disk carries at the peak: rows and WAL, and WAL read again.

    A page is written once more when its day is closed, at another hour.
    """
    size = load.record_bytes
    row = measured.ROW_BYTES.at(size) + 2 * measured.WAL_BYTES.at(size)
    return load.peak_rows_per_second * row / MIB


def hour_mib(load: Load) -> float:
    """Return the last hour's rows, at the average: what is looked at most."""
    return load.table_bytes_per_day() / 24 / MIB


def work_cores(load: Load, *, with_postgres: bool) -> float:
    """Return the cores busy on a day's average: ingest, the dumps and their check."""
    seconds = measured.cpu_seconds_per_row(
        load.record_bytes, with_postgres=with_postgres
    )
    # A dump and a check take a core and a half for as long as they run.
    gigabytes = load.table_bytes_per_day() / GB
    checked = measured.DUMP_SECONDS.value + measured.VERIFY_SECONDS.value / 7
    return load.rows_per_second * seconds + gigabytes * checked * 1.5 / 86_400


def _smallest(
    load: Load,
    machines: Sequence[Machine],
    *,
    with_penstock: bool,
    with_postgres: bool,
) -> Machine:
    for machine in machines:
        if _carries(
            machine, load, with_penstock=with_penstock, with_postgres=with_postgres
        ):
            return machine
    largest = machines[-1].name if machines else "none with a price"
    raise ProvisionError(
        f"{in_digits(load.gb_per_day)} GB a day is more than the largest machine here"
        f" carries ({largest}): {_what_then(load)}"
    )


def _carries(
    machine: Machine, load: Load, *, with_penstock: bool, with_postgres: bool
) -> bool:
    peak = load.peak_cores(with_postgres=with_postgres)
    work = work_cores(load, with_postgres=with_postgres)
    # In by one door and out by the other, and no faster than it comes.
    bits = load.peak_rows_per_second * load.record_bytes * 8 / 1_000_000
    is_fit = (
        peak <= machine.vcpus * BUSY_AT_PEAK
        and work <= machine.sustained_cores * BUSY_AT_PEAK
        and bits * (1 if with_postgres else 2) <= machine.network_mbps
    )
    if not with_postgres:
        return is_fit
    cache: float = machine.memory_mib * 75 // 100
    if with_penstock:
        cache = memory_of(machine.memory_mib)["POSTGRES_EFFECTIVE_CACHE_SIZE"]
        if machine.memory_mib < MONITORING_MIB:
            cache *= TRUST_IN_SMALL
    disk_mib = machine.disk_mbps * 1_000_000 / 8 / MIB
    return is_fit and hour_mib(load) <= cache and written_mibps(load) <= disk_mib


def _volume(load: Load, disk: Disk) -> DataDisk:
    # Twice the peak, for a day that is closed or dumped meanwhile; steps of 25.
    wanted = math.ceil(written_mibps(load) * 2 / 25) * 25
    mibps = max(GP3_MIBPS, min(GP3_MOST_MIBPS, wanted))
    iops = max(GP3_IOPS, min(GP3_MOST_IOPS, math.ceil(mibps / MIBPS_AN_IOPS)))
    return DataDisk(min(GP3_MOST_GIB, disk.gib), iops, mibps)


def _check_rate(load: Load) -> None:
    most = measured.most_rows_per_second(load.record_bytes)
    if load.peak_rows_per_second > most:
        raise ProvisionError(
            f"{in_digits(load.gb_per_day)} GB a day of {load.record_bytes:,.0f}-byte"
            f" records is {load.peak_rows_per_second:,.0f} rows/s at the peak, and one"
            f" PostgreSQL was measured to take {most:,.0f} (docs/performance.md):"
            f" {_what_then(load)}"
        )


def _what_then(load: Load) -> str:
    most = measured.most_rows_per_second(load.record_bytes)
    parts = max(2, math.ceil(load.peak_rows_per_second / most))
    return (
        "one machine is not enough, nor receivers in front of one RDS. Split the"
        f" senders over {parts} deployments or more, each sized by itself; or put"
        " receivers in front of PostgreSQL spread by Citus, which was not measured and"
        " is not sized here"
    )


def _check_disk(load: Load, wishes: Wishes, disk: Disk) -> None:
    own = wishes.database == "docker"
    most = GP3_MOST_GIB if own else RDS_MOST_GIB
    if disk.used_bytes / GIB / MOST_FULL <= most:
        return
    fits = most_days(load, wishes.indexes, most, with_penstock=own)
    keep = (
        f"keep {amount(fits, 'day')} and leave older ones to the backups"
        if fits
        else "not even a day fits"
    )
    other = ""
    if own:
        on_rds = most_days(load, wishes.indexes, RDS_MOST_GIB, with_penstock=False)
        other = f"; --database rds holds {on_rds:,}"
    raise ProvisionError(
        f"{wishes.days:,} days of {in_digits(load.gb_per_day)} GB are"
        f" {disk.used_bytes / GIB:,.0f} GiB on disk, and"
        f" {'a gp3 volume' if own else 'RDS, as deploy/terraform takes it,'} has"
        f" {most:,} GiB, of which a quarter stays free: {keep}{other}; past that,"
        " several deployments or PostgreSQL spread by Citus, which is not sized here"
    )
