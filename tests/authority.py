"""A certificate authority for tests, and whatever certificates they ask it for."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

DAY = datetime.timedelta(days=1)
PEM = serialization.Encoding.PEM
# Who verifies strictly, as Python 3.13 does, wants this of a CA, and key identifiers
# (RFC 5280, 4.2.1.1 to 4.2.1.3).
SIGNS = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key, as PEM."""

    certificate: bytes
    key: bytes

    def write(self, directory: Path, name: str) -> tuple[Path, Path]:
        """Write both to files, and return those."""
        files = directory / f"{name}.pem", directory / f"{name}.key"
        files[0].write_bytes(self.certificate)
        files[1].write_bytes(self.key)
        return files


class Authority:
    """A CA. Its keys are on P-256: made in no time."""

    def __init__(self, name: str = "Test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        built = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
            .add_extension(SIGNS, True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = built.public_bytes(PEM)

    def issue(
        self,
        *names: str,
        dns: Sequence[str] = (),
        alternative_names: bytes = b"",
        days: tuple[int, int] = (-1, 30),
        for_clients: bool = False,
    ) -> Issued:
        """Issue a certificate with these common names.

        Args:
            alternative_names: a subjectAltName in DER, which no library would make.
            days: from when to when it is valid, counted from today.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.COMMON_NAME, each, _validate=False)
                for each in names
            ]
        )
        usage = (
            ExtendedKeyUsageOID.CLIENT_AUTH
            if for_clients
            else ExtendedKeyUsageOID.SERVER_AUTH
        )
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(
            self._key.public_key()
        )
        builder = (
            _builder(subject, self._name, key, days)
            .add_extension(authority, False)
            .add_extension(x509.ExtendedKeyUsage([usage]), False)
        )
        if dns:
            alternatives = x509.SubjectAlternativeName([x509.DNSName(n) for n in dns])
            builder = builder.add_extension(alternatives, False)
        if alternative_names:
            raw = x509.UnrecognizedExtension(
                ExtensionOID.SUBJECT_ALTERNATIVE_NAME, alternative_names
            )
            builder = builder.add_extension(raw, False)
        return Issued(
            builder.sign(self._key, hashes.SHA256()).public_bytes(PEM),
            key_pem(key),
        )

    def write(self, directory: Path, name: str = "ca") -> Path:
        """Write the CA's certificate to a file, and return that."""
        file = directory / f"{name}.pem"
        file.write_bytes(self.certificate)
        return file


def key_pem(key: ec.EllipticCurvePrivateKey, password: bytes = b"") -> bytes:
    """Return a key as PEM, encrypted if there is a password."""
    return key.private_bytes(
        PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption(),
    )


def dns_names_der(*names: bytes) -> bytes:
    """Return a subjectAltName of any bytes (RFC 5280, 4.2.1.6)."""
    content = b"".join(b"\x82" + _length(name) + name for name in names)
    return b"\x30" + _length(content) + content


def _length(content: bytes) -> bytes:
    if len(content) < 0x80:
        return bytes([len(content)])
    return b"\x82" + len(content).to_bytes(2, "big")


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    days: tuple[int, int] = (-1, 30),
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + days[0] * DAY)
        .not_valid_after(now + days[1] * DAY)
        .add_extension(identifier, False)
    )
