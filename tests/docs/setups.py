"""The complete configurations of docs/security.md, ready to be run on this machine.

A section's fenced blocks are its setup: `toml` is Penstock's, `yaml` Fluent Bit's,
`text` Fluentd's, `json` Docker's. They stay as the page has them: only host names,
networks, paths, ports and secrets are replaced, and the files that they name are made.
"""

import re
import secrets
import ssl
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.authority import Authority
from tests.docs.doc_blocks import parse_blocks
from tests.ports import free_ports

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"
HEADING = re.compile(r"^## +(.+?) *$")

SERVER_NAME = "localhost"
CLIENT_NAME = "web-1.clients.example.org"


@dataclass(frozen=True, slots=True)
class Setup:
    """The configurations of one section, in their order on the page."""

    section: str
    penstock: tuple[str, ...]
    fluent_bit: tuple[str, ...]
    fluentd: tuple[str, ...]
    docker: tuple[str, ...]


def read_setups(page: Path = PAGE) -> dict[str, Setup]:
    """Return the setup of each section that has a configuration of Penstock's."""
    markdown = page.read_text()
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for block in parse_blocks(markdown):
        section = _section_of(markdown, block.line)
        found[section][block.tag].append(block.text + "\n")
    return {
        section: Setup(
            section,
            *(tuple(blocks[tag]) for tag in ("toml", "yaml", "text", "json")),
        )
        for section, blocks in found.items()
        if "toml" in blocks
    }


def _section_of(markdown: str, line: int) -> str:
    headings = [
        heading[1]
        for text in markdown.splitlines()[:line]
        if (heading := HEADING.match(text))
    ]
    return headings[-1] if headings else ""


@dataclass(slots=True)
class Site:
    """A machine of tests in the place of the page's: its files, ports and secrets."""

    directory: Path
    ports: dict[str, int] = field(
        default_factory=lambda: dict(
            zip(("24224", "24225", "24226"), free_ports(3), strict=True)
        )
    )
    key: str = field(default_factory=lambda: secrets.token_hex(32))
    shop_key: str = field(default_factory=lambda: secrets.token_hex(32))
    password: str = field(default_factory=lambda: secrets.token_hex(8))
    server_ca: Authority = field(default_factory=Authority)
    client_ca: Authority = field(default_factory=lambda: Authority("Clients' CA"))

    def __post_init__(self) -> None:
        for name in ("etc/users", "ssl", "run"):
            (self.directory / name).mkdir(parents=True)
        self._write("etc/shared-key", f"{self.key}\n")
        self._write("etc/key-of-the-shop", f"{self.shop_key}\n")
        self._write("etc/users/shop", f"{self.password}\n")
        self._write("etc/users/office", f"{secrets.token_hex(8)}\n")
        self.issue_server()
        self._write("etc/client-ca.crt", self.client_ca.certificate.decode())
        self._write("ssl/penstock-ca.crt", self.server_ca.certificate.decode())
        self.issue("web-1", CLIENT_NAME)

    @property
    def socket_path(self) -> str:
        """Return where the Unix socket is."""
        return str(self.directory / "run" / "forward.sock")

    def issue_server(self) -> None:
        """Put a new certificate of ours, with a key of its own, in its place."""
        server = self.server_ca.issue(SERVER_NAME, dns=[SERVER_NAME])
        self._write("etc/server.crt", server.certificate.decode())
        self._write("etc/server.key", server.key.decode())

    def issue(self, file: str, name: str, ca: Authority | None = None) -> None:
        """Issue a client's certificate; the configurations name `web-1`."""
        issued = (ca or self.client_ca).issue(name, dns=[name], for_clients=True)
        self._write(f"ssl/{file}.crt", issued.certificate.decode())
        self._write(f"ssl/{file}.key", issued.key.decode())

    def placed(self, configuration: str) -> str:
        """Return a configuration of the page with what is this machine's own."""
        for theirs, ours in self._replacements():
            configuration = configuration.replace(theirs, ours)
        return configuration

    def _replacements(self) -> list[tuple[str, str]]:
        return [
            ("logs.example.org", SERVER_NAME),
            ("10.1.0.0/16", "127.0.0.0/16"),  # the senders' network
            ("10.0.0.0/8", "127.0.0.0/8"),
            ('"0.0.0.0"', '"127.0.0.1"'),
            ("/etc/penstock/", f"{self.directory}/etc/"),
            ("/etc/ssl/private/", f"{self.directory}/ssl/"),
            ("/etc/ssl/", f"{self.directory}/ssl/"),
            ("/run/penstock/", f"{self.directory}/run/"),
            ("THE-KEY-OF-THE-SHOP", self.shop_key),
            ("THE-KEY", self.key),
            ("THE-PASSWORD", self.password),
            *((theirs, str(ours)) for theirs, ours in self.ports.items()),
        ]

    def write_penstock(self, setup: Setup) -> Path:
        """Write Penstock's configuration of a setup, and return its file."""
        (configuration,) = setup.penstock
        return self._write("etc/penstock.toml", self.placed(configuration))

    def client_context(self, certificate: str = "") -> ssl.SSLContext:
        """Return what a sender of Python's speaks TLS with."""
        context = ssl.create_default_context(cadata=self.server_ca.certificate.decode())
        if certificate:
            files = (self.directory / "ssl" / certificate).with_suffix
            context.load_cert_chain(files(".crt"), files(".key"))
        return context

    def _write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o600)
        return path
