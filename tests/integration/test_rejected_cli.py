"""`penstock rejected`: looked at, replayed exactly and once, purged."""

import gzip
import json
import re
import subprocess
import time
from typing import Any

import pytest

from penstock.sink import rejected, replay
from tests import msgpack_bytes as m
from tests.integration.conftest import (
    Database,
    Here,
    batch_of,
    clean_environment,
    create_database,
    penstock,
    run_async,
    store_in,
    the_line,
    wait_until,
)

NOW_SECONDS = m.T + 60.25
CHECKED = "ALTER TABLE logs ADD CONSTRAINT no_poison CHECK (message <> 'poison')"
UNCHECKED = "ALTER TABLE logs DROP CONSTRAINT no_poison"
# All of a row but its id; attributes as PostgreSQL writes them, to the byte.
CONTENT = (
    "SELECT ts, tag, level::text, service, host, message, attributes::text"
    " FROM logs ORDER BY attributes::text, ts"
)
INSERT = (
    "INSERT INTO rejected_event"
    " (sender, tag, chunk, reason, sqlstate, raw, received_at)"
    " VALUES ('192.0.2.7', $1, $2, $3, $4, $5, now() - $6 * interval '1 second')"
    " RETURNING id"
)


class Rejected:
    """`penstock rejected` on one database."""

    def __init__(self, here: Here, database: Database) -> None:
        self._here = here
        self.database = database

    def __call__(
        self, *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        command, *rest = arguments
        url = ("--database-url", self.database.url)
        return self._here("rejected", command, *url, *rest, **environment)

    def output(self, *arguments: str, **environment: str) -> str:
        ended = self(*arguments, **environment)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    def json(self, *arguments: str) -> list[dict[str, Any]]:
        text = self.output(*arguments, "-o", "json")
        return [json.loads(line) for line in text.splitlines()]

    def add(
        self,
        raw: bytes,
        reason: str = "refused: no_poison",
        *,
        tag: str = "test",
        chunk: bytes | None = None,
        sqlstate: str | None = "23514",
        age_seconds: int = 0,
    ) -> int:
        values = (tag, chunk, reason, sqlstate, raw, age_seconds)
        number = self.database.value(INSERT, *values)
        assert isinstance(number, int)
        return number

    @property
    def ids(self) -> list[int]:
        rows = self.database.fetch("SELECT id FROM rejected_event ORDER BY id")
        return [number for (number,) in rows]

    @property
    def stored(self) -> list[int]:
        """The numbers of the events that are rows."""
        rows = self.database.fetch("SELECT attributes->>'n' FROM logs")
        return sorted(int(number) for (number,) in rows)


@pytest.fixture
def events(here: Here, database: Database) -> Rejected:
    return Rejected(here, database)


def numbered(number: int, **more: Any) -> bytes:
    return m.entry({"n": number, **more})


# --- replay: exact

POISON = {"message": "poison"}
GROUP = m.fixarray(
    m.fixarray(m.event_time(0xFFFFFFFF), m.fixmap()), m.pack({"resource": {"a": 1}})
)
POISONED: list[bytes] = [
    m.entry({**POISON, "n": 1, "level": "warn", "service": "s", "host": "h"}),
    m.entry(
        {**POISON, "n": 2, "é": [None, 1.0, {"x": "\\u0000"}]}, m.event_time(m.T, 7)
    ),
    m.entry({**POISON, "n": 3}, m.NIL),  # the time of its arrival
    m.entry({**POISON, "n": 4}, m.uint64(m.T * 1000 + 5)),
    m.entry({**POISON, "n": 5}, m.float64(-0.5)),
    m.entry({**POISON, "n": 6}, m.fixarray(m.event_time(m.T), m.pack({"m": 1}))),
    m.fixarray(
        m.uint32(m.T),
        m.fixmap(
            (m.fixstr(b"message"), m.bin8(b"poison")),
            (m.fixstr(b"bad"), m.str8(b"\xff\0a")),
            (m.NIL, m.float64(float("nan"))),
        ),
    ),
    GROUP + m.entry({**POISON, "n": 8}),
    m.entry({**POISON, "n": 9, "deep": [[[[[{}]]]]], "big": "x" * 300_000}),
]


def test_replayed_rows_are_those_that_a_direct_store_would_have_made(
    events: Rejected, postgres: Any, template: str
) -> None:
    fine = [numbered(100 + n) for n in range(50)]
    batch = batch_of(*POISONED, *fine, now_seconds=NOW_SECONDS, chunk=m.fixstr(b"c"))
    events.database.fetch(CHECKED)
    run_async(store_in(events.database, batch))
    assert len(events.ids) == len(POISONED)

    refused = events("replay", "--all")
    assert (refused.returncode, refused.stderr) == (1, "")
    assert refused.stdout == "replayed 0 events, 9 remain: 9 refused: no_poison\n"
    assert len(events.ids) == len(POISONED)

    events.database.fetch(UNCHECKED)
    assert events.output("replay", "--all") == "replayed 9 events\n"
    direct = create_database(postgres, template)
    again = batch_of(*POISONED, *fine, now_seconds=NOW_SECONDS, chunk=m.fixstr(b"c"))
    run_async(store_in(direct, again))
    assert events.database.fetch(CONTENT) == direct.fetch(CONTENT)
    assert events.ids == []
    ids = events.database.fetch("SELECT id FROM logs")
    assert len(set(ids)) == len(ids)


def test_replaying_again_stores_nothing_again(events: Rejected) -> None:
    number = events.add(numbered(1))
    assert events.output("replay", str(number)) == "replayed 1 event\n"
    again = events("replay", str(number))
    assert (again.returncode, again.stdout) == (0, "replayed 0 events\n")
    assert again.stderr == "1 of these IDs are not there\n"
    assert events.output("replay", "--all") == "replayed 0 events\n"
    assert events.stored == [1]


def test_a_refused_event_takes_no_other_with_it(events: Rejected) -> None:
    events.database.fetch(CHECKED)
    bad = [
        events.add(numbered(n, message="poison" if n in (0, 3, 4, 19) else "fine"))
        for n in range(20)
    ]
    before = events.database.fetch("SELECT * FROM rejected_event WHERE id = $1", bad[3])
    ended = events("replay", "--all")
    assert ended.returncode == 1
    line = "replayed 16 events, 4 remain: 4 refused: no_poison\n"
    assert ended.stdout == line
    assert events.ids == [bad[0], bad[3], bad[4], bad[19]]
    assert events.stored == [n for n in range(20) if n not in (0, 3, 4, 19)]
    rows = "SELECT * FROM rejected_event WHERE id = $1"
    assert events.database.fetch(rows, bad[3]) == before, "untouched"


def test_a_constraint_that_is_deferred_refuses_only_its_own(events: Rejected) -> None:
    events.database.fetch("CREATE TABLE known (name text PRIMARY KEY)")
    events.database.fetch("INSERT INTO known VALUES ('known')")
    events.database.fetch(
        "ALTER TABLE logs ADD CONSTRAINT known_host FOREIGN KEY (host)"
        " REFERENCES known DEFERRABLE INITIALLY DEFERRED"
    )
    for n, host in enumerate(["known", "unknown", "known"]):
        events.add(numbered(n, host=host))
    ended = events("replay", "--all")
    assert ended.stdout == "replayed 2 events, 1 remain: 1 refused: known_host\n"
    assert events.stored == [0, 2]


def test_what_is_no_row_stays_and_the_line_says_why(events: Rejected) -> None:
    raws = {
        "record_not_a_map": m.fixarray(m.uint32(m.T), m.fixstr(b"text")),
        "invalid_time": m.fixarray(m.fixstr(b"now"), m.pack({"n": 1})),
        "no_record": m.fixarray(m.uint32(m.T)),
        "not_an_entry": b"\x01\x02\xc0",
        "truncated_entry": numbered(1)[:-1],
        "malformed_msgpack": b"\xc1" + numbered(1),
        "decompression": gzip.compress(numbered(1))[:-1],
        # What looks like an entry and is none.
        "signal_metrics": numbered(1),
        "signal_other": b"",
    }
    for reason, raw in raws.items():
        events.add(raw, reason, sqlstate=None)
    everything = "SELECT * FROM rejected_event ORDER BY id"
    before = events.database.fetch(everything)
    ended = events("replay", "--all")
    assert ended.returncode == 1
    counts = ", ".join(f"1 {reason}" for reason in raws)
    assert ended.stdout == f"replayed 0 events, 9 remain: {counts}\n"
    assert events.database.fetch(everything) == before
    assert events.stored == []


def test_a_chunk_that_was_too_large_passes_when_the_limit_is_raised(
    events: Rejected,
) -> None:
    entries = [numbered(n, fill="x" * 1000) for n in range(300)]
    text = m.fixarray(m.uint32(m.T), m.fixstr(b"text"))
    blob = gzip.compress(b"".join([*entries[:200], text, *entries[200:]]))
    number = events.add(blob, "decompression_limit", sqlstate=None, age_seconds=60)
    ended = events("replay", "--all", PENSTOCK_MAX_DECOMPRESSED_BYTES="65536")
    assert ended.stdout == "replayed 0 events, 1 remain: 1 decompression_limit\n"
    ended = events("replay", "--all")
    # What is no row in it is kept for itself.
    line = "replayed 1 event as 300 rows, 1 remain: 1 record_not_a_map\n"
    assert (ended.returncode, ended.stdout) == (1, line)
    assert events.stored == list(range(300))
    ((left, reason, raw, sender, seconds),) = events.database.fetch(
        "SELECT id, reason, raw, sender, extract(epoch FROM now() - received_at)::int"
        " FROM rejected_event"
    )
    assert (reason, raw, sender) == ("record_not_a_map", text, "192.0.2.7")
    assert left != number
    assert 60 <= seconds < 120, "it came when the chunk did"


def test_rows_of_one_event_are_all_stored_or_none(events: Rejected) -> None:
    events.database.fetch(CHECKED)
    blob = gzip.compress(numbered(1) + numbered(2, message="poison") + numbered(3))
    events.add(blob, "decompression_limit", sqlstate=None)
    events.add(numbered(4))
    ended = events("replay", "--all")
    assert ended.stdout == "replayed 1 event, 1 remain: 1 refused: no_poison\n"
    assert events.stored == [4]


def test_the_columns_are_those_of_the_settings(events: Rejected) -> None:
    events.add(m.entry({"n": 1, "unit": "db"}))
    events.output("replay", "--all", PENSTOCK_SERVICE_KEYS="unit")
    assert events.database.value("SELECT service FROM logs") == "db"


def test_a_day_gets_its_partition(events: Rejected) -> None:
    events.add(m.entry({"n": 1}, m.uint32(int(time.time()))))
    events.output("replay", "--all")
    partition = events.database.value("SELECT tableoid::regclass::text FROM logs")
    assert re.fullmatch(r"logs_\d{8}", partition)


# --- replay: which


def test_one_is_chosen_by_id_reason_or_tag(events: Rejected) -> None:
    one = events.add(numbered(1))
    events.add(numbered(2), "refused: other", tag="b")
    events.add(numbered(3), "refused: other")
    events.add(numbered(4), "refusedly")
    events.output("replay", str(one))
    assert events.stored == [1]
    events.output("replay", "--reason", "refused: other", "--tag", "b")
    assert events.stored == [1, 2]
    events.output("replay", "--reason", "refused")
    assert events.stored == [1, 2, 3]
    events.output("replay", "--tag", "test")
    assert events.stored == [1, 2, 3, 4]


def test_a_limit_is_of_those_tried_the_oldest_first(events: Rejected) -> None:
    for n in range(5):
        events.add(numbered(n))
    assert events.output("replay", "--all", "--limit", "2") == "replayed 2 events\n"
    assert events.stored == [0, 1]


@pytest.mark.parametrize(
    "arguments",
    [(), ("--limit", "3"), ("--all", "1"), ("--all", "--reason", "x"), ("x",), ("-1",)],
)
def test_which_to_replay_has_to_be_said(
    events: Rejected, arguments: tuple[str, ...]
) -> None:
    events.add(numbered(1))
    ended = events("replay", *arguments)
    assert ended.returncode == 2
    assert events.stored == []


def test_a_dry_run_tells_the_truth_and_changes_nothing(events: Rejected) -> None:
    events.database.fetch(CHECKED)
    events.add(numbered(1))
    events.add(numbered(2, message="poison"))
    events.add(b"\xc0", "not_an_entry")
    ended = events("replay", "--all", "--dry-run")
    reasons = "1 not_an_entry, 1 refused: no_poison"
    assert ended.stdout == f"would replay 1 event, 2 remain: {reasons}\n"
    assert ended.returncode == 1
    assert (len(events.ids), events.stored) == (3, [])


def test_more_than_a_transaction_holds_is_several(
    events: Rejected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "BATCH_EVENTS", 7)
    monkeypatch.setattr(replay, "BATCH_BYTES", 3_000)
    for n in range(30):
        events.add(numbered(n, fill="x" * (n % 5) * 1000))
    assert events.output("replay", "--all") == "replayed 30 events\n"
    assert events.stored == list(range(30))
    assert len(events.database.fetch("SELECT DISTINCT xmin::text FROM logs")) > 10


# --- replay: once, whatever happens

FILL = (
    "INSERT INTO rejected_event (sender, tag, reason, raw)"
    " SELECT 's', 'test', 'refused: x', raw FROM unnest($1::bytea[]) AS raw"
)


def fill(database: Database, count: int) -> None:
    database.fetch(FILL, [numbered(n) for n in range(count)])


def start(database: Database, *arguments: str) -> subprocess.Popen[str]:
    command = ("rejected", "replay", "--database-url", database.url, *arguments)
    return subprocess.Popen(
        penstock(*command),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )


def make_slow(database: Database, seconds: float) -> None:
    """Let each row of `logs` take so long."""
    database.fetch(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$"
    )
    database.fetch(
        "CREATE TRIGGER slow BEFORE INSERT ON logs FOR EACH ROW EXECUTE FUNCTION slow()"
    )


def test_two_replays_at_once_store_each_event_once(events: Rejected) -> None:
    fill(events.database, 2_000)
    make_slow(events.database, 0.0005)
    replays = [start(events.database, "--all") for _ in range(2)]
    lines = []
    for each in replays:
        stdout, stderr = each.communicate(timeout=50)
        assert (each.returncode, stderr) == (0, "")
        lines.append(stdout)
    assert events.stored == list(range(2_000))
    assert events.ids == []
    replayed = [int(line.split()[1]) for line in lines]
    assert sum(replayed) == 2_000


def test_a_replay_that_is_cut_off_leaves_each_event_in_one_place(
    events: Rejected,
) -> None:
    fill(events.database, 1_200)
    make_slow(events.database, 0.002)
    replaying = start(events.database, "--all")
    wait_until(lambda: len(events.stored) >= 500, "the first transaction")
    working = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%'"
    wait_until(lambda: events.database.value(working), "the second transaction")
    assert events.database.kill_connections() >= 1
    _, stderr = replaying.communicate(timeout=30)
    assert replaying.returncode == 3
    (line,) = stderr.splitlines()
    assert line.startswith("penstock: cannot use the database")
    stored = events.stored
    assert 500 <= len(stored) < 1_200
    assert f"; {len(stored)} events were replayed before that" in line
    assert len(stored) + len(events.ids) == 1_200

    events.database.fetch("DROP TRIGGER slow ON logs")
    assert (
        events.output("replay", "--all") == f"replayed {1_200 - len(stored)} events\n"
    )
    assert events.stored == list(range(1_200))
    assert events.ids == []


def test_a_replay_that_is_killed_loses_nothing(events: Rejected) -> None:
    fill(events.database, 600)
    make_slow(events.database, 0.002)
    replaying = start(events.database, "--all")
    working = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%'"
    wait_until(lambda: events.database.value(working), "a transaction")
    replaying.kill()
    replaying.communicate()
    wait_until(lambda: not events.database.value(working), "its end")
    events.database.fetch("DROP TRIGGER slow ON logs")
    events.output("replay", "--all")
    assert (events.stored, events.ids) == (list(range(600)), [])


# --- list and show


def test_the_list_is_the_newest_first_and_bounded(events: Rejected) -> None:
    ids = [events.add(numbered(n), chunk=m.fixstr(b"c1")) for n in range(4)]
    ended = events("list", "--limit", "3", "-o", "json")
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [row["id"] for row in rows] == ids[:0:-1]
    assert ended.stderr == "there are older ones: --limit\n"
    assert {k: v for k, v in rows[0].items() if k not in ("id", "received_at")} == {
        "sender": "192.0.2.7",
        "tag": "test",
        "chunk": "c1",
        "reason": "refused: no_poison",
        "sqlstate": "23514",
        "bytes": len(numbered(3)),
    }
    table = events("list", "--limit", "4")
    assert "refused: no_poison" in table.stdout
    assert table.stderr == "(4 rows)\n"


def test_the_list_is_filtered(events: Rejected) -> None:
    one = events.add(numbered(1), age_seconds=7200)
    two = events.add(b"\xc0", "not_an_entry", sqlstate=None, tag="b")

    def listed(*flags: str) -> list[int]:
        return [row["id"] for row in events.json("list", *flags)]

    assert listed() == [two, one]
    assert listed("--since", "1h") == [two]
    assert listed("--since", "0.5d") == [two, one]
    assert listed("--reason", "refused") == [one]
    assert listed("--tag", "b") == [two]
    assert listed("--sqlstate", "23514") == [one]
    assert listed("--sqlstate", "23514", "--tag", "b") == []


@pytest.mark.parametrize("span", ["1", "x", "-1h", "1y", "h", "9999999999999w"])
def test_a_span_that_is_none_is_a_mistake_in_the_usage(
    events: Rejected, span: str
) -> None:
    assert events("list", "--since", span).returncode == 2


def test_they_are_counted_by_reason_sqlstate_and_tag(events: Rejected) -> None:
    for n in range(3):
        events.add(numbered(n))
    events.add(b"\xc0", "not_an_entry", sqlstate=None)
    kinds = events.json("list", "--count")
    assert [list(kind.values())[:4] for kind in kinds] == [
        [3, "refused: no_poison", "23514", "test"],
        [1, "not_an_entry", None, "test"],
    ]
    (kind,) = events.json("list", "--count", "--reason", "not_an_entry")
    assert kind["events"] == 1


def test_one_is_shown_with_all_there_is(events: Rejected) -> None:
    raw = m.entry({"message": "poison", "é": {"a": [1]}}, m.event_time(m.T, 5000))
    number = events.add(raw, chunk=m.fixstr(b"chunk-1"))
    (shown,) = events.json("show", str(number))
    del shown["received_at"]
    assert shown == {
        "id": number,
        "sender": "192.0.2.7",
        "tag": "test",
        "chunk": "chunk-1",
        "reason": "refused: no_poison",
        "sqlstate": "23514",
        "time": "2015-09-07T01:23:04.000005000Z",
        "record": {"message": "poison", "é": {"a": [1]}},
        "raw": raw.hex(),
    }
    text = events.output("show", str(number))
    assert '"message": "poison"' in text
    assert re.search(rf"^raw +{len(raw)} bytes$", text, re.MULTILINE)


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        pytest.param(b"\x01\xc0\xa1x", {"values": [1, None, "x"]}, id="values"),
        pytest.param(
            m.fixarray(m.uint32(m.T), m.fixstr(b"text")),
            {"values": [[m.T, "text"]]},
            id="no map",
        ),
        pytest.param(b"\x92\x01", {"undecoded": "9201"}, id="cut short"),
        pytest.param(b"\x05\xc1\x00", {"values": [5], "undecoded": "c100"}, id="c1"),
        pytest.param(b"\x1f\x8b\x08", {"undecoded": "1f8b08"}, id="gzip"),
        pytest.param(b"", {}, id="nothing"),
    ],
)
def test_bytes_are_decoded_as_far_as_they_are_msgpack(
    events: Rejected, raw: bytes, decoded: dict[str, Any]
) -> None:
    number = events.add(raw, "not_an_entry", sqlstate=None)
    (shown,) = events.json("show", str(number))
    assert {k: v for k, v in shown.items() if k in ("values", "undecoded")} == decoded
    assert shown["raw"] == raw.hex()
    assert events.output("show", str(number))


def test_what_is_shown_does_not_command_the_terminal(events: Rejected) -> None:
    number = events.add(m.entry({"message": "\x1b]0;owned\x07\x9b31m"}), tag="\x1b[2J")
    for ended in (events("show", str(number)), events("list")):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", ended.stdout)


def test_an_id_that_is_not_there_is_told(events: Rejected) -> None:
    assert "no rejected event 77" in the_line(events("show", "77"), 1)


# --- purge


def test_purge_deletes_what_is_old_enough(events: Rejected) -> None:
    events.add(numbered(1), age_seconds=40 * 86_400)
    young = events.add(numbered(2), age_seconds=20 * 86_400)
    assert events.output("purge", "--older-than", "30d", "--yes") == "purged 1 event\n"
    assert events.ids == [young]
    assert events.output("purge", "--older-than", "30d") == "purged 0 events\n"


def test_purge_by_reason_and_all_in_bounded_transactions(
    events: Rejected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rejected, "PURGE_EVENTS", 7)
    for n in range(20):
        events.add(numbered(n))
    left = events.add(b"\xc0", "not_an_entry")
    assert (
        events.output("purge", "--reason", "refused", "--yes") == "purged 20 events\n"
    )
    assert events.ids == [left]
    assert events.output("purge", "--all", "--yes") == "purged 1 event\n"
    assert events.ids == []


@pytest.mark.parametrize(("answer", "is_purged"), [("y\n", True), ("\n", False)])
def test_purge_asks_first(
    events: Rejected, monkeypatch: pytest.MonkeyPatch, answer: str, is_purged: bool
) -> None:
    events.add(numbered(1))
    url = ("--database-url", events.database.url)
    ended = subprocess.run(
        penstock("rejected", "purge", "--all", *url),
        input=answer,
        capture_output=True,
        text=True,
        env=clean_environment(),
    )
    assert "Delete 1 event for good? [y/N]" in ended.stderr
    assert ended.returncode == (0 if is_purged else 1)
    assert (events.ids == []) is is_purged


@pytest.mark.parametrize("arguments", [("--yes",), ("--all", "--older-than", "1d")])
def test_which_to_purge_has_to_be_said(
    events: Rejected, arguments: tuple[str, ...]
) -> None:
    events.add(numbered(1))
    assert events("purge", *arguments).returncode == 2
    assert len(events.ids) == 1


# --- no database


@pytest.mark.parametrize(
    "arguments",
    [("list",), ("show", "1"), ("replay", "--all"), ("purge", "--all", "--yes")],
)
def test_a_database_without_our_schema_is_exit_code_3(
    here: Here, empty_database: Database, arguments: tuple[str, ...]
) -> None:
    the_line(Rejected(here, empty_database)(*arguments), 3)
