"""`penstock deploy size`: machines and their cost for so many gigabytes a day.

It owns the command's options and how the answer is shown. What is chosen, and what it
costs, is provision's.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from penstock.cli.output import print_problem, table_text
from penstock.errors import PenstockError
from penstock.provision.cost import Bill, bill_of
from penstock.provision.load import USUAL_PEAK, Indexes, days_of, load_of
from penstock.provision.machines import ARM64, MACHINES, X86_64
from penstock.provision.measured import USUAL_BYTES
from penstock.provision.prices import Prices, read_prices
from penstock.provision.reasons import headline, notes, reasons
from penstock.provision.sizing import Plan, Wishes, plan_of
from penstock.provision.stored import Keeping
from penstock.provision.tfvars import left_to_fill, variables_of, write_variables

# More than anybody keeps; dates end.
MOST_KEPT = click.IntRange(0, 1_000)


@click.command("size", short_help="Machines and their cost for so much a day.")
@click.option("--gb-per-day", type=float, help="Gigabytes a day, as sent, unzipped.")
@click.option("--retention", default="14d", help="How long rows are kept. [14d]")
@click.option("--records-per-day", type=float, help="How many records that is.")
@click.option(
    "--record-bytes",
    type=float,
    help=f"Or the bytes of a record in msgpack. [{USUAL_BYTES}]",
)
@click.option(
    "--peak",
    type=float,
    default=USUAL_PEAK,
    help=f"The peak, in times the average. [{USUAL_PEAK:g}]",
)
@click.option("--region", default="us-east-1", help="AWS region. [us-east-1]")
@click.option(
    "--architecture",
    type=click.Choice([ARM64, X86_64]),
    default=ARM64,
    help="Graviton or x86. [arm64]",
)
@click.option(
    "--variant",
    type=click.Choice(["single", "receivers"]),
    default="single",
    help="One machine, or several behind a load balancer, with RDS. [single]",
)
@click.option(
    "--database",
    type=click.Choice(["docker", "rds"]),
    help="PostgreSQL on the machine, or AWS's. [docker]",
)
@click.option(
    "--replicas",
    type=click.IntRange(0, 1),
    default=1,
    help="Read replicas of RDS. [1]",
)
@click.option("--multi-az", is_flag=True, help="RDS with a standby.")
@click.option("--nat", is_flag=True, help="No public address; a NAT gateway.")
@click.option("--spot", is_flag=True, help="Receivers beyond the first on spot.")
@click.option(
    "--index",
    "indexed",
    type=click.Choice(["message", "attributes"]),
    multiple=True,
    help="Closed days get this index. May be given twice.",
)
@click.option("--keep-daily", type=MOST_KEPT, default=7, help="Backups kept. [7]")
@click.option("--keep-weekly", type=MOST_KEPT, default=5, help="[5]")
@click.option("--keep-monthly", type=MOST_KEPT, default=12, help="[12]")
@click.option("--no-snapshots", is_flag=True, help="No nightly snapshots of the disk.")
@click.option(
    "--prices",
    "prices_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Other prices than ours, in the same shape.",
)
@click.option(
    "--write",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE.tfvars.json",
    help="Write the variables for Terraform.",
)
@click.option("--force", is_flag=True, help="Replace that file.")
@click.option("--environment", default="", help="For that file: production, staging.")
@click.option("--alert-email", default="", help="For that file: who gets the alarms.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json"]),
    default="table",
    help="A table, or one line of JSON.",
)
def command(  # as many as there are options
    *,
    gb_per_day: float | None,
    records_per_day: float | None,
    record_bytes: float | None,
    peak: float,
    region: str,
    prices_file: Path | None,
    file: Path | None,
    force: bool,
    environment: str,
    alert_email: str,
    output: str,
    **wished: Any,
) -> None:
    """Choose machines for a load, and say what they cost a month and why.

    Sizes follow from what was measured (docs/performance.md), costs from a dated list
    of prices. Nothing is made, nobody is asked, no credentials are needed.

    \b
    penstock deploy size --gb-per-day 20 --retention 14d
    penstock deploy size --gb-per-day 20 --region ap-northeast-2 --database rds
    penstock deploy size --records-per-day 50e6 --record-bytes 800 -o json
    penstock deploy size --gb-per-day 20 --write production.tfvars.json

    Ends with 1 where the load is past one PostgreSQL, and says what then.
    """
    load = load_of(
        gb_per_day=gb_per_day,
        records_per_day=records_per_day,
        record_bytes=record_bytes,
        peak=peak,
    )
    wishes = _wishes(**wished)
    prices = read_prices(region, prices_file)
    priced = [m for m in MACHINES if prices.has("ec2_hour", m.name)]
    plan = plan_of(load, wishes, priced)
    variables = variables_of(
        plan, region, environment=environment, alert_email=alert_email
    )
    bills = _bills(plan, prices, priced)
    if file is not None:
        write_variables(variables, file, force=force)
    if output == "json":
        click.echo(json.dumps(_as_json(plan, prices, bills, variables)))
    else:
        _print(plan, prices, bills)
    if file is not None:
        _say_written(file, left_to_fill(variables))


def _wishes(
    *,
    retention: str,
    variant: str,
    database: str | None,
    indexed: tuple[str, ...],
    keep_daily: int,
    keep_weekly: int,
    keep_monthly: int,
    no_snapshots: bool,
    **plain: Any,
) -> Wishes:
    receivers = variant == "receivers"
    if receivers and database == "docker":
        raise click.UsageError(
            "--variant receivers needs --database rds: machines that come and go"
            " cannot hold the database"
        )
    if plain["spot"] and not receivers:
        raise click.UsageError(
            "--spot is for --variant receivers: spot capacity is taken away at two"
            " minutes' notice, and a single machine holds data"
        )
    return Wishes(
        days=days_of(retention),
        variant=variant,
        database="rds" if receivers else database or "docker",
        indexes=Indexes("message" in indexed, "attributes" in indexed),
        keeping=Keeping(keep_daily, keep_weekly, keep_monthly),
        snapshots=not no_snapshots,
        **plain,
    )


def _bills(plan: Plan, prices: Prices, priced: list[Any]) -> dict[str, Bill]:
    """Return what the plan costs, and what it would with RDS instead, if it would."""
    bills = {"plan": bill_of(plan, prices)}
    if plan.rds is None:
        instead = replace(plan.wishes, database="rds")
        try:
            other = plan_of(plan.load, instead, priced)
        except PenstockError:  # RDS cannot; that is no fault of what was asked
            return bills
        bills["rds_instead"] = bill_of(other, prices)
    return bills


def _print(plan: Plan, prices: Prices, bills: dict[str, Bill]) -> None:
    click.echo(headline(plan, prices))
    columns, rows = cost_table(plan, bills)
    click.echo(table_text(columns, rows), nl=False)
    for reason in reasons(plan):
        click.echo(f"- {reason}")
    for note in notes(plan, prices):
        click.echo(note)


def cost_table(
    plan: Plan, bills: dict[str, Bill]
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return the heads and rows of the month's cost, one column for each way to pay."""
    bill, other = bills["plan"], bills.get("rds_instead")
    with_spot = plan.wishes.variant == "receivers"
    columns = ["USD a month", "what", "on demand", "1 year"]
    columns += ["spot"] if with_spot else []
    columns += ["RDS instead"] if other else []
    elsewhere = {line.name: line for line in other.lines} if other else {}
    rows: list[tuple[str, ...]] = []
    for line in bill.lines:
        cells = [line.name, line.what, _usd(line.usd), _usd(line.one_year_usd)]
        cells += [_usd(line.spot_usd)] if with_spot else []
        if other:
            there = elsewhere.pop(line.name, None)
            cells.append(_usd(there.usd) if there else "")
        rows.append(tuple(cells))
    rows += [
        (line.name, line.what, "", "", _usd(line.usd)) for line in elsewhere.values()
    ]
    total = ["all", "", _usd(bill.usd), _usd(bill.one_year_usd)]
    total += [_usd(bill.spot_usd)] if with_spot else []
    total += [_usd(other.usd)] if other else []
    return columns, [*rows, tuple(total)]


def _usd(amount: float) -> str:
    return f"{amount:,.2f}"


def _as_json(
    plan: Plan, prices: Prices, bills: dict[str, Bill], variables: dict[str, Any]
) -> dict[str, Any]:
    load = plan.load
    return {
        "load": {
            "gb_per_day": load.gb_per_day,
            "records_per_day": load.records_per_day,
            "record_bytes": load.record_bytes,
            "rows_per_second": load.rows_per_second,
            "peak_rows_per_second": load.peak_rows_per_second,
            "retention_days": plan.wishes.days,
        },
        "variables": variables,
        "left_to_fill": left_to_fill(variables),
        "bucket_bytes": plan.bucket.total_bytes,
        "cost": {name: _bill_json(bill) for name, bill in bills.items()},
        "reasons": reasons(plan),
        "notes": list(notes(plan, prices)),
        "prices_known": prices.known,
    }


def _bill_json(bill: Bill) -> dict[str, Any]:
    return {
        "on_demand_usd": round(bill.usd, 2),
        "one_year_usd": round(bill.one_year_usd, 2),
        "spot_usd": round(bill.spot_usd, 2),
        "lines": [
            {
                "name": line.name,
                "what": line.what,
                "on_demand_usd": round(line.usd, 2),
                "one_year_usd": round(line.one_year_usd, 2),
                "spot_usd": round(line.spot_usd, 2),
            }
            for line in bill.lines
        ],
    }


def _say_written(file: Path, left: list[str]) -> None:
    words = f"wrote {file}"
    if left:
        words += (
            f"; still to be filled in: {', '.join(left)}"
            " (`penstock deploy init` asks, --environment and --alert-email say them)"
        )
    print_problem(words)
