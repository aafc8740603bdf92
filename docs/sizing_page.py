"""The tables and the chart of docs/sizing.md, for docs/generate.py.

Owns what the original guide said (its sections 2.1 and 7.1, in dollars a month of
us-east-1), and how our own figures stand beside it. It computes nothing itself: sizes
and costs are penstock.provision's.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

# Run as docs/generate.py, Python looks for modules beside it only.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import plot
from penstock.provision import measured
from penstock.provision.cost import Bill, bill_of
from penstock.provision.load import GIB, Indexes, Load, load_of
from penstock.provision.prices import read_prices, regions, sources
from penstock.provision.sizing import Plan, Wishes, plan_of

Rows = Iterable[tuple[str, ...]]
Table = tuple[tuple[str, ...], Rows]

REGION = "us-east-1"
DAYS = 14


@dataclass(frozen=True, slots=True)
class Band:
    """A row of the guide's section 2.1, and where in the band we size: at its top."""

    name: str
    gb_per_day: float
    machine: str
    disk_gib: int
    usd: int


BANDS = (
    Band("below 1", 1, "t3.small", 30, 15),
    Band("1 to 10", 10, "t3.medium", 50, 30),
    Band("10 to 50", 50, "t3.large", 100, 60),
    Band("50 to 100", 100, "m5.xlarge", 200, 140),
    Band("above 100", 200, "m5.2xlarge", 500, 280),
)

# The guide's section 7.1: EC2, EBS, data transfer, CloudWatch, S3 and their sum.
SCENARIOS = {
    10.0: (30, 8, 5, 3, 2, 48),
    50.0: (60, 16, 15, 5, 10, 106),
    100.0: (140, 40, 30, 10, 40, 260),
}
# Which of our lines stand beside each of the guide's.
BESIDE = {
    "EC2": ("EC2",),
    "EBS": ("root disk", "data disk", "its IOPS and MiB/s"),
    "data transfer": ("between zones", "to the internet"),
    "CloudWatch": ("CloudWatch metrics", "CloudWatch alarms", "CloudWatch logs"),
    "S3 backups": ("S3: dumps by day", "S3: base backups, WAL", "S3: requests"),
}


def load(gb_per_day: float) -> Load:
    """Return so many gigabytes of the usual records."""
    return load_of(gb_per_day=gb_per_day, records_per_day=None, record_bytes=None)


def planned(gb_per_day: float, wishes: Wishes) -> Plan:
    """Return the plan for a day's gigabytes."""
    return plan_of(load(gb_per_day), wishes)


def billed(plan: Plan, region: str = REGION) -> Bill:
    """Return what a plan costs in a region."""
    return bill_of(plan, read_prices(region))


OWN = Wishes(days=DAYS)
RDS = Wishes(days=DAYS, database="rds")


def bands() -> Table:
    """Return the guide's bands, and ours beside them."""
    head = (
        "GB a day",
        "The guide: machine, disk, month",
        "Its disk holds",
        "Penstock, at the top of the band",
        "Data disk",
        "On demand",
        "1 year",
        "RDS instead",
    )
    return head, [_band_row(band) for band in BANDS]


def _band_row(band: Band) -> tuple[str, ...]:
    plan = planned(band.gb_per_day, OWN)
    bill = billed(plan)
    a_day = plan.load.table_bytes_per_day() / GIB
    disk = plan.data_disk
    assert disk is not None
    at = f", at {band.gb_per_day:g}" if band.name == "above 100" else ""
    return (
        band.name + at,
        f"{band.machine}, {band.disk_gib} GB, ${band.usd}",
        f"{band.disk_gib / a_day:.1f} days",
        f"{plan.machine.name}, {plan.machine.memory_mib // 1024} GiB",
        f"{disk.gib:,} GiB, {disk.iops:,} IOPS, {disk.mibps} MiB/s",
        _usd(bill.usd),
        _usd(bill.one_year_usd),
        _usd(billed(planned(band.gb_per_day, RDS)).usd),
    )


def scenarios() -> Table:
    """Return the guide's three scenarios line by line, and ours beside them."""
    head = ["USD a month"]
    columns = []
    for gb_per_day, guide in SCENARIOS.items():
        bill = billed(planned(gb_per_day, OWN))
        columns.append((dict(zip(BESIDE, guide, strict=False)), bill, guide[-1]))
        head += [f"{gb_per_day:g} GB a day: the guide", "Penstock"]
    rows = []
    for name, lines in BESIDE.items():
        cells = [name]
        for guide_lines, bill, _ in columns:
            cells += [f"{guide_lines[name]}", _sum(bill, lines)]
        rows.append(tuple(cells))
    known = {line for lines in BESIDE.values() for line in lines}
    more = [each.name for each in columns[0][1].lines if each.name not in known]
    for name in more:
        cells = [name]
        for _, bill, _ in columns:
            cells += ["", _sum(bill, (name,))]
        rows.append(tuple(cells))
    cells = ["**all**"]
    for _, bill, total in columns:
        cells += [f"**{total}**", f"**{bill.usd:,.0f}**"]
    return tuple(head), [*rows, tuple(cells)]


def _sum(bill: Bill, names: Sequence[str]) -> str:
    return f"{sum(line.usd for line in bill.lines if line.name in names):,.2f}"


def levers() -> Table:
    """Return what each choice changes, for 20 GB a day."""
    base = billed(planned(20, OWN)).usd
    choices = {
        "as above": OWN,
        "`--retention 30d`": replace(OWN, days=30),
        "`--no-snapshots`": replace(OWN, snapshots=False),
        "`--keep-monthly 0`": replace(OWN, keeping=replace(OWN.keeping, monthly=0)),
        "`--nat`": replace(OWN, nat=True),
        "`--index message`": replace(OWN, indexes=Indexes(of_message=True)),
        "`--architecture x86_64`": replace(OWN, architecture="x86_64"),
        "`--database rds --replicas 0`": replace(RDS, replicas=0),
        "`--database rds`": RDS,
        "`--database rds --multi-az`": replace(RDS, multi_az=True),
        "`--variant receivers`": replace(RDS, variant="receivers"),
    }
    rows = []
    for name, wishes in choices.items():
        plan = planned(20, wishes)
        bill = billed(plan)
        spot = _usd(bill.spot_usd) if wishes.variant == "receivers" else ""
        rows.append(
            (
                name,
                plan.machine.name,
                _usd(bill.usd),
                f"{bill.usd - base:+,.0f}",
                _usd(bill.one_year_usd),
                spot,
            )
        )
    head = ("20 GB a day, 14 days", "Machine", "On demand", "More", "1 year", "Spot")
    return head, rows


def forgotten() -> Table:
    """Return what the guide has no line for, in each region's prices."""
    prices = [read_prices(region) for region in regions()]

    def each(unit: str, *place: str, times: float = 1) -> list[str]:
        return [f"{one.usd(*place) * times:.4g} {unit}" for one in prices]

    hours = 730
    rows = [
        (
            "NAT gateway",
            *each("a month", "network", "nat_hour", times=hours),
            "Not needed; `--nat` and receivers have one",
        ),
        ("its traffic", *each("a GB", "network", "nat_gb"), "Packages and images"),
        (
            "public IPv4",
            *each("a month", "network", "ipv4_hour", times=hours),
            "One, by which nobody reaches the machine",
        ),
        (
            "IOPS above 3,000",
            *each("each", "ebs_month", "iops"),
            "None needed below some TB a day",
        ),
        ("MiB/s above 125", *each("each", "ebs_month", "mibps"), "From 500 GB a day"),
        (
            "snapshots",
            *each("a GB", "ebs_month", "snapshot_gb"),
            "Seven nights; `--no-snapshots`",
        ),
        (
            "CloudWatch logs",
            *each("a GB", "cloudwatch", "log_gb"),
            "The machine's own; not the logs that are received",
        ),
        (
            "alarms",
            *each("each", "cloudwatch", "alarm_month"),
            "20, and a dashboard for $3",
        ),
        ("metrics of our own", *each("each", "cloudwatch", "metric_month"), "30"),
        (
            "between zones, each end",
            *each("a GB", "network", "between_zones_gb"),
            "Half of what comes; none where senders are in the same zone",
        ),
        (
            "S3 uploads",
            *each("a thousand", "s3", "thousand_puts"),
            "A file of WAL a minute, parts of dumps",
        ),
        ("Secrets Manager", *each("a secret", "secrets_month"), "One secret"),
        (
            "load balancer",
            *each("a month", "network", "balancer_hour", times=hours),
            "With receivers",
        ),
    ]
    head = ("", *(f"{name}, $" for name in regions().values()), "Here")
    return head, rows


def figures() -> Table:
    """Return every figure that sizes follow from."""
    rows = []
    for name, told in vars(measured).items():
        if isinstance(told, measured.ByRecord):
            sized = {
                f" of {measured.USUAL_BYTES} bytes": told.usual,
                f" of {measured.LONG_BYTES:,} bytes": told.long,
            }
        elif isinstance(told, measured.Figure):
            sized = {"": told}
        else:
            continue
        what = name.lower().replace("_", " ")
        rows += [
            (f"{what}{size}", f"{each.value:,g}", each.unit, f"{_source(each.source)}")
            for size, each in sized.items()
        ]
    return ("", "Measured", "Unit", "Where"), rows


def _source(text: str) -> str:
    page, comma, rest = text.partition(",")
    if page == "docs/performance.md":
        return f"[performance](performance.md){comma}{rest}"
    command, _, day = text.rpartition(",")
    return f"`{command}`,{day}"


def prices() -> Table:
    """Return where each group of prices is from."""
    rows = []
    for group, told in sources().items():
        pages = ", ".join(f"<{page}>" for page in told["page"].split(" and "))
        rows.append((f"`{group}`", told["as_of"], pages, told["how"]))
    return ("Group", "As of", "AWS's page", "How it was had"), rows


def cost_chart() -> str:
    """Draw the month's cost against the day's gigabytes, with the guide's beside it."""
    steps = [1, 2, 5, *range(10, 201, 10)]
    own = [(gb, billed(planned(gb, OWN)).usd) for gb in steps]
    rds = [(gb, billed(planned(gb, RDS)).usd) for gb in steps]
    guide = [(gb, figures_[-1]) for gb, figures_ in SCENARIOS.items()]
    known = read_prices(REGION).known
    head = plot.Head(
        "USD a month, all lines, on demand",
        f"{REGION}, {DAYS} days kept, records of {measured.USUAL_BYTES} bytes, list"
        f" prices as known on {known}",
        ["PostgreSQL on the machine", "RDS with a replica instead", "the guide's sums"],
    )
    axes = plot.Axes("GB a day, uncompressed", "")
    return plot.lines(head, axes, [own, rds, guide])


def _usd(amount: float) -> str:
    return f"${amount:,.0f}"


TABLES: dict[str, Callable[[], Table]] = {
    "bands": bands,
    "scenarios": scenarios,
    "levers": levers,
    "forgotten": forgotten,
    "figures": figures,
    "prices": prices,
}
