"""`penstock doctor` on secrets, certificates and the spool."""

from dataclasses import replace
from pathlib import Path

import pytest

from penstock.cli import doctor_files
from penstock.cli.findings import Finding
from penstock.settings import (
    HttpSettings,
    Listener,
    ListenSettings,
    MaintenanceSettings,
    NetworkRule,
    SecuritySettings,
    Settings,
    TlsSettings,
    User,
)
from tests.authority import Authority

LONG = "a-secret-that-is-long-enough"
SHORT = "abc"


def settings_with(
    security: SecuritySettings | None = None,
    http: HttpSettings | None = None,
    tls: TlsSettings | None = None,
    listen: ListenSettings | None = None,
) -> Settings:
    return Settings(
        database_url="",
        security=security or SecuritySettings(),
        http=http or HttpSettings(),
        tls=tls or TlsSettings(),
        listen=listen or ListenSettings(tls="on"),
    )


def all_secrets(value: str, file: str = "") -> Settings:
    return settings_with(
        SecuritySettings(
            shared_key=value,
            shared_key_file=file,
            users=(User(name="u", password=value, password_file=file),),
            networks=(
                NetworkRule(cidr="10.0.0.0/8", shared_key=value, shared_key_file=file),
            ),
        ),
        HttpSettings(
            http_token=value,
            http_token_file=file,
            metrics_token=value,
            metrics_token_file=file,
            read_token=value,
            read_token_file=file,
            ingest_token=value,
            ingest_token_file=file,
        ),
    )


NAMES = ["shared_key", "the network 10.0.0.0/8", "the user u", "http_token"]
NAMES += ["metrics_token", "read_token", "ingest_token"]


def test_secrets_that_are_long_and_closed_are_no_finding(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.touch(0o640)
    assert list(doctor_files.secrets(all_secrets(LONG, str(file)))) == []
    assert list(doctor_files.secrets(settings_with())) == []


def test_every_secret_that_is_short_is_named_and_not_shown() -> None:
    findings = list(doctor_files.secrets(all_secrets(SHORT)))
    assert [each.mark for each in findings] == ["warn"] * 7
    for name, each in zip(NAMES, findings, strict=True):
        assert name in each.what and "is short" in each.what
        assert SHORT not in each.what + each.mend
        assert "openssl rand" in each.mend


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666])
def test_every_file_that_others_can_read_or_change_is_named(
    tmp_path: Path, mode: int
) -> None:
    file = tmp_path / "secret"
    file.touch()
    file.chmod(mode)
    findings = list(doctor_files.secrets(all_secrets(LONG, str(file))))
    assert [each.mark for each in findings] == ["warn"] * 7
    for name, each in zip(NAMES, findings, strict=True):
        assert name in each.what and f"{file} has mode {mode:04o}" in each.what
        assert each.mend == f"chmod o= {file}"


def test_the_file_of_the_owners_login_is_looked_at(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.touch(0o644)
    owner = MaintenanceSettings(
        maintenance_database_url="pg://a", maintenance_database_url_file=str(file)
    )
    (found,) = doctor_files.secrets(replace(settings_with(), maintenance=owner))
    assert "maintenance_database_url" in found.what
    assert found.mend == f"chmod o= {file}"


def test_a_file_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    findings = list(doctor_files.secrets(all_secrets(LONG, str(tmp_path / "none"))))
    assert {each.mark for each in findings} == {"fail"}


def look(
    tmp_path: Path, days: tuple[int, int], for_clients: bool = False
) -> list[Finding]:
    issued = Authority().issue("x.example", days=days, for_clients=for_clients)
    certificate, key = issued.write(tmp_path, "server")
    key.chmod(0o600)
    tls = TlsSettings(tls_certificate_file=str(certificate), tls_key_file=str(key))
    return list(doctor_files.certificates(settings_with(tls=tls)))


@pytest.mark.parametrize(
    ("days", "mark", "words"),
    [
        ((-1, 90), "ok", "is good for 89 days"),
        ((-1, 29), "warn", "expires within 29 days"),
        ((-30, -1), "fail", "has expired"),
        ((1, 90), "fail", "is not valid yet"),
    ],
)
def test_a_certificate_is_good_for_so_long(
    tmp_path: Path, days: tuple[int, int], mark: str, words: str
) -> None:
    (found,) = look(tmp_path, days)
    assert found.mark == mark
    assert words in found.what
    assert str(tmp_path / "server.pem") in found.what


def test_a_certificate_for_clients_is_taken_by_none(tmp_path: Path) -> None:
    (found,) = look(tmp_path, (-1, 90), for_clients=True)
    assert found.mark == "fail"
    assert "clients will not take" in found.what


def test_the_private_key_is_for_the_owner(tmp_path: Path) -> None:
    certificate, key = Authority().issue("x", days=(-1, 90)).write(tmp_path, "server")
    key.chmod(0o644)
    tls = TlsSettings(tls_certificate_file=str(certificate), tls_key_file=str(key))
    found, _ = doctor_files.certificates(settings_with(tls=tls))
    assert found.mark == "warn"
    assert found.mend == f"chmod o= {key}"
    # In one file with the certificate it is the same.
    certificate.write_bytes(certificate.read_bytes() + key.read_bytes())
    certificate.chmod(0o644)
    tls = replace(tls, tls_key_file="")
    found, _ = doctor_files.certificates(settings_with(tls=tls))
    assert found.mend == f"chmod o= {certificate}"


def test_clients_cas_are_looked_at_too(tmp_path: Path) -> None:
    certificate, key = Authority().issue("x", days=(-1, 90)).write(tmp_path, "server")
    key.chmod(0o600)
    ca = tmp_path / "ca.pem"
    ca.write_bytes(Authority("Fleet CA").certificate)
    tls = TlsSettings(
        tls_certificate_file=str(certificate),
        tls_key_file=str(key),
        tls_client_ca_file=str(ca),
    )
    _, found = doctor_files.certificates(settings_with(tls=tls))
    assert "the client CA Fleet CA" in found.what


def test_tls_without_its_files_is_a_failure_where_it_is_spoken() -> None:
    main, other = ListenSettings(tls="on"), Listener(host="10.0.0.1", tls="on")
    for listen in (main, ListenSettings(listeners=(other,))):
        (found,) = doctor_files.certificates(settings_with(listen=listen))
        assert found.mark == "fail"
        assert "tls_certificate_file" in found.what
    silent = settings_with(listen=ListenSettings())
    assert list(doctor_files.certificates(silent)) == []


def test_the_spool_is_for_its_owner_only(tmp_path: Path) -> None:
    mine, open_one = tmp_path / "mine", tmp_path / "open"
    mine.mkdir(0o700)
    open_one.mkdir(0o755)
    (found,) = doctor_files.spool([mine, open_one, tmp_path / "none"])
    assert found.mark == "warn"
    assert found.mend == f"chmod go= {open_one}"
