"""`penstock send`: the lines of files or of stdin, forwarded as events, with acks.

Owns chunking, pacing, and what the person sees: the bar, the count, the exit code.
Must not read lines (send_input.py) nor touch sockets or acks (net/client.py).
"""

import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import click

from penstock.amounts import amount
from penstock.cli.send_destination import destination, destination_options
from penstock.cli.send_input import BadInputError, InputFile, LineEncoder
from penstock.cli.signals import EXIT_INTERRUPTED
from penstock.errors import PenstockError
from penstock.net.client import ClientSettings, ForwardClient, Tally, build_chunk

# One commit for a thousand rows costs each little; a lost connection repeats little.
CHUNK_EVENTS = 1000
# For long lines: a frame stays far below what receivers accept.
CHUNK_BYTES = 1024 * 1024
# A pipe may pause between two writes of one burst; past this a chunk goes as it is.
LINGER_SECONDS = 0.05
# A paced chunk holds no more than this, so that events come evenly; and no more of
# a delay is caught up, so that a pause of the input is not followed by a burst.
PACED_SECONDS = 0.1
# After Ctrl-C: longer than a commit takes, shorter than patience.
INTERRUPT_SECONDS = 3.0
# Between two looks at the acks that a bar still shows at the end.
SHOW_SECONDS = 0.2
HELP = """Forward the lines of FILEs, or of stdin, and wait until each is acked.

Each line becomes one event: a line that is a JSON object is the record itself, any
other line becomes {"message": LINE}. Line ends (LF, CRLF) are cut off, empty lines
are skipped, bytes that are not UTF-8 are sent as they are, a FILE that ends in .gz
is unpacked. "-" is stdin, and so is no FILE when stdin is not a terminal.

\b
Examples:
  penstock send access.log
  tail -F app.log | penstock send --tag app.web
  penstock send --format json --time-key ts archive/*.jsonl.gz
  penstock send --rate 50 --tag trial sample.jsonl
  penstock send --host logs.example.org --tls --shared-key-file key app.log

Events travel in chunks, and a chunk is acked when it is committed. After a lost
connection the chunks not acked are sent again: each is stored at least once, one whose
ack was lost perhaps twice. The count at the end goes to stderr. Ctrl-C stops reading,
waits a few seconds for outstanding acks, and prints the count too.

\b
Exit status:
  0    all events are acked (with --no-ack: written)
  1    bad input (the line is named) or acks are missing (the count says how many)
  2    usage
  3    the server cannot be reached, or does not let us in
  130  Ctrl-C
"""


class Pacer:
    """When the next chunk is due, so that events go out evenly at a rate."""

    def __init__(self, events_per_second: float, now: float) -> None:
        self.chunk_events = max(1, int(events_per_second * PACED_SECONDS))
        self._rate = events_per_second
        self._due = now

    def wait_seconds(self, now: float) -> float:
        """Return how long the next chunk has to wait."""
        return max(0.0, self._due - now)

    def sent(self, events: int, now: float) -> None:
        """Count a chunk as sent now."""
        self._due = max(self._due, now - PACED_SECONDS) + events / self._rate


@dataclass
class Sender:
    """Reads inputs and hands their events to the client, chunk by chunk."""

    client: ForwardClient
    encoder: LineEncoder
    pacer: Pacer | None
    tag: str
    ack: bool
    chunk_events: int
    show: Callable[[int], None] = lambda _: None  # told how many bytes are read
    entries: list[bytes] = field(default_factory=list)
    entries_bytes: int = 0
    earlier_bytes: int = 0  # read from the inputs before this one

    def run(self, paths: Sequence[str]) -> None:
        """Send all and wait for the acks.

        Raises:
            BadInputError: what stands before the bad line is sent and acked.
            PenstockError: the client gave up.
        """
        bad: BadInputError | None = None
        try:
            for path in paths:
                with closing(InputFile(path)) as source:
                    self._send(source)
        except BadInputError as error:
            bad = error
        self._flush()
        while self.client.tally.done_events < self.client.tally.events:
            self.client.drain(SHOW_SECONDS)
            self.show(self.earlier_bytes)
        self.client.finish()
        if bad is not None:
            raise bad

    def stop(self) -> None:
        """After Ctrl-C: send what is read already, and wait briefly for acks."""
        if self.entries:
            self._enqueue()
        self.client.drain(INTERRUPT_SECONDS)

    def _send(self, source: InputFile) -> None:
        for line in source.lines(lambda: self._before_read(source)):
            if not line:
                continue
            if self.entries_bytes + len(line) > CHUNK_BYTES:
                self._flush()
            if self.pacer and not self.entries:
                self.client.wait(self.pacer.wait_seconds(time.monotonic()))
            try:
                self.entries.append(self.encoder.encode(line))
            except ValueError as exc:
                raise source.bad(str(exc)) from exc
            self.entries_bytes += len(self.entries[-1])
            if len(self.entries) >= self.chunk_events:
                self._flush()
                self.show(self.earlier_bytes + source.position_bytes())
        self.earlier_bytes += source.position_bytes()

    def _before_read(self, source: InputFile) -> None:
        """Let no event wait in a chunk for a next one that may not come."""
        fd = source.slow_fd
        if fd is not None and not self.client.wait(LINGER_SECONDS, fd):
            self._flush()
            self.client.wait(None, fd)

    def _flush(self) -> None:
        if self.entries:
            self.client.wait_for_room()
            self._enqueue()

    def _enqueue(self) -> None:
        self.client.enqueue(build_chunk(self.tag, self.entries, ack=self.ack))
        if self.pacer:
            self.pacer.sent(len(self.entries), time.monotonic())
        self.entries, self.entries_bytes = [], 0


def tally_line(tally: Tally, seconds: float, *, ack: bool) -> str:
    """Return the count at the end, exact."""
    unknown = tally.events - tally.done_events
    done = "all acked" if ack else "no acks asked for"
    if unknown and ack:
        done = f"{tally.done_events:,} acked, {unknown:,} unknown"
    elif unknown:
        done = f"no acks asked for, {unknown:,} not written"
    if tally.reconnects:
        done += f", {amount(tally.reconnects, 'reconnect')}"
    rate = tally.done_events / seconds if seconds > 0 else 0
    return (
        f"sent {amount(tally.events, 'event')} in {amount(tally.chunks, 'chunk')},"
        f" {done}, {seconds:,.1f} s ({rate:,.0f} events/s)"
    )


@contextmanager
def _progress(paths: Sequence[str], tally: Tally) -> Iterator[Callable[[int], None]]:
    # Imported here: it takes longer than sending a small file.
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    found = [os.stat(0 if path == "-" else path) for path in paths]
    known = all(stat.S_ISREG(status.st_mode) for status in found)
    total = sum(status.st_size for status in found) if known else None
    columns = (BarColumn(), DownloadColumn(), TextColumn("{task.description}"))
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total)

        def show(read_bytes: int) -> None:
            rate = tally.done_events / max(0.1, time.monotonic() - started)
            text = f"{rate:,.0f} events/s, {tally.done_events:,} acked"
            bar.update(task, completed=read_bytes, description=text)

        yield show


@contextmanager
def _interrupting(client: ForwardClient) -> Iterator[None]:
    """Let the first Ctrl-C end the client's waiting, a second one everything."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        client.interrupt()

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _inputs(files: Sequence[str]) -> Sequence[str]:
    if not files and os.isatty(0):
        raise click.UsageError("nothing to send: name a FILE, or - for stdin")
    paths = files or ["-"]
    if "-" in paths:
        try:
            os.fstat(0)
        except OSError as exc:  # else the next file or socket opened would be read
            raise click.UsageError("stdin is closed: name a FILE") from exc
    return paths


def _forward(sender: Sender, paths: Sequence[str], *, quiet: bool) -> int:
    """Run the sender, print the count whatever happens, return the exit code."""
    client, code, started = sender.client, 0, 0.0
    typed = "-" in paths and os.isatty(0)  # a bar would tear what is being typed
    bar = os.isatty(2) and not quiet and not typed
    try:
        client.connect()
        started = time.monotonic()
        with (
            _progress(paths, client.tally) if bar else nullcontext(sender.show) as show
        ):
            sender.show = show
            sender.run(paths)
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
        with suppress(PenstockError, KeyboardInterrupt):  # the count says the rest
            sender.stop()
    finally:
        client.close()
        incomplete = client.tally.done_events < client.tally.events
        if started and (incomplete or not quiet):
            seconds = time.monotonic() - started
            click.echo(tally_line(client.tally, seconds, ack=sender.ack), err=True)
    return code


@click.command(
    "send",
    help=HELP,
    short_help="Forward the lines of files or of stdin, with acks.",
    context_settings={"show_default": True},
)
@click.argument(
    "files", nargs=-1, type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.option("--tag", default="penstock.send", help="Tag of the events.")
@destination_options
@click.option(
    "--format",
    "line_format",
    type=click.Choice(["auto", "lines", "json"]),
    default="auto",
    help="What a line is: lines, always text; json, always a JSON object, any other"
    " line ends the sending; auto, told apart line by line.",
)
@click.option(
    "--time-key",
    metavar="KEY",
    help="Key of the record that holds the event's time, an RFC 3339 string or seconds"
    " since 1970; each line must have it.  [default: now]",
)
@click.option(
    "--rate",
    metavar="N",
    type=click.FloatRange(min=0, min_open=True),
    help="Send N events per second, evenly.  [default: as fast as they are acked]",
)
@click.option(
    "--chunk-events",
    metavar="N",
    type=click.IntRange(min=1),
    default=CHUNK_EVENTS,
    help="Events per chunk; 1 MiB ends a chunk too.",
)
@click.option("--no-ack", is_flag=True, help="Ask for no acks: losses go unnoticed.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=60.0,
    help="Give up after so long without an ack or a connection; 0 is never.",
)
@click.option(
    "--retries",
    metavar="N",
    type=click.IntRange(min=0),
    help="Connect again N times before giving up; each ack starts the count anew."
    "  [default: as often as the timeout allows, but no second try of the first]",
)
@click.option(
    "-q", "--quiet", is_flag=True, help="No bar, and no count if all is well."
)
def command(
    files: tuple[str, ...],
    tag: str,
    line_format: str,
    time_key: str | None,
    rate: float | None,
    chunk_events: int,
    no_ack: bool,
    timeout: float,
    retries: int | None,
    quiet: bool,
    **where: Any,
) -> None:
    # One parameter for each option is click's contract. The help page is HELP.
    if line_format == "lines" and time_key is not None:
        raise click.UsageError("--time-key reads JSON records: not with --format lines")
    paths = _inputs(files)
    settings = ClientSettings(
        destination=destination(**where),
        ack=not no_ack,
        timeout_seconds=timeout or None,
        retries=retries,
    )
    pacer = None if rate is None else Pacer(rate, time.monotonic())
    sender = Sender(
        client=ForwardClient(settings),
        encoder=LineEncoder(line_format, time_key),
        pacer=pacer,
        tag=tag,
        ack=not no_ack,
        chunk_events=min(chunk_events, pacer.chunk_events) if pacer else chunk_events,
    )
    with _interrupting(sender.client):
        code = _forward(sender, paths, quiet=quiet)
    sys.exit(code)
