"""For the tests of TLS: both event loops, both versions, a CA, a server's files."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.settings import TlsSettings
from tests.authority import Authority
from tests.tls_client import V1_2, V1_3, client_context
from tests.tls_parts import LOOPS


@pytest.fixture(params=LOOPS)
def runner(request: pytest.FixtureRequest) -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
        yield runner


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def settings(authority: Authority, tmp_path: Path) -> TlsSettings:
    certificate, key = authority.issue("server", dns=["localhost"]).write(
        tmp_path, "server"
    )
    return TlsSettings(tls_certificate_file=str(certificate), tls_key_file=str(key))


@pytest.fixture(params=[V1_2, V1_3], ids=["1.2", "1.3"])
def context(request: pytest.FixtureRequest, authority: Authority) -> ssl.SSLContext:
    return client_context(authority, request.param)
