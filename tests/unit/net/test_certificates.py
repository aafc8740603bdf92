"""Files to a TLS context, and names in clients' certificates: each case by its words.

Handshakes are real, between two ends in memory.
"""

import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from penstock.errors import SettingsError
from penstock.net.certificates import (
    MAX_NAME_CHARS,
    Client,
    TlsTerms,
    load_terms,
    matches,
)
from penstock.settings import TlsSettings
from tests.authority import Authority, Issued, dns_names_der, key_pem
from tests.tls_client import client_context


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def own(authority: Authority, tmp_path: Path) -> dict[str, Any]:
    return files(authority.issue("server", dns=["localhost"]), tmp_path)


def files(issued: Issued, directory: Path) -> dict[str, Any]:
    certificate, key = issued.write(directory, "own")
    return {"tls_certificate_file": str(certificate), "tls_key_file": str(key)}


def refused(**settings: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        load_terms(TlsSettings(**settings))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- files


def test_a_certificate_and_its_key_make_a_context(own: dict[str, Any]) -> None:
    terms = load_terms(TlsSettings(**own))
    assert terms.context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert terms.context.verify_mode == ssl.CERT_NONE
    assert terms.context.num_tickets == 0


def test_a_key_may_stand_in_the_certificates_file(own: dict[str, Any]) -> None:
    file = Path(own["tls_certificate_file"])
    file.write_bytes(Path(own["tls_key_file"]).read_bytes() + file.read_bytes())
    load_terms(TlsSettings(tls_certificate_file=str(file)))


def test_only_ciphers_with_forward_secrecy_and_authentication_are_spoken(
    own: dict[str, Any],
) -> None:
    names = [
        each["name"] for each in load_terms(TlsSettings(**own)).context.get_ciphers()
    ]
    assert "ECDHE-RSA-AES128-GCM-SHA256" in names  # what every client has
    for name in names:
        assert name.startswith(("TLS_", "ECDHE-"))
        assert "GCM" in name or "POLY1305" in name


def test_no_certificate_is_said(own: dict[str, Any]) -> None:
    assert refused() == "tls_certificate_file is not set: TLS needs a certificate"


@pytest.mark.parametrize(
    "setting", ["tls_certificate_file", "tls_key_file", "tls_client_ca_file"]
)
def test_a_file_that_cannot_be_read_is_named_with_its_setting(
    own: dict[str, Any], tmp_path: Path, setting: str
) -> None:
    missing = tmp_path / "missing.pem"
    said = refused(**own | {setting: str(missing)})
    assert said == f"{setting}: {missing} cannot be read: no such file or directory"
    said = refused(**own | {setting: str(tmp_path)})
    assert said == f"{setting}: {tmp_path} cannot be read: is a directory"
    said = refused(**own | {setting: "a\0b"})
    assert said.startswith(f"{setting}: a\0b cannot be read: ")


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("tls_certificate_file", "certificate"),
        ("tls_key_file", "private key"),
        ("tls_client_ca_file", "certificate"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe no PEM", b"-----BEGIN"])
def test_a_file_without_pem_is_named_with_its_setting(
    own: dict[str, Any], tmp_path: Path, setting: str, what: str, content: bytes
) -> None:
    file = tmp_path / "other.pem"
    file.write_bytes(content)
    assert refused(**own | {setting: str(file)}) == (
        f"{setting}: {file} holds no {what} as PEM"
    )


def test_a_ca_file_with_a_key_only_holds_no_certificate(own: dict[str, Any]) -> None:
    key = own["tls_key_file"]
    said = refused(**own, tls_client_ca_file=key)
    assert said == f"tls_client_ca_file: {key} holds no certificate as PEM"


@pytest.mark.parametrize("setting", ["tls_certificate_file", "tls_client_ca_file"])
@pytest.mark.parametrize("damage", ["MIA", "M!I", "M\u00e9I", ""])
def test_a_damaged_certificate_is_named_with_its_setting_in_words(
    own: dict[str, Any], tmp_path: Path, setting: str, damage: str
) -> None:
    file = tmp_path / "damaged.pem"
    good = Path(own["tls_certificate_file"]).read_text()
    file.write_text(good + good.replace("MII", damage, 1))
    said = refused(**own | {setting: str(file)})
    assert said == (
        f"{setting}: certificate 2 of 2 in {file} is damaged: between BEGIN and END"
        " there is none"
    )


def test_all_that_is_wrong_with_the_files_is_told_at_once(
    own: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_terms(
            TlsSettings(
                tls_certificate_file=own["tls_key_file"],
                tls_key_file=str(tmp_path / "missing.pem"),
                tls_client_ca_file=own["tls_key_file"],
            )
        )
    named = [each.partition(":")[0] for each in caught.value.problems]
    assert named == ["tls_certificate_file", "tls_key_file", "tls_client_ca_file"]


@pytest.mark.parametrize(
    "settings",
    [
        {"tls_key_file": "own.key"},
        {"tls_client_ca_file": __file__},
        {"tls_client_names": ("web",)},
    ],
)
def test_what_needs_a_certificate_is_named(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_terms(TlsSettings(**settings))
    (name,) = settings
    assert caught.value.problems[0] == f"{name}: tls_certificate_file is missing"


def test_an_encrypted_key_is_no_prompt_but_an_error(own: dict[str, Any]) -> None:
    key = Path(own["tls_key_file"])
    key.write_bytes(key_pem(ec.generate_private_key(ec.SECP256R1()), b"secret"))
    said = refused(**own)
    assert said.startswith(f"tls_key_file: the key in {key} is encrypted;")


def test_a_key_of_another_certificate_is_named(own: dict[str, Any]) -> None:
    key = Path(own["tls_key_file"])
    key.write_bytes(key_pem(ec.generate_private_key(ec.SECP256R1())))
    said = refused(**own)
    assert said == (
        f"tls_key_file: the key in {key} is not that of {own['tls_certificate_file']}"
    )


def test_a_damaged_key_is_named(own: dict[str, Any]) -> None:
    key = Path(own["tls_key_file"])
    key.write_text(key.read_text().replace("MI", "M!", 1))
    assert refused(**own).startswith(f"tls_key_file: {key} with ")


@pytest.mark.parametrize(
    ("days", "error"),
    [((-30, -1), "certificate has expired"), ((1, 30), "certificate is not yet valid")],
)
def test_a_certificate_out_of_its_time_is_a_warning(
    authority: Authority, tmp_path: Path, days: tuple[int, int], error: str
) -> None:
    own = files(authority.issue("server", days=days), tmp_path)
    (warning,) = load_terms(TlsSettings(**own)).warnings
    assert warning == (
        f"tls_certificate_file: clients will not take {own['tls_certificate_file']}:"
        f" {error}"
    )


def test_a_good_certificate_is_no_warning(own: dict[str, Any]) -> None:
    assert load_terms(TlsSettings(**own)).warnings == ()


def test_names_without_a_ca_are_refused(own: dict[str, Any]) -> None:
    said = refused(**own, tls_client_names=("web",))
    assert said.startswith("tls_client_names is set without tls_client_ca_file")


def test_a_ca_makes_clients_show_a_certificate(
    own: dict[str, Any], authority: Authority, tmp_path: Path
) -> None:
    ca = authority.write(tmp_path)
    ca.write_bytes(b"# caf\xe9, in latin-1\n" + ca.read_bytes())
    context = load_terms(TlsSettings(**own, tls_client_ca_file=str(ca))).context
    assert context.verify_mode == ssl.CERT_REQUIRED


# --- names


class Names:
    """Shakes hands with clients whose certificates a test issues."""

    def __init__(self, authority: Authority, directory: Path) -> None:
        self.authority, self._directory = authority, directory
        self._settings = files(authority.issue("server", dns=["localhost"]), directory)
        self._settings["tls_client_ca_file"] = str(authority.write(directory))

    def client(self, issued: Issued | None, *allowed: str) -> Client:
        if issued is None:
            del self._settings["tls_client_ca_file"]
        terms = load_terms(TlsSettings(**self._settings))
        terms = TlsTerms(terms.context, allowed)
        context = client_context(self.authority)
        if issued is not None:
            context.load_cert_chain(*issued.write(self._directory, "client"))
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (
            context.wrap_bio(to_client, to_server, server_hostname="localhost"),
            terms.context.wrap_bio(to_server, to_client, server_side=True),
        )
        for _ in range(3):
            for end in ends:
                try:
                    end.do_handshake()
                except ssl.SSLWantReadError:
                    pass
        return terms.client(ends[1])

    def issue(self, *names: str, **more: Any) -> Issued:
        return self.authority.issue(*names, for_clients=True, **more)


@pytest.fixture
def names(authority: Authority, tmp_path: Path) -> Names:
    return Names(authority, tmp_path)


def test_without_a_certificate_there_is_no_name(names: Names) -> None:
    assert names.client(None) == Client("", True)


def test_the_common_name_is_the_name_if_none_is_asked_for(names: Names) -> None:
    issued = names.issue("web-1", "second", dns=["web-1.example.org"])
    assert names.client(issued) == Client("web-1", True)


def test_the_first_dns_name_is_the_name_without_a_common_one(names: Names) -> None:
    issued = names.issue(dns=["a.example.org", "b.example.org"])
    assert names.client(issued) == Client("a.example.org", True)


@pytest.mark.parametrize(
    ("allowed", "name"),
    [
        ("first", "first"),
        ("SECOND", "second"),
        ("a.example.org", "a.example.org"),
        ("*.Example.org", "a.example.org"),
    ],
)
def test_the_name_that_is_allowed_is_the_name(
    names: Names, allowed: str, name: str
) -> None:
    issued = names.issue("first", "second", dns=["a.example.org"])
    assert names.client(issued, "other", allowed) == Client(name, True)


def test_other_names_are_not_allowed(names: Names) -> None:
    issued = names.issue("web-1", dns=["a.b.example.org", "example.org"])
    allowed = ("web", "*.example.org", "web-1.example.org")
    assert names.client(issued, *allowed) == Client("web-1", False)


@pytest.mark.parametrize(
    "der",
    [
        dns_names_der(b"good.example.org\0.evil.example"),
        dns_names_der(b"good.example.org\0"),
        dns_names_der(b"\xff\xfe\xfd"),
        dns_names_der(b"a" * 60_000),
        dns_names_der(b"line\nbreak"),
        dns_names_der(b""),
    ],
    ids=["nul", "nul at the end", "no UTF-8", "huge", "line", "empty"],
)
def test_a_name_that_is_none_is_not_taken_for_one(names: Names, der: bytes) -> None:
    issued = names.issue(alternative_names=der)
    allowed = names.client(issued, "good.example.org", "*.example.org", "*.example")
    assert not allowed.is_allowed
    client = names.client(issued)
    assert client.is_allowed
    assert client.name.startswith("sha256:")
    assert len(client.name) == 7 + 64


def test_names_that_are_none_do_not_hide_those_that_are(names: Names) -> None:
    der = dns_names_der(b"evil\0", b"a" * 1000, b"good.example.org")
    issued = names.issue("a\0b", alternative_names=der)
    assert names.client(issued).name == "good.example.org"


def test_two_certificates_without_names_have_different_ones(names: Names) -> None:
    first, second = (names.client(names.issue()).name for _ in range(2))
    assert first != second


def test_no_name_poses_as_a_fingerprint(names: Names) -> None:
    fingerprint = names.client(names.issue()).name
    assert names.client(names.issue(dns=[fingerprint])).name != fingerprint


def test_no_name_is_longer_than_dns_has_them(names: Names) -> None:
    assert len(names.client(names.issue(dns=["a" * MAX_NAME_CHARS])).name) == 253
    assert names.client(names.issue(dns=["a" * 254])).name.startswith("sha256:")


@pytest.mark.parametrize(
    ("name", "pattern", "is_meant"),
    [
        ("web", "web", True),
        ("Web", "wEB", True),
        ("web", "webs", False),
        ("a.example.org", "*.example.org", True),
        ("a.EXAMPLE.org", "*.example.ORG", True),
        ("*.example.org", "*.example.org", True),
        ("a.b.example.org", "*.example.org", False),
        (".example.org", "*.example.org", False),
        ("example.org", "*.example.org", False),
        ("a.example.org.evil", "*.example.org", False),
        ("axexample.org", "*.example.org", False),
        ("*", "web", False),
        ("web", "*", False),
        ("wor\u212a", "work", False),  # the Kelvin sign
        ("stra\u00dfe", "strasse", False),
        ("", "", True),
    ],
)
def test_a_pattern_means_a_name_or_one_label(
    name: str, pattern: str, is_meant: bool
) -> None:
    assert matches(name, pattern) == is_meant
