"""`penstock send` against the real server: what is in the file is in the database."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.penstock_process import (
    Penstock,
    Row,
    clean_environment,
    wait_until,
)

SEND_SECONDS = 50.0


def command(penstock: Penstock, *arguments: str | Path) -> list[str]:
    send = (sys.executable, "-m", "penstock", "send", "--port", str(penstock.port))
    return [*send, *map(str, arguments)]


def run_send(
    penstock: Penstock, *arguments: str | Path, stdin: str | None = None
) -> str:
    """Run the command to its good end and return what it says."""
    done = subprocess.run(
        command(penstock, *arguments),
        input=stdin,
        # An empty stdin, not the one that pytest was given.
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=SEND_SECONDS,
        env=clean_environment(),
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    return done.stderr


def test_every_line_of_a_file_is_stored_once_and_in_order(
    penstock: Penstock, tag: str, tmp_path: Path
) -> None:
    lines = [f"{number} \ub85c\uadf8 line" for number in range(20_500)]
    file = tmp_path / "app.log"
    file.write_text("\n".join(lines) + "\n")
    said = run_send(penstock, "--tag", tag, file)
    assert said.startswith("sent 20,500 events in 21 chunks, all acked, ")
    # Acked, so it is there now: nothing to wait for.
    assert [row.message for row in penstock.rows(tag)] == lines


def test_json_lines_keep_their_own_time_to_the_microsecond(
    penstock: Penstock, tag: str, tmp_path: Path
) -> None:
    file = tmp_path / "app.jsonl"
    file.write_text(
        '{"ts": "2024-02-29T12:00:00.123456Z", "level": "warn", "n": 0}\n'
        '{"ts": "2024-02-29T13:00:00.5+01:00", "msg": "caf\u00e9", "n": 1}\n'
        '{"ts": 1709208000.25, "service": "shop", "host": "web-1", "n": 2}\n'
        '{"ts": 1709208000, "list": [1, {"a": null}], "n": 3}\n'
    )
    said = run_send(
        penstock, "--tag", tag, "--format", "json", "--time-key", "ts", file
    )
    assert said.startswith("sent 4 events in 1 chunk, all acked, ")
    noon = 1_709_208_000_000_000
    first, second, third = (
        "2024-02-29T12:00:00.123456Z",
        "2024-02-29T13:00:00.5+01:00",
        1_709_208_000.25,
    )
    none = None
    assert penstock.rows(tag) == [
        Row(noon + 123_456, tag, "WARN", none, none, none, {"ts": first, "n": 0}),
        Row(noon + 500_000, tag, none, none, none, "caf\u00e9", {"ts": second, "n": 1}),
        Row(noon + 250_000, tag, none, "shop", "web-1", none, {"ts": third, "n": 2}),
        Row(
            *(noon, tag, none, none, none, none),
            {"ts": 1_709_208_000, "list": [1, {"a": None}], "n": 3},
        ),
    ]


def test_lines_from_stdin_are_stored_while_it_is_still_open(
    penstock: Penstock, tag: str
) -> None:
    with subprocess.Popen(
        command(penstock, "--tag", tag),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write('first\n{"message": "second", "n": 2}\n')
            process.stdin.flush()
            first, second = penstock.wait_for_rows(tag, 2)
            assert (first.message, first.attributes) == ("first", {})
            assert (second.message, second.attributes) == ("second", {"n": 2})
            _, said = process.communicate("third\n", SEND_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0
    assert said.startswith("sent 3 events in 2 chunks, all acked, ")
    assert [row.message for row in penstock.rows(tag)] == ["first", "second", "third"]


def test_an_empty_stdin_sends_nothing(penstock: Penstock, tag: str) -> None:
    said = run_send(penstock, "--tag", tag, "-", stdin="")
    assert said.startswith("sent 0 events in 0 chunks, all acked, ")
    assert penstock.count(tag) == 0


def test_a_server_that_restarts_in_the_middle_costs_no_line(
    start_penstock: Callable[..., Penstock], tag: str, tmp_path: Path
) -> None:
    events = 30_000
    file = tmp_path / "app.jsonl"
    file.write_text("".join(json.dumps({"n": n}) + "\n" for n in range(events)))
    penstock = start_penstock()
    # Paced, so that it surely is in the middle when the server stops.
    arguments = ("--tag", tag, "--rate", "10000", "--chunk-events", "100")
    with subprocess.Popen(
        command(penstock, *arguments, file),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    ) as process:
        try:
            wait_until(lambda: penstock.count(tag) >= 2_000, "some rows")
            assert penstock.stop(signal.SIGTERM) == 0
            # With all of them acked it would have ended.
            assert process.poll() is None, "it was not in the middle"
            penstock.start()
            _, said = process.communicate(timeout=SEND_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 0, said
    assert said.startswith(f"sent {events:,} events in 300 chunks, all acked, ")
    assert re.search(r", \d+ reconnects?, ", said), said
    stored = [row.attributes["n"] for row in penstock.rows(tag)]
    assert sorted(stored) == list(range(events))
