"""Runs of one set of records: through Penstock in any way to send, or by COPY alone.

Owns a PostgreSQL, the records, and a Penstock for each set of options that a run asks
for; each begins from empty tables and after a checkpoint, and ends with its rows
counted. A run that lost or changed a row is an error, not a figure. Does not decide
which runs there are, nor in what order.
"""

import ssl
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import limit, load, process, records, stage
from benchmarks.frames import Form, frames
from benchmarks.load import LoadError, LoadResult
from benchmarks.question import Place
from benchmarks.records import Chunk, Mix
from benchmarks.server import PenstockServer, free_port
from benchmarks.stage import StageError

TLS_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

# Rows of the last chunks of senders without acks: in a batch that is being committed.
SETTLE_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Way:
    """One way to send, and the server's options that go with it.

    `window` is how many frames that want an ack may wait for it on each connection.
    """

    form: Form = field(default_factory=Form)
    tls: str = "off"
    workers: int | None = None
    connections: int = 4
    window: int = 2
    server_options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run came to; no ack times where senders ask for none."""

    events_per_second: float
    mib_per_second: float
    cpu_seconds_per_million: float
    postgres_cpu_seconds_per_million: float
    sender_cpu_seconds_per_million: float
    ack_p50_ms: float | None
    ack_p99_ms: float | None


@dataclass(frozen=True, slots=True)
class Run:
    """A run's figures, what was stored (in a form to compare), and the waits for it."""

    figures: Figures
    stored: str
    ack_seconds: list[float]


@dataclass(frozen=True, slots=True)
class LimitRun:
    """The same rows by COPY alone."""

    rows_per_second: float
    postgres_cpu_seconds_per_million: float
    stored: str


class Trial:
    """The same records as often as asked for, each time in one way."""

    def __init__(self, place: Place, mix: Mix) -> None:
        self._place = place
        self.now_ns = mix.now_ns
        self.chunks = records.workload(mix)
        self.events = mix.events
        self.mean_entry_bytes = records.mean_entry_bytes(self.chunks)
        stage.say(
            f"{mix.events:,} events in {len(self.chunks):,} chunks,"
            f" {self.mean_entry_bytes:.0f} bytes each"
        )
        self.cluster = place.stack.enter_context(stage.cluster(place.directory))
        self.url = self.cluster.url
        # Where the servers are told to find it.
        self.server_url = self.url
        self.postgresql = stage.version(self.url)
        limit.ensure_partitions(self.url, mix.now_ns)
        self._servers: dict[tuple[str, ...], PenstockServer] = {}
        self._authority: tuple[str, Path, Path] | None = None
        self._files: list[Path] = []
        self._runs = 0

    def listen_on_loopback(self, password: str, **settings: str) -> int:
        """Have PostgreSQL take TCP connections too, on a port returned.

        The servers that are started from then on use that, as they would another
        machine's. `settings` are PostgreSQL's, changed at the same time.
        """
        port = free_port()
        settings |= {"listen_addresses": "127.0.0.1", "port": str(port)}
        statements = [f"ALTER SYSTEM SET {k} = '{v}';" for k, v in settings.items()]
        statements.append(f"ALTER ROLE CURRENT_USER PASSWORD '{password}';")
        # Each by itself: ALTER SYSTEM cannot run in a transaction.
        stage.query(self.url, "\n".join(statements))
        user = stage.query(self.url, "SELECT current_user;")
        self.cluster.restart()
        self.url = self.cluster.url
        self.server_url = f"postgresql://{user}:{password}@127.0.0.1:{port}/penstock"
        return port

    def distinct(self) -> list[Chunk]:
        """Each chunk once: all there is to warm up with."""
        return list({id(chunk): chunk for chunk in self.chunks}.values())

    def server(self, way: Way) -> PenstockServer:
        """The Penstock for this way, started when it is first asked for."""
        arguments = self._arguments(way)
        if arguments not in self._servers:
            server = PenstockServer(self.server_url, self._place.directory, arguments)
            self._servers[arguments] = self._place.stack.enter_context(server)
        return self._servers[arguments]

    def target(self, way: Way) -> load.Target:
        """Where and how the sender connects."""
        port = self.server(way).port
        if way.tls == "off":
            return load.Target("127.0.0.1", port, way.connections, way.window)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=self._certificates()[0])
        context.minimum_version = context.maximum_version = TLS_VERSIONS[way.tls]
        return load.Target("localhost", port, way.connections, way.window, context)

    def run(self, way: Way, chunks: list[Chunk] | None = None) -> Run:
        """Send all chunks, or those given, into empty tables.

        Raises:
            LoadError: the server did not take them.
            StageError: not all rows are there.
        """
        stage.reset(self.url)
        sent, figures = self.send(way, chunks)
        if not way.form.acks:
            self._settle(sent.events)
        stored = stage.fingerprint(self.url, sent.events)
        return Run(figures, stored, sent.ack_seconds if way.form.acks else [])

    def send(
        self, way: Way, chunks: list[Chunk] | None = None
    ) -> tuple[LoadResult, Figures]:
        """Send all chunks, or those given, beside what is stored already.

        Raises:
            LoadError: the server did not take them.
        """
        self._runs += 1
        run = f"{self.now_ns}/{self._runs}"
        made = frames(chunks or self.chunks, run, way.form, way.connections)
        server, target = self.server(way), self.target(way)
        server_cpu, postgres_cpu = server.cpu_seconds(), self.postgres_cpu_seconds()
        try:
            sent = load.send(target, made)
        except LoadError as error:
            raise LoadError(f"{error}\n{server.log_tail()}") from error
        server_cpu = server.cpu_seconds() - server_cpu
        postgres_cpu = self.postgres_cpu_seconds() - postgres_cpu
        has_acks = way.form.acks
        return sent, _figures(sent, server_cpu, postgres_cpu, has_acks=has_acks)

    def run_limit(self) -> LimitRun:
        """Load the same rows by COPY over two connections into empty tables."""
        if not self._files:
            directory = limit.files_dir(self._place.directory, self.chunks)
            self._files = limit.prepare(
                self.chunks, self._place.stack.enter_context(directory)
            )
        stage.reset(self.url)
        cpu_seconds = self.postgres_cpu_seconds()
        seconds = limit.load(self.url, self._files)
        cpu_seconds = self.postgres_cpu_seconds() - cpu_seconds
        stored = stage.fingerprint(self.url, self.events)
        return LimitRun(self.events / seconds, cpu_seconds / self.events * 1e6, stored)

    def postgres_cpu_seconds(self) -> float:
        """User and system time of all of PostgreSQL's processes so far."""
        return process.cpu_seconds(self.cluster.server_pid)

    def peak_rss_mib(self) -> float:
        """The most memory that any of the servers ever held."""
        return max(server.peak_rss_mib() for server in self._servers.values())

    def _settle(self, events: int) -> None:
        # The last frame of each connection was acked; what another writer took before
        # it may still be in its transaction.
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            if int(stage.query(self.url, "SELECT count(*) FROM logs;")) >= events:
                return
            time.sleep(0.1)

    def _arguments(self, way: Way) -> tuple[str, ...]:
        arguments = way.server_options
        if way.workers is not None:
            arguments += (f"--workers={way.workers}",)
        if way.tls != "off":
            _, certificate, key = self._certificates()
            arguments += ("--tls=on", f"--tls-certificate-file={certificate}")
            arguments += (f"--tls-key-file={key}",)
        return arguments

    def _certificates(self) -> tuple[str, Path, Path]:
        if self._authority is None:
            # Here, so that runs without TLS do without the package that makes these.
            from tests.authority import Authority

            authority = Authority()
            issued = authority.issue("server", dns=["localhost"])
            files = issued.write(self._place.directory, "server")
            self._authority = (authority.certificate.decode(), *files)
        return self._authority


def _figures(
    sent: LoadResult, server_cpu: float, postgres_cpu: float, *, has_acks: bool
) -> Figures:
    millions = sent.events / 1e6

    def ack_ms(share: float) -> float | None:
        return load.percentile(sent.ack_seconds, share) * 1e3 if has_acks else None

    return Figures(
        events_per_second=sent.events / sent.seconds,
        mib_per_second=sent.bytes / sent.seconds / 2**20,
        cpu_seconds_per_million=server_cpu / millions,
        postgres_cpu_seconds_per_million=postgres_cpu / millions,
        sender_cpu_seconds_per_million=sent.cpu_seconds / millions,
        ack_p50_ms=ack_ms(0.5),
        ack_p99_ms=ack_ms(0.99),
    )


def check_same(one: str, other: str, names: str) -> None:
    """Compare what two runs stored.

    Raises:
        StageError: it is not the same.
    """
    if one != other:
        raise StageError(f"not the same rows, {names}: {one} and {other}")


def medians(runs: list[Figures]) -> dict[str, float | None]:
    """Each figure's median over several runs."""
    each = [asdict(run) for run in runs]
    return {
        name: None if each[0][name] is None else median(one[name] for one in each)
        for name in each[0]
    }
