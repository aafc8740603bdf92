"""How the roles are made, by whom, and what becomes of a database of before."""

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from penstock.embedded import EmbeddedPostgres, url_as
from penstock.errors import DatabaseUnavailableError
from penstock.sink import migrations
from penstock.sink.maintenance import maintain
from penstock.sink.migrations import migrate
from penstock.sink.partitions import DAY_SECONDS, day_name
from penstock.sink.roles import make_roles
from penstock.sink.sql import Migration, load_migrations
from tests.docs.doc_blocks import parse_blocks
from tests.integration.conftest import (
    Database,
    Here,
    Sender,
    Start,
    batch_of,
    create_database,
    drop_database,
    new_home,
    new_writer,
    numbers_in,
    run_async,
    the_line,
    wait_until,
)
from tests.integration.roles_parts import (
    claimed,
    events,
    store,
    store_as,
    tell_who_stores,
)
from tests.integration.upkeep_parts import clock, this_day, upkeep

ROOT = Path(__file__).resolve().parents[2]
GRANTED = (
    "granted penstock_writer what storing needs, penstock_reader what reading needs"
)


@pytest.fixture
async def person(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection."""
    connection = await asyncpg.connect(database.url)
    yield connection
    connection.terminate()


# --- making them


WAITS = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid <> $1"


async def test_a_connection_that_is_lost_in_the_middle_is_a_database_out_of_reach(
    database: Database, person: asyncpg.Connection
) -> None:
    await person.execute("SELECT pg_advisory_lock(hashtext('penstock.migrations'))")
    working = asyncio.ensure_future(make_roles(database.url))
    for _ in range(2_000):
        pid = await person.fetchval(WAITS, person.get_server_pid())
        if pid is not None:
            break
        await asyncio.sleep(0.01)
    await person.execute("SELECT pg_terminate_backend($1)", pid)
    with pytest.raises(DatabaseUnavailableError):
        await working


async def test_to_make_them_again_does_no_harm_and_takes_back_what_is_too_much(
    database: Database, person: asyncpg.Connection
) -> None:
    await person.execute(
        "GRANT SELECT, DELETE ON logs, ingest_chunk TO penstock_writer"
    )
    report = await make_roles(database.url)
    assert report.advice == []
    assert not [line for line in report.done if "made" in line]
    may = "SELECT has_table_privilege('penstock_writer', 'logs', $1)"
    assert [
        await person.fetchval(may, right) for right in ("INSERT", "SELECT", "DELETE")
    ] == [True, False, False]


async def test_what_everybody_may_is_told(
    database: Database, person: asyncpg.Connection
) -> None:
    await person.execute("GRANT SELECT ON rejected_event TO PUBLIC")
    advice = (await make_roles(database.url)).advice
    assert [each.partition(" ")[0] for each in advice] == [
        "penstock_writer",
        "penstock_query",
    ]
    for each in advice:
        assert each.endswith(": SELECT on rejected_event")


async def test_servers_of_many_databases_may_make_them_at_once(
    postgres: EmbeddedPostgres, template: str
) -> None:
    several = [create_database(postgres, template) for _ in range(3)]
    await asyncio.gather(*(make_roles(each.url) for each in several))
    for each in several:
        drop_database(each)


def test_an_unknown_login_is_told_and_nothing_is_done(
    here: Here, empty_database: Database
) -> None:
    run_async(migrate(empty_database.url))
    url = empty_database.url
    line = the_line(here("db", "roles", "--database-url", url, "--writer", 'a"b'), 1)
    assert 'there is no role a"b' in line
    granted = "SELECT has_table_privilege('penstock_writer', 'logs', 'INSERT')"
    assert not empty_database.value(granted)


def test_without_our_schema_there_is_nothing_to_grant(
    here: Here, empty_database: Database
) -> None:
    line = the_line(here("db", "roles", "--database-url", empty_database.url), 3)
    assert line.endswith("run `penstock db migrate`")


def test_who_does_not_own_the_tables_is_told_who_does(
    here: Here, login: Database
) -> None:
    line = the_line(here("db", "roles", "--database-url", login.url), 1)
    assert line.endswith("run `penstock db roles` as penstock_owner")


# --- a database whose owner is no superuser, as a DBA makes it


@pytest.fixture
def owned(postgres: EmbeddedPostgres, template: str) -> Iterator[Database]:
    """A database without our schema, as its owner sees it, and the login of a server.

    The roles are there: the template has them.
    """
    made = create_database(postgres, "template0")
    owner, server = f"owner_{made.name}", f"server_{made.name}"
    made.administer(f"CREATE ROLE {owner} LOGIN")
    made.administer(f"CREATE ROLE {server} LOGIN IN ROLE penstock_writer")
    made.administer(f"ALTER DATABASE {made.name} OWNER TO {owner}")
    yield made._replace(url=url_as(made.url, owner))
    drop_database(made)
    made.administer(f"DROP ROLE {owner}")
    made.administer(f"DROP ROLE {server}")


def server_url(owned: Database) -> str:
    return url_as(owned.url, f"server_{owned.name}")


def test_an_owner_without_the_right_to_make_roles_grants_to_those_there_are(
    here: Here, owned: Database
) -> None:
    at = ("--database-url", owned.url)
    assert here("db", "migrate", *at).returncode == 0
    ended = here("db", "roles", *at)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        GRANTED,
        f"REVOKE TEMPORARY ON DATABASE {owned.name} FROM PUBLIC",
    ]
    owners = "SELECT DISTINCT pg_get_userbyid(proowner) FROM pg_proc WHERE prosecdef"
    assert owned.value(owners) == f"owner_{owned.name}"


def test_a_server_stores_as_the_writer_while_the_owner_maintains(
    here: Here, owned: Database, start: Start
) -> None:
    at = ("--database-url", owned.url)
    assert here("db", "migrate", *at).returncode == 0
    assert here("db", "roles", *at).returncode == 0
    server = start(
        "serve",
        *("--database-url", server_url(owned)),
        *("--maintenance-interval-seconds", "1"),
        PENSTOCK_MAINTENANCE_DATABASE_URL=owned.url,
        PENSTOCK_RETENTION_MAX_AGE_DAYS="20",
    ).wait_ready()
    with Sender(server.port) as sender:
        sender.send(range(5), "c1")
        assert sender.acks(1) == ["c1"]
    assert numbers_in(owned) == list(range(5))
    old = datetime.fromtimestamp(clock() - 25 * DAY_SECONDS, UTC).date()
    owned.fetch("SELECT penstock_make_day($1)", old)
    wait_until(
        lambda: owned.value("SELECT to_regclass($1) IS NULL", f"logs_{old:%Y%m%d}"),
        "retention drops the day",
    )
    assert server.metric("penstock_maintenance_failures_total") == 0
    assert server.get("/ready")[0] == 200
    logins = owned.administer(
        f"SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = '{owned.name}'"
    )
    assert (f"server_{owned.name}",) in logins
    assert server.stop() == 0


def test_a_server_that_may_not_maintain_says_so_once_and_goes_on(
    here: Here, login: Database, database: Database, start: Start
) -> None:
    server = start(
        "serve",
        *("--database-url", login.url, "--maintenance-interval-seconds", "1"),
    ).wait_ready()
    told = "this server does not maintain the database"
    wait_until(lambda: told in server.stderr, "it says so")
    time.sleep(2.5)
    assert server.stderr.count(told) == 1
    assert server.metric("penstock_maintenance_failures_total") == 0
    assert server.get("/ready")[0] == 200
    with Sender(server.port) as sender:
        sender.send(range(3), "c1")
        assert sender.acks(1) == ["c1"]
    assert numbers_in(database) == [0, 1, 2]
    assert server.stop() == 0
    line = the_line(here("db", "maintain", "--database-url", login.url), 3)
    assert "run `penstock db maintain` as penstock_owner" in line


def test_a_server_that_may_not_migrate_says_what_to_run(
    owned: Database, start: Start
) -> None:
    server = start("serve", "--database-url", server_url(owned))
    assert server.wait_ended() == 3
    (line,) = server.stderr.splitlines()
    assert "run `penstock db migrate` as the owner of its tables" in line
    assert "permission denied for schema public" in line


# --- a cluster that has no roles yet


@pytest.fixture
def bare_cluster() -> Iterator[str]:
    """A server on which nobody has made the roles."""
    home = new_home()
    server = EmbeddedPostgres(home / "data")
    server.start()
    yield server.url
    server.stop(0)
    shutil.rmtree(home)


def test_an_owner_who_may_make_roles_makes_them_and_stores_with_less(
    bare_cluster: str, here: Here
) -> None:
    """First who may not is told what to have run."""
    admin = Database(bare_cluster, "penstock", bare_cluster)
    admin.administer("CREATE ROLE me LOGIN")
    admin.administer("ALTER DATABASE penstock OWNER TO me")
    mine = admin._replace(url=url_as(bare_cluster, "me"))
    at = ("--database-url", mine.url)
    assert here("db", "migrate", *at).returncode == 0
    line = the_line(here("db", "roles", *at), 1)
    assert "CREATE ROLE penstock_writer NOLOGIN; CREATE ROLE penstock_reader" in line
    assert "me may not make roles" in line

    admin.administer("ALTER ROLE me CREATEROLE")
    ended = here("db", "roles", *at)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines()[:5] == [
        "made the role penstock_writer",
        "made the role penstock_reader",
        "made the role penstock_query",
        "made me a member of penstock_writer",
        GRANTED,
    ]
    tell_who_stores(mine)
    run_async(store_as(mine, events(1)))
    assert mine.value("SELECT host FROM logs") == "penstock_writer"


def test_the_statements_of_the_docs_make_a_database_for_a_server(
    bare_cluster: str, here: Here
) -> None:
    """Of docs/production.md, by a DBA who is no superuser."""
    admin = Database(bare_cluster, "postgres", bare_cluster)
    admin.administer("CREATE ROLE dba LOGIN CREATEROLE CREATEDB")
    page = (ROOT / "docs" / "production.md").read_text()
    statements, *_ = [each.text for each in parse_blocks(page) if each.tag == "sql"]
    dba = Database(url_as(bare_cluster, "dba"), "penstock", bare_cluster)
    for statement in re.sub(" *--.*", "", statements).split(";"):
        dba.fetch(statement)
    logs = bare_cluster.replace("/penstock?", "/logs?")
    of_owner = ("--database-url", url_as(logs, "penstock_owner"))
    for command in re.findall(r"^penstock (db migrate|db roles)$", page, re.MULTILINE):
        ended = here(*command.split(), *of_owner)
        assert (ended.returncode, ended.stderr) == (0, "")
    server = Database(url_as(logs, "penstock"), "logs", bare_cluster)
    run_async(store_as(server, events(1, 2) + events(3, days_ago=40)))
    reader = Database(url_as(logs, "log_reader"), "logs", bare_cluster)
    assert numbers_in(reader) == [1, 2, 3]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        numbers_in(server)
    assert here("db", "maintain", *of_owner).returncode == 0
    assert here("db", "status", "--database-url", reader.url).returncode == 0
    for commands in (("rejected", "list"), ("sql", "SELECT * FROM logs")):
        assert here(*commands, "--database-url", reader.url).returncode == 0


# --- versions


OLD = load_migrations()[:4]
# What servers of before say, whose schema this was (0001 to 0004).
OLD_DAY = """
CREATE TABLE {name} (LIKE logs INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
LOCK TABLE logs_default IN SHARE ROW EXCLUSIVE MODE;
WITH moved AS (
    DELETE FROM logs_default WHERE ts >= '{start}' AND ts < '{end}' RETURNING *
)
INSERT INTO {name} SELECT * FROM moved;
ALTER TABLE logs ATTACH PARTITION {name} FOR VALUES FROM ('{start}') TO ('{end}')
"""
OLD_PERIOD = """
CREATE TABLE IF NOT EXISTS {name} (LIKE ingest_chunk INCLUDING ALL);
ALTER TABLE ingest_chunk ATTACH PARTITION {name}
    FOR VALUES FROM ('{start}') TO ('{end}')
"""


async def old_day(person: asyncpg.Connection, days_ago: int) -> None:
    start = datetime.fromtimestamp((this_day() - days_ago) * DAY_SECONDS, UTC)
    end = start + timedelta(days=1)
    name = f"logs_{day_name(this_day() - days_ago)}"
    async with person.transaction():
        await person.execute(OLD_DAY.format(name=name, start=start, end=end))


async def old_period(person: asyncpg.Connection) -> None:
    now = datetime.now(UTC)
    start = now.replace(hour=now.hour // 6 * 6, minute=0, second=0, microsecond=0)
    end = start + timedelta(hours=6)
    name = f"ingest_chunk_{start:%Y%m%d%H}"
    async with person.transaction():
        await person.execute(OLD_PERIOD.format(name=name, start=start, end=end))


async def test_a_database_of_before_with_data_in_it_goes_on(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(migrations, "load_migrations", lambda: OLD)
        assert len(await migrate(empty_database.url)) == len(OLD)
    person = await asyncpg.connect(empty_database.url)
    await old_day(person, 0)
    await old_period(person)
    for n, ago in ((1, 0), (2, 1)):
        await person.execute(
            "INSERT INTO logs (id, ts, tag, attributes) SELECT n, to_timestamp($2),"
            " 't', jsonb_build_object('n', n) FROM unnest(ARRAY[$1::int]) AS n",
            n,
            clock() - ago * DAY_SECONDS,
        )
    await person.execute(
        "INSERT INTO ingest_chunk (identity, period, sender, tag, events) VALUES ($1,"
        " date_bin('6 hours', now(), '2020-01-01 00:00+00'), 's', 't', 1)",
        b"claimed before",
    )
    assert [each.name for each in await migrate(empty_database.url)] == [
        "roles",
        "days",
        "claim",
        "reading",
        "questions",
    ]
    for n in (3, 4):
        if n == 4:
            await make_roles(empty_database.url)
        writer = new_writer(empty_database.url)
        await writer.connect()
        again = await store(writer, claimed(batch_of(events(9)), b"claimed before"))
        assert again.duplicate_events == 1
        await store(writer, batch_of(events(n) + events(n * 10, days_ago=1)))
        await writer.close()
    assert sorted(numbers_in(empty_database)) == [1, 2, 3, 4, 30, 40]
    assert await person.fetchval("SELECT count(*) FROM logs_default") == 0
    owners = await person.fetch(
        "SELECT DISTINCT pg_get_userbyid(relowner) AS name FROM pg_class"
        " WHERE relnamespace = 'public'::regnamespace"
    )
    assert [row["name"] for row in owners] == ["penstock_owner"]
    await person.close()


async def test_a_server_of_before_goes_on_beside_the_new_schema(
    database: Database, login: Database, person: asyncpg.Connection
) -> None:
    await old_day(person, 0)
    await old_period(person)
    await store_as(login, events(1) + events(2, days_ago=1))
    assert numbers_in(database) == [1, 2]
    report = await maintain(database.url, upkeep(), now_seconds=clock())
    assert report.failures == []


async def test_a_later_migration_grants_anew_where_the_roles_are_used(
    database: Database, person: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = Migration(
        load_migrations()[-1].version + 1,
        "later",
        "REVOKE ALL ON penstock_writer FROM penstock_writer",
    )
    monkeypatch.setattr(
        migrations, "load_migrations", lambda: (*load_migrations(), later)
    )
    assert await migrate(database.url) == [later]
    may = "SELECT has_table_privilege('penstock_writer', 'penstock_writer', 'INSERT')"
    assert await person.fetchval(may)
