"""Secrets come from Secrets Manager by the AWS CLI, and lie in one place only."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.instance_machine import Machine
from tests.deploy.tools import passes, tool
from tests.s3_server import S3Server, client_of, environment_of

SECRET = {
    "postgres_password": "aPostgresPassword",
    "owner_password": "anOwnerPassword",
    "writer_password": "aWriterPassword",
    "reader_password": "aReaderPassword",
    "shared_key": "aSharedKey",
    "http_token": "aHttpToken",
    "metrics_token": "aMetricsToken",
    "grafana_password": "aGrafanaPassword",
    "anthropic_api_key": "",
}


@pytest.fixture(scope="module")
def aws() -> Iterator[S3Server]:
    server = S3Server()
    yield server
    server.close()


@pytest.fixture
def machine(tmp_path) -> Machine:
    """A machine whose secret is a file of the stand-in's."""
    return Machine(tmp_path)


@pytest.fixture
def real(tmp_path, aws: S3Server) -> Machine:
    """A machine whose secret is moto's, fetched by the real AWS CLI."""
    made = Machine(tmp_path, SECRET_ID=f"secret-{tmp_path.name}")
    made.use_real("aws")
    (tmp_path / "bin" / "aws").symlink_to(tool("aws"))
    made.environment = environment_of(aws.address) | {"AWS_ENDPOINT_URL": aws.address}
    return made


def _put(machine: Machine, secret: dict[str, str]) -> None:
    machine.write_stub("secret", json.dumps(secret))


def _files(machine: Machine) -> dict[str, str]:
    return {p.name: p.read_text() for p in (machine.root / "run/secrets").iterdir()}


def test_each_key_of_the_secret_is_a_file_and_its_value_nowhere_else(real, aws):
    client_of(aws.address, "secretsmanager").create_secret(
        Name=real.instance["SECRET_ID"], SecretString=json.dumps(SECRET)
    )
    # Whether a value is an argument: these are started when the secret is there.
    for name in ("python3", "openssl"):
        wrapper = real.root / "bin" / name
        wrapper.write_text(
            f'#!/bin/sh\necho "{name} $*" >>"$STUB/calls"; exec {tool(name)} "$@"\n'
        )
        wrapper.chmod(0o755)
    ran = real.sh("main secrets; main environment")
    assert ran.code == 0, ran.output
    assert _files(real) == SECRET
    assert real.calls("python3") and real.calls("openssl")
    secrets = real.root / "run" / "secrets"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o750
    for path in secrets.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o440
    rest = [p for p in real.root.rglob("*") if p.is_file() and secrets not in p.parents]
    places = [ran.output, *(p.read_text(errors="replace") for p in rest)]
    for value in filter(None, SECRET.values()):
        assert not any(value in place for place in places)


def test_a_missing_key_is_named_and_nothing_is_replaced(machine):
    _put(machine, SECRET)
    machine.sh("main secrets")
    _put(machine, {**SECRET, "shared_key": "", "http_token": "another"})
    ran = machine.sh("main secrets")
    assert ran.code == 1
    assert "the secret has no shared_key" in ran.output
    assert _files(machine) == SECRET


def test_a_key_that_is_gone_is_gone_here_too(machine):
    _put(machine, {**SECRET, "old_key": "x"})
    machine.sh("main secrets")
    _put(machine, SECRET)
    machine.sh("main secrets")
    assert _files(machine) == SECRET


def test_the_token_for_metrics_is_the_machines_own_and_stays(machine):
    _put(machine, {key: SECRET[key] for key in SECRET if key != "metrics_token"})
    machine.sh("main secrets")
    made = _files(machine)["metrics_token"]
    assert len(made) >= 32 and made not in SECRET.values()
    assert machine.sh("main secrets").code == 0
    assert _files(machine) == {**SECRET, "metrics_token": made}
    _put(machine, SECRET)
    machine.sh("main secrets")
    assert _files(machine) == SECRET, "one that the secret has goes before it"


def test_a_secret_that_cannot_be_had_is_tried_again_then_one_line(real):
    ran = real.sh("main secrets")
    assert ran.code == 1
    lines = ran.output.splitlines()
    assert sum("ResourceNotFoundException" in each for each in lines) == 2
    assert lines[-1].endswith("so nothing is started that needs it")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("no json", "the secret is not JSON"),
        ("[]", "the secret is not a JSON object"),
        ('{"../../etc/passwd": "x"}', "a key that is no name"),
        ('{"shared_key": 1}', "the secret's shared_key is not a string"),
        ('{"shared_key": "a\\ud800"}', "the secret's shared_key is not Unicode"),
        ('{"%s": "x"}' % ("a" * 300), "a key that is no name"),
        ("[" * 100_000, "the secret is not JSON"),
    ],
)
def test_a_secret_of_another_form_is_refused_without_its_value(machine, text, said):
    machine.write_stub("secret", text)
    ran = machine.sh("secret_attempts=1; main secrets")
    assert ran.code == 1
    assert said in ran.output
    assert list((machine.root / "run" / "secrets").iterdir()) == []


# ---- TLS


def test_a_certificate_is_made_once_for_the_names_of_the_machine(machine):
    _put(machine, SECRET)
    machine.sh("main secrets")
    tls = machine.root / "data" / "tls"
    first = (tls / "server.crt").read_text()
    said = passes("openssl", "x509", "-in", tls / "server.crt", "-noout", "-text")
    assert "DNS:localhost" in said and "IP Address:127.0.0.1" in said
    assert "CN = penstock-test" in said
    for name in ("server.crt", "server.key"):
        assert stat.S_IMODE((tls / name).stat().st_mode) == 0o440
    machine.sh("main secrets")
    assert (tls / "server.crt").read_text() == first
    assert sorted(p.name for p in tls.iterdir()) == ["server.crt", "server.key"]


def _pair(directory: Path, name: str) -> dict[str, str]:
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    files = ["-keyout", str(key), "-out", str(certificate)]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    passes("openssl", "req", "-x509", *kind, "-subj", f"/CN={name}", *files)
    return {
        "tls_certificate": certificate.read_text(),
        "tls_private_key": key.read_text(),
    }


def test_the_secrets_own_certificate_goes_before_one_made_here(machine, tmp_path):
    pair = _pair(tmp_path, "logs.example.com")
    _put(machine, SECRET | pair)
    assert machine.sh("main secrets").code == 0
    tls = machine.root / "data" / "tls"
    assert (tls / "server.crt").read_text() == pair["tls_certificate"]
    assert (tls / "server.key").read_text() == pair["tls_private_key"]


def test_a_key_of_another_certificate_does_not_replace_what_works(machine, tmp_path):
    good, other = _pair(tmp_path, "good"), _pair(tmp_path, "other")
    _put(machine, SECRET | good)
    machine.sh("main secrets")
    mixed = {**good, "tls_private_key": other["tls_private_key"]}
    _put(machine, SECRET | mixed)
    ran = machine.sh("main secrets")
    assert "do not belong together: the certificate of before stays" in ran.output
    tls = machine.root / "data" / "tls"
    assert (tls / "server.key").read_text() == good["tls_private_key"]
