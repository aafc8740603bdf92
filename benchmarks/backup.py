"""How long a backup takes, and each way back, for a gigabyte of tables.

    make bench ARGS="backup"
    make bench ARGS="backup --rows 3000000 --timeout 3600"

Owns the order: rows of a sealed day and of today; a backup of all, beside pg_dump of
the same database to a file; a second one, which refers to the sealed day; its check;
a restore of all into a fresh data directory, beside pg_restore of that file into an
empty database. Then, where moto's server is installed (the tests' S3), a base backup,
as many rows again, and a restore to the moment after them: what of that is reading the
base, and what replaying WAL. Each is the command that a person types, with the start of
Python. How much memory our command took at most is told by the kernel.

Exit codes: 0 measured, 1 something failed, 2 usage, 130 interrupted.
"""

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg

# Run as a file, Python looks for modules beside it, not in the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import days, stage
from benchmarks.process import peak_rss_bytes
from benchmarks.question import Place, Question, Result, answer, positive
from benchmarks.report import Sheet
from benchmarks.server import free_port
from benchmarks.stage import StageError

GB: Final = 1_000_000_000
MIB: Final = 1024 * 1024
SEALED_DAYS_AGO: Final = 3
PATIENCE_SECONDS: Final = 3_600.0
LOOK_SECONDS: Final = 0.02
BUCKET: Final = "penstock-bench"
SERVER: Final = "bench"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add what can be asked for."""
    add = parser.add_argument
    add("--rows", type=positive, default=500_000, help="rows of today")
    add("--sealed-rows", type=positive, default=500_000, help="rows of a sealed day")
    add("--no-s3", action="store_true", help="leave out what needs an S3")
    add("--seed", type=int, default=1)


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended: how long it took, what it printed, its memory."""

    seconds: float
    stdout: str
    peak_bytes: int


def measure(options: argparse.Namespace, place: Place) -> Result:
    """Store rows, then take them away and bring them back in each way."""
    environment = {}
    if not options.no_s3:
        environment = place.stack.enter_context(_s3(place.directory))
    server = place.stack.enter_context(stage.cluster(place.directory, environment))
    asyncio.run(_fill(options, server.url))
    stage.run_penstock(
        ["db", "maintain", "--database-url", server.url, "--partition-past-days=30"],
        place.directory,
        patience_seconds=PATIENCE_SECONDS,
    )
    size = "SELECT sum(pg_table_size(relid)) FROM pg_partition_tree('logs')"
    figures: Result = {
        "table_bytes": int(stage.query(server.url, size)),
        "stored_rows": int(stage.query(server.url, "SELECT count(*) FROM logs")),
    }
    figures["steps"] = _logical(server.url, place.directory, figures["table_bytes"])
    figures["stored"] = {"dumps": _tree_bytes(place.directory / "store" / "parts")}
    if environment:
        figures["steps"] += _physical(options, server.url, place, environment)
        figures["stored"] |= _in_bucket(environment)
    figures["postgresql"] = stage.version(server.url)
    return figures


async def _fill(options: argparse.Namespace, url: str) -> None:
    pool = days.tuples(options.seed)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    sealed = today - timedelta(days=SEALED_DAYS_AGO)
    connection = await asyncpg.connect(url)
    stage.say(f"storing {options.sealed_rows:,} rows of a day and {options.rows:,} now")
    whole_day = timedelta(days=1)
    await days.store(connection, pool, options.sealed_rows, sealed, sealed + whole_day)
    await days.store(connection, pool, options.rows, today, datetime.now(UTC))
    await connection.close()


# --- dumps


def _logical(url: str, directory: Path, table_bytes: int) -> list[Result]:
    of = ["--store", f"file://{directory / 'store'}"]

    def create() -> tuple[Ran, Result]:
        ran = _penstock(
            ["backup", "create", *of, "--database-url", url, "-o", "json"], directory
        )
        return ran, json.loads(ran.stdout)

    dump = directory / "by-hand.dump"
    dumped = _timed(_pg("pg_dump", "-Fc", "-Z1", "-f", str(dump), "-d", url))
    first, _ = create()
    second, manifest = create()
    parts = [each for each in manifest["parts"] if each["rows"]]
    own_rows = sum(
        each["rows"] for each in parts if each["dumped_in"] == manifest["id"]
    )
    share = own_rows / sum(each["rows"] for each in parts)
    verified = _penstock(["backup", "verify", manifest["id"], *of], directory)
    stage.query(url, "CREATE DATABASE by_hand;")
    target = url.replace("/penstock?", "/by_hand?")
    restored = _timed(_pg("pg_restore", "--no-owner", "-d", target, str(dump)))
    stage.query(url, "DROP DATABASE by_hand;")
    data_dir = str(directory / "restored")
    back = _penstock(
        ["backup", "restore", manifest["id"], *of, "--data-dir", data_dir], directory
    )
    return [
        _step("create, all", first, table_bytes, dumped.seconds),
        _step("create, one day as before", second, int(table_bytes * share)),
        _step("verify", verified, table_bytes),
        _step("restore, a fresh data directory", back, table_bytes, restored.seconds),
    ]


# --- base backups and WAL


@contextmanager
def _s3(directory: Path) -> Iterator[dict[str, str]]:
    """Run moto's server, with a bucket; yield the environment that leads to it."""
    port = free_port()
    environment = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with (directory / "s3.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _make_bucket(environment, server)
        yield environment
    finally:
        server.terminate()
        server.wait()


def _client(environment: Mapping[str, str]) -> Any:
    try:
        import boto3
    except ImportError as error:
        raise StageError(
            f"no boto3 here: pip install penstock[backup] ({error})"
        ) from error
    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL_S3"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
        region_name="us-east-1",
    )


def _make_bucket(
    environment: Mapping[str, str], server: "subprocess.Popen[bytes]"
) -> None:
    client = _client(environment)
    from botocore.exceptions import EndpointConnectionError

    give_up = time.monotonic() + stage.READY_SECONDS
    while True:
        if server.poll() is not None:
            raise StageError("moto's server does not start: make setup, or --no-s3")
        try:
            client.create_bucket(Bucket=BUCKET)
            return
        except EndpointConnectionError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)


def _physical(
    options: argparse.Namespace,
    url: str,
    place: Place,
    environment: Mapping[str, str],
) -> list[Result]:
    of = ["--store", f"s3://{BUCKET}/bench", "--backup-wal-server", SERVER]
    at = ["--database-url", url]
    directory = place.directory

    def backup(*arguments: str) -> Ran:
        return _penstock(["backup", *arguments, *of], directory, environment)

    backup("wal-enable", *at)
    data_bytes = int(
        stage.query(url, "SELECT sum(pg_database_size(oid)) FROM pg_database")
    )
    base = backup("base", *at)
    started = stage.query(url, "SELECT pg_current_wal_lsn()")
    asyncio.run(_more(options, url))
    wal_bytes = int(
        stage.query(url, f"SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{started}')")
    )
    time.sleep(1.1)  # a moment that is told in whole seconds, after the rows
    moment = stage.query(url, "SELECT date_trunc('second', now())")
    time.sleep(1.1)
    # A commit after it, by which recovery sees that it is there.
    stage.query(url, "CREATE TABLE after_it (n int);")
    stage.query(url, "SELECT pg_switch_wal();")
    archived = _wait_archived(url)
    data_dir = str(directory / "at-a-moment")
    back = backup("restore", "--to-time", moment, "--data-dir", data_dir)
    return [
        _step("base backup", base, data_bytes),
        _step("WAL, until it is in the store", archived, wal_bytes),
        _step("restore to a moment, base and WAL", back, data_bytes + wal_bytes),
    ]


def _tree_bytes(directory: Path) -> int:
    return sum(each.stat().st_size for each in directory.rglob("*") if each.is_file())


def _in_bucket(environment: Mapping[str, str]) -> Result:
    """Return the bytes of base backups and of WAL, as they lie in the store."""
    found = {"base": 0, "wals": 0}
    pages = _client(environment).get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=BUCKET, Prefix=f"bench/barman/{SERVER}/"):
        for each in page.get("Contents", ()):
            kind = each["Key"].split("/")[3]
            found[kind] = found.get(kind, 0) + each["Size"]
    return found


async def _more(options: argparse.Namespace, url: str) -> None:
    connection = await asyncpg.connect(url)
    now = datetime.now(UTC)
    pool = days.tuples(options.seed + 1)
    start = now.replace(hour=0, minute=0, second=0, microsecond=1)
    await days.store(connection, pool, options.rows, start, now, rare=0)
    await connection.close()


def _wait_archived(url: str) -> Ran:
    started = time.monotonic()
    ready = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
    while stage.query(url, ready) != "0":
        if time.monotonic() - started > PATIENCE_SECONDS:
            raise StageError("the WAL does not reach the store")
        time.sleep(0.2)
    return Ran(time.monotonic() - started, "", 0)


# --- commands


def _penstock(
    arguments: Sequence[str],
    directory: Path,
    environment: Mapping[str, str] | None = None,
) -> Ran:
    stage.say("penstock " + " ".join(arguments[:2]))
    own = stage.penstock_environment(directory) | dict(environment or {})
    return _timed([sys.executable, "-m", "penstock", *arguments], own)


def _pg(program: str, *arguments: str) -> list[str]:
    stage.say(f"{program}, by hand")
    return [str(Path(stage.psql_command("")[0]).parent / program), *arguments]


def _timed(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Ran:
    """Run a command to its end, and look meanwhile at the memory it has taken.

    Raises:
        StageError: it failed; the message is what it said.
    """
    started = time.monotonic()
    peak_bytes = 0
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = subprocess.Popen(
            command,
            env=environment or stage.clean_environment(),
            stdout=stdout,
            stderr=stderr,
        )
        try:
            while process.poll() is None:
                # Its highest mark so far, so that the last look is nearly the truth.
                peak_bytes = max(peak_bytes, peak_rss_bytes([process.pid]))
                time.sleep(LOOK_SECONDS)
        except BaseException:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        seconds = time.monotonic() - started
        stdout.seek(0)
        stderr.seek(0)
        if process.returncode:
            said = stderr.read().strip()[-500:]
            raise StageError(f"{' '.join(command[:4])}: {said}")
        return Ran(seconds, stdout.read(), peak_bytes)


def _step(name: str, ran: Ran, of_bytes: int, beside: float | None = None) -> Result:
    return {
        "name": name,
        "seconds": ran.seconds,
        "of_bytes": of_bytes,
        "peak_bytes": ran.peak_bytes,
        "by_hand_seconds": beside,
    }


# --- report


def sheets(result: Result) -> list[Sheet]:
    """The steps, each with what it moved."""
    title = (
        f"Backups of {result['stored_rows']:,} rows,"
        f" {result['table_bytes'] / GB:.2f} GB of tables"
    )
    headings = ["", "s", "GB of tables or WAL", "s for a GB", "by hand, s", "peak MiB"]
    steps = Sheet(title, headings, [_row(each) for each in result["steps"]])
    return [steps, *_stored_sheet(result)]


def _stored_sheet(result: Result) -> list[Sheet]:
    """What lies in the store; results from before it was looked at have none."""
    stored = result.get("stored")
    if stored is None:
        return []
    of_bytes = {"dumps": ("dumps, by day", result["table_bytes"])}
    of_step = {each["name"]: each["of_bytes"] for each in result["steps"]}
    if "base" in stored:
        of_bytes["base"] = ("base backup", of_step["base backup"])
        of_bytes["wals"] = ("WAL", of_step["WAL, until it is in the store"])
    rows = [
        [
            name,
            f"{stored[kind] / GB:.3f}",
            f"{size / GB:.3f}",
            f"{stored[kind] / size:.2f}",
        ]
        for kind, (name, size) in of_bytes.items()
    ]
    return [Sheet("In the store", ["", "GB stored", "GB of it", "ratio"], rows)]


def _row(step: Result) -> list[str]:
    gigabytes = step["of_bytes"] / GB
    by_hand = step["by_hand_seconds"]
    return [
        step["name"],
        f"{step['seconds']:.1f}",
        f"{gigabytes:.3f}",
        f"{step['seconds'] / gigabytes:.0f}" if gigabytes else "",
        "" if by_hand is None else f"{by_hand:.1f}",
        f"{step['peak_bytes'] / MIB:.0f}" if step["peak_bytes"] else "",
    ]


QUESTION = Question(
    name="backup",
    asks="How long do a backup and each way back take, against pg_dump by hand?",
    add_options=add_options,
    measure=measure,
    sheets=sheets,
)


if __name__ == "__main__":
    sys.exit(answer(QUESTION))
