"""Why a plan is what it is, in a few lines for the person who pays.

Owns the words. Every figure in them is the plan's or measured; it must not decide.
"""

from collections.abc import Iterator

from penstock.amounts import amount
from penstock.provision import measured
from penstock.provision.load import GB, GIB
from penstock.provision.prices import Prices
from penstock.provision.sizing import (
    BUSY_AT_PEAK,
    DataDisk,
    Plan,
    hour_mib,
    memory_of,
    work_cores,
    written_mibps,
)
from penstock.provision.stored import MOST_FULL


def headline(plan: Plan, prices: Prices) -> str:
    """Return the machines in a line."""
    machine = plan.machine
    receivers = plan.wishes.variant == "receivers"
    name = f"{plan.machines} x {machine.name}" if receivers else machine.name
    words = f"{name} ({machine.vcpus} vCPU, {machine.memory_mib // 1024} GiB)"
    if plan.rds is None and plan.data_disk is not None:
        words += f" with PostgreSQL on it, {disk_words(plan.data_disk)}"
    elif plan.rds is not None:
        rds = plan.rds
        words += f" in front of RDS {rds.machine.name}, {rds.gib:,} GiB"
        words += " with a replica" if rds.replicas else ""
    return f"{words}; {prices.region} ({prices.region_name})"


def disk_words(disk: DataDisk) -> str:
    """Return a volume in words."""
    return f"{disk.gib:,} GiB gp3 ({disk.iops:,} IOPS, {disk.mibps} MiB/s)"


def reasons(plan: Plan) -> list[str]:
    """Return why, a line each."""
    return [
        _rate(plan),
        _cores(plan),
        *_memory(plan),
        *_disk(plan),
        _backups(plan),
        *_paying(plan),
    ]


def notes(plan: Plan, prices: Prices) -> Iterator[str]:
    """Yield what has to be known of the prices and of what was not measured."""
    yield (
        f"List prices as known on {prices.known} ({prices.where}), without tax and free"
        " tiers: check them; --prices FILE takes others."
    )
    if "rds_hour" in prices.estimated:
        yield f"Prices of RDS classes in {prices.region} are estimated."
    yield (
        f"Measured on {measured.MEASURED_CORES} x86 cores of a shared machine; a vCPU"
        " of AWS's is taken to be as fast, which was not measured."
    )
    size = plan.load.record_bytes
    if not measured.USUAL_BYTES / 2 <= size <= measured.LONG_BYTES * 2:
        yield (
            f"Records of {size:,.0f} bytes were not measured: the figures are those of"
            f" {measured.USUAL_BYTES} and {measured.LONG_BYTES:,} bytes, drawn on."
        )


def _rate(plan: Plan) -> str:
    load = plan.load
    most = measured.most_rows_per_second(load.record_bytes)
    return (
        f"Load: {_about(load.gb_per_day)} GB a day in {load.record_bytes:,.0f}-byte"
        f" records is {_about(load.rows_per_second)} rows/s,"
        f" {_about(load.peak_rows_per_second)} at a peak of {load.peak:g} times; one"
        f" PostgreSQL was measured to take {most:,.0f}."
    )


def _cores(plan: Plan) -> str:
    with_postgres = plan.rds is None
    peak = plan.load.peak_cores(with_postgres=with_postgres)
    work = work_cores(plan.load, with_postgres=with_postgres)
    machine = plan.machine
    words = (
        f"Cores: {peak:.2g} at the peak, of {machine.vcpus}, of which"
        f" {1 - BUSY_AT_PEAK:.0%} stay free for searches and closing days;"
        f" {work:.2g} on average with backups"
    )
    if machine.is_burstable:
        words += (
            f", and {machine.name} sustains {machine.sustained_cores:g} without"
            " spending credits"
        )
    return words + "."


def _memory(plan: Plan) -> Iterator[str]:
    hour = hour_mib(plan.load)
    if plan.rds is None:
        shares = memory_of(plan.machine.memory_mib)
        yield (
            f"Memory: PostgreSQL gets {shares['POSTGRES_MEMORY']:,} MiB, of which"
            f" {shares['POSTGRES_EFFECTIVE_CACHE_SIZE']:,} cache; the rows of the last"
            f" hour, which are looked at most, are {_about(hour)} MiB. Penstock gets"
            f" {shares['PENSTOCK_MEMORY']:,} MiB."
        )
    else:
        yield (
            f"Memory: {plan.rds.machine.name} has"
            f" {plan.rds.machine.memory_mib // 1024} GiB; the rows of the last hour,"
            f" which are looked at most, are {_about(hour)} MiB."
        )
    if not plan.has_monitoring:
        yield (
            f"Prometheus and Grafana do not fit beside on {plan.machine.name}; the"
            " profile is off, CloudWatch watches."
        )


def _disk(plan: Plan) -> Iterator[str]:
    load, days = plan.load, plan.wishes.days
    indexed = load.index_bytes_per_day(plan.wishes.indexes)
    day = (load.table_bytes_per_day() + indexed) / GIB
    disk = plan.rds or plan.data_disk
    gib = disk.gib if disk else 0
    yield (
        f"Disk: a day is {_about(day)} GiB"
        f" ({(load.table_bytes_per_day() + indexed) / load.bytes_per_day:.2f} of what"
        f" comes), {amount(days, 'day')} and today"
        f" {_about(plan.disk.days_bytes / GIB)} GiB;"
        f" with WAL and working space no more than {MOST_FULL:.0%} of {gib:,} GiB."
    )
    if plan.rds is None:
        yield (
            f"Writing takes {_about(written_mibps(load))} MiB/s at the peak, rows and"
            " WAL; the disk has twice that."
        )


def _backups(plan: Plan) -> str:
    bucket = plan.bucket
    hours = plan.disk.days_bytes / GB * measured.RESTORE_SECONDS.value / 3_600
    kept = plan.wishes.keeping
    return (
        f"Backups: {_about(bucket.total_bytes / GB)} GB in S3 with {kept.daily} daily,"
        f" {kept.weekly} weekly and {kept.monthly} monthly ones kept, which"
        " takes a prune now and then (docs/deploy.md); fewer, and --no-snapshots, cost"
        f" less. To restore all of it takes {_time(hours)}."
    )


def _paying(plan: Plan) -> Iterator[str]:
    if plan.wishes.variant == "receivers":
        yield (
            "Spot: receivers beyond the first hold nothing but what is not acked yet,"
            " and their senders send that again. RDS has no spot."
        )
    elif plan.rds is None:
        yield (
            "Spot: not for this machine. It holds the database, and spot capacity is"
            " taken away at two minutes' notice."
        )
    else:
        yield (
            "Spot: not for a single machine, which would be gone for minutes; with"
            " --variant receivers all but the first may be."
        )


def _time(hours: float) -> str:
    """Return how long something takes, in the unit in which that is said."""
    if hours >= 1:
        return f"about {_about(hours)} hours"
    minutes = hours * 60
    return f"about {minutes:.0f} minutes" if minutes >= 2 else "a minute or two"


def _about(value: float) -> str:
    """Return a number as it is said: three digits, and never as a power of ten."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 0.001:
        return f"{float(f'{value:.3g}'):,.10g}"
    return "next to nothing" if value else "0"
