"""What a plan costs a month, line by line, each with its quantity.

Owns which lines there are, what is assumed where nothing was decided, and what each way
to pay changes. It must not choose machines; prices are those it is given.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from penstock.provision import measured
from penstock.provision.load import GB, GIB, Load, in_digits
from penstock.provision.prices import HOURS_A_MONTH, Prices
from penstock.provision.sizing import (
    GP3_IOPS,
    GP3_MIBPS,
    DataDisk,
    Plan,
    Rds,
)

DAYS_A_MONTH: Final = 365 / 12

# As deploy/terraform makes them: root_gib of modules/compute, three versions of two
# images, seven snapshots, a fortnight of RDS's own backups.
ROOT_GIB: Final = 30
REGISTRY_GB: Final = 1.5
KEPT_SNAPSHOTS: Final = 7
RDS_BACKUP_DAYS: Final = 14
# The agent's metrics and the module monitoring's alarms, counted and rounded up; a
# machine's and PostgreSQL's own log, and refused connections.
METRICS: Final = 30
ALARMS: Final = 20
LOG_GB: Final = 1.0
# Searches, dashboards, questions and packages; packages come in for nothing.
INTERNET_GB: Final = 5.0
NAT_GB: Final = 10.0
# Senders in two zones: half of them are in the other one, and both ends pay.
OTHER_ZONE: Final = 0.5
BOTH_ENDS: Final = 2
# A load balancer's unit carries a GB an hour.
GB_A_UNIT_HOUR: Final = 1


@dataclass(frozen=True, slots=True)
class Line:
    """Something that is paid for: dollars a month, on demand and in the other ways."""

    name: str
    what: str
    usd: float
    one_year_usd: float
    spot_usd: float


@dataclass(frozen=True, slots=True)
class Bill:
    """All lines of a plan."""

    lines: tuple[Line, ...]

    @property
    def usd(self) -> float:
        """The month, on demand."""
        return sum(line.usd for line in self.lines)

    @property
    def one_year_usd(self) -> float:
        """The month, with machines taken for a year and nothing paid upfront."""
        return sum(line.one_year_usd for line in self.lines)

    @property
    def spot_usd(self) -> float:
        """The month, with receivers beyond the first on spot capacity."""
        return sum(line.spot_usd for line in self.lines)


def bill_of(plan: Plan, prices: Prices) -> Bill:
    """Return what a plan costs a month.

    Raises:
        SettingsError: a price is missing.
    """
    lines = [
        *_machines(plan, prices),
        *_disks(plan, prices),
        *_database(plan, prices),
        *_backups(plan, prices),
        *_network(plan, prices),
        *_traffic(plan, prices),
        *_watching(prices),
    ]
    return Bill(tuple(lines))


def _line(name: str, what: str, usd: float) -> Line:
    """Return a line that costs the same in each way to pay."""
    return Line(name, what, usd, usd, usd)


def _machines(plan: Plan, prices: Prices) -> Iterator[Line]:
    machine = plan.machine
    each = prices.usd("ec2_hour", machine.name) * HOURS_A_MONTH
    full = each * plan.machines
    on_spot = 0
    if plan.wishes.variant == "receivers":
        on_spot = plan.machines - 1  # the first stays, so that there is always one
    yield Line(
        "EC2",
        f"{plan.machines} x {machine.name}",
        full,
        full * prices.one_year(machine.family),
        full - each * on_spot * (1 - prices.spot),
    )


def _disks(plan: Plan, prices: Prices) -> Iterator[Line]:
    gib = prices.usd("ebs_month", "gib")
    yield _line(
        "root disk",
        f"{plan.machines} x {ROOT_GIB} GiB gp3",
        plan.machines * ROOT_GIB * gib,
    )
    disk = plan.data_disk
    if disk is None:
        return
    yield _line("data disk", f"{disk.gib:,} GiB gp3", disk.gib * gib)
    yield _performance(disk, prices)
    if plan.wishes.snapshots:
        yield _snapshots(plan, prices)


def _performance(disk: DataDisk, prices: Prices) -> Line:
    return _line(
        "its IOPS and MiB/s",
        f"{disk.iops:,} IOPS, {disk.mibps} MiB/s; {GP3_IOPS:,} and {GP3_MIBPS} are in"
        " the price",
        (disk.iops - GP3_IOPS) * prices.usd("ebs_month", "iops")
        + (disk.mibps - GP3_MIBPS) * prices.usd("ebs_month", "mibps"),
    )


def _snapshots(plan: Plan, prices: Prices) -> Line:
    """The first holds what is on the disk, each later one what has changed: a day."""
    held = changed = 0.0
    if plan.rds is None:
        held = plan.disk.days_bytes
        changed = plan.load.table_bytes_per_day() + plan.load.wal_bytes_per_day()
    gigabytes = (held + KEPT_SNAPSHOTS * changed) / GIB
    return _line(
        "snapshots",
        f"{KEPT_SNAPSHOTS} nights, {gigabytes:,.0f} GB",
        gigabytes * prices.usd("ebs_month", "snapshot_gb"),
    )


def _database(plan: Plan, prices: Prices) -> Iterator[Line]:
    rds = plan.rds
    if rds is None:
        return
    count = (2 if rds.multi_az else 1) + rds.replicas
    words = f"{count} x {rds.machine.name}"
    if rds.multi_az:
        words += ", with a standby"
    if rds.replicas:
        words += ", with a replica"
    full = prices.usd("rds_hour", rds.machine.name) * HOURS_A_MONTH * count
    yield Line("RDS", words, full, full * prices.one_year(rds.machine.family), full)
    yield _line(
        "RDS storage",
        f"{count} x {rds.gib:,} GiB gp3",
        count * rds.gib * prices.usd("rds_month", "gib"),
    )
    yield _rds_backups(plan, rds, prices)


def _rds_backups(plan: Plan, rds: Rds, prices: Prices) -> Line:
    day = plan.load.table_bytes_per_day() + plan.load.wal_bytes_per_day()
    held = (plan.disk.days_bytes + RDS_BACKUP_DAYS * day) / GIB
    paid = max(0.0, held - rds.gib)
    return _line(
        "RDS backups",
        f"{held:,.0f} GB, of which the storage's {rds.gib:,} are in the price",
        paid * prices.usd("rds_month", "backup_gb"),
    )


def _backups(plan: Plan, prices: Prices) -> Iterator[Line]:
    bucket = plan.bucket
    usd = (
        (bucket.dump_bytes * prices.usd("s3", "gb_month"))
        + bucket.infrequent_bytes * prices.usd("s3", "infrequent_gb_month")
        + bucket.archive_bytes * prices.usd("s3", "archive_instant_gb_month")
    ) / GB
    dumps = bucket.dump_bytes + bucket.infrequent_bytes + bucket.archive_bytes
    yield _line(
        "S3: dumps by day",
        f"{dumps / GB:,.0f} GB, {bucket.dumped.days} days",
        usd,
    )
    physical = (bucket.base_bytes + bucket.wal_bytes) / GB
    if plan.rds is None and physical:
        yield _line(
            "S3: base backups, WAL",
            f"{bucket.base_bytes / GB:,.0f} + {bucket.wal_bytes / GB:,.0f} GB",
            physical * prices.usd("s3", "gb_month"),
        )
    # Each file of WAL is written, looked for and, on the way back, read.
    gets = bucket.puts_a_month
    yield _line(
        "S3: requests",
        f"{bucket.puts_a_month:,.0f} uploads",
        bucket.puts_a_month / 1_000 * prices.usd("s3", "thousand_puts")
        + gets / 1_000 * prices.usd("s3", "thousand_gets"),
    )


def _network(plan: Plan, prices: Prices) -> Iterator[Line]:
    receivers = plan.wishes.variant == "receivers"
    nat = plan.wishes.nat or receivers
    # The machine's own address; with NAT the gateway's.
    yield _line(
        "public IPv4",
        "1, of the NAT gateway" if nat else "1; nobody reaches it from outside",
        prices.usd("network", "ipv4_hour") * HOURS_A_MONTH,
    )
    if nat:
        yield _line(
            "NAT gateway",
            f"1, {NAT_GB:.0f} GB; S3 goes by its own endpoint",
            prices.usd("network", "nat_hour") * HOURS_A_MONTH
            + NAT_GB * prices.usd("network", "nat_gb"),
        )
    if receivers:
        units = max(1, _month_gb(plan.load) / GB_A_UNIT_HOUR)
        yield _line(
            "load balancer",
            f"1, network, {units:,.0f} GB",
            prices.usd("network", "balancer_hour") * HOURS_A_MONTH
            + units * prices.usd("network", "balancer_unit_hour"),
        )


def _traffic(plan: Plan, prices: Prices) -> Iterator[Line]:
    gigabytes = _month_gb(plan.load) * OTHER_ZONE
    if plan.rds is not None:
        # COPY is about as large as a row on disk, and the database is in one zone.
        share = measured.ROW_BYTES.at(plan.load.record_bytes) / plan.load.record_bytes
        gigabytes *= 1 + share
    yield _line(
        "between zones",
        f"{in_digits(gigabytes)} GB, uncompressed; none where senders are in the same",
        gigabytes * BOTH_ENDS * prices.usd("network", "between_zones_gb"),
    )
    yield _line(
        "to the internet",
        f"{INTERNET_GB:.0f} GB of answers",
        INTERNET_GB * prices.usd("network", "internet_gb"),
    )


def _watching(prices: Prices) -> Iterator[Line]:
    cloudwatch = "cloudwatch"
    yield _line(
        "CloudWatch metrics",
        f"{METRICS} of our own",
        METRICS * prices.usd(cloudwatch, "metric_month"),
    )
    yield _line(
        "CloudWatch alarms",
        f"{ALARMS}, and a dashboard",
        ALARMS * prices.usd(cloudwatch, "alarm_month")
        + prices.usd(cloudwatch, "dashboard_month"),
    )
    yield _line(
        "CloudWatch logs",
        f"{LOG_GB:.0f} GB of the machines' own",
        LOG_GB * prices.usd(cloudwatch, "log_gb")
        + LOG_GB * prices.usd(cloudwatch, "log_gb_month"),
    )
    yield _line("Secrets Manager", "1 secret", prices.usd("secrets_month"))
    yield _line(
        "ECR",
        f"{REGISTRY_GB:g} GB of images",
        REGISTRY_GB * prices.usd("registry_gb_month"),
    )


def _month_gb(load: Load) -> float:
    return load.gb_per_day * DAYS_A_MONTH
