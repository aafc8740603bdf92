"""Who we are to TLS clients, and which of them we take: files to a context.

It owns what is made of the files of [tls], and the names in clients' certificates. A
reload makes new terms and replaces the old ones whole; connections keep those they
began with. It must not read or write a connection.
"""

import logging
import re
import ssl
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from penstock.errors import SettingsError
from penstock.settings import TlsSettings

logger = logging.getLogger(__name__)

# Forward secrecy and authenticated encryption: what is left of TLS 1.2 once broken and
# doubtful suites are gone (RFC 9325, 4.2). Fluentd and fluent-logger-ruby, which speak
# exactly 1.2, Fluent Bit, Go and Java all have them. TLS 1.3 has no others.
CIPHERS_TLS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"
# A DNS name is not longer; a common name not than 64 (RFC 5280, A.1).
MAX_NAME_CHARS = 253
FINGERPRINT = "sha256:"

_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_TO_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Client(NamedTuple):
    """The other end, as its certificate has it; no name if it has shown none."""

    name: str
    is_allowed: bool


@dataclass(frozen=True, slots=True)
class TlsTerms:
    """What holds for the connections that begin now."""

    context: ssl.SSLContext
    client_names: tuple[str, ...] = ()

    def client(self, tls: ssl.SSLObject) -> Client:
        """Return by which name the client goes, and whether it may send."""
        encoded = tls.getpeercert(binary_form=True)
        if encoded is None:
            return Client("", not self.client_names)
        names = _names(tls)
        for name in names:
            if any(matches(name, pattern) for pattern in self.client_names):
                return Client(name, True)
        # Nobody else has its fingerprint either.
        name = names[0] if names else FINGERPRINT + sha256(encoded).hexdigest()
        return Client(name, not self.client_names)


class TlsServer:
    """The terms that new connections are taken on; a reload replaces them."""

    def __init__(self, terms: TlsTerms) -> None:
        self.current = terms


def load_terms(settings: TlsSettings) -> TlsTerms:
    """Read the files and make terms of them.

    Raises:
        SettingsError: a file is missing, unreadable, or not what it should be; the
            message names the setting and the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = (
        ssl.TLSVersion.TLSv1_3
        if settings.tls_min_version == "1.3"
        else ssl.TLSVersion.TLSv1_2
    )
    context.set_ciphers(CIPHERS_TLS_1_2)
    # No renegotiation: a client makes us work by it. No tickets: in TLS 1.3 they stay
    # unread by a sender that only writes, whose close is then a reset, which takes what
    # it wrote with it; in 1.2 their key outlives the session's. What is left of
    # resumption is the session id of TLS 1.2, for whom it helps (Fluentd never asks).
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.options |= ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    _load_own(context, settings)
    if settings.tls_client_ca_file:
        _trust_clients(context, settings.tls_client_ca_file)
    elif settings.tls_client_names:
        raise SettingsError(
            "tls_client_names is set without tls_client_ca_file: without a CA no"
            " client's name is known"
        )
    return TlsTerms(context, settings.tls_client_names)


def matches(name: str, pattern: str) -> bool:
    """Tell whether a name is meant: as RFC 6125 has it, `*` being one whole label."""
    # By hand for ASCII: Unicode's way makes a `k` of the Kelvin sign.
    name, pattern = name.translate(_TO_LOWER), pattern.translate(_TO_LOWER)
    if not pattern.startswith("*."):
        return name == pattern
    label, dot, parent = name.partition(".")
    return bool(label and dot) and parent == pattern[2:]


def _names(tls: ssl.SSLObject) -> list[str]:
    """Return the names that a certificate vouches for, common names first."""
    try:
        certificate: dict[str, Any] = tls.getpeercert() or {}
    except (ValueError, ssl.SSLError):  # a name in no character set
        return []
    names = [
        value
        for attributes in certificate.get("subject", ())
        for key, value in attributes
        if key == "commonName"
    ]
    alternatives = certificate.get("subjectAltName", ())
    names += [value for kind, value in alternatives if kind == "DNS"]
    return [name for name in names if _is_name(name)]


def _is_name(name: str) -> bool:
    # Not mended: two mended names could be the same. And none may pose as a certificate
    # without names.
    is_short = 0 < len(name) <= MAX_NAME_CHARS
    return is_short and name.isprintable() and not name.startswith(FINGERPRINT)


def _load_own(context: ssl.SSLContext, settings: TlsSettings) -> None:
    file, setting = settings.tls_certificate_file, "tls_certificate_file"
    if not file:
        raise SettingsError(f"{setting} is not set: TLS needs a certificate")
    chain = _certificates(setting, file)
    key_setting, key_file = "tls_key_file", settings.tls_key_file
    if not key_file:
        key_setting, key_file = setting, file
    if not any(
        kind.endswith("PRIVATE KEY") for kind, _ in _blocks(key_setting, key_file)
    ):
        raise SettingsError(f"{key_setting}: {key_file} holds no private key as PEM")

    def no_password() -> str:
        raise SettingsError(
            f"{key_setting}: the key in {key_file} is encrypted; give one without a"
            " password, which only Penstock's user can read"
        )

    try:
        context.load_cert_chain(file, key_file, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            wrong = f"{key_setting}: the key in {key_file} is not that of {file}"
        else:
            wrong = f"{key_setting}: {key_file} with {file}: {_reason(error)}"
        raise SettingsError(wrong) from error
    _try(context, chain[0], f"{setting}: {file}")


def _trust_clients(context: ssl.SSLContext, file: str) -> None:
    certificates = _certificates("tls_client_ca_file", file)
    context.load_verify_locations(cadata="\n".join(certificates))
    context.verify_mode = ssl.CERT_REQUIRED


def _certificates(setting: str, file: str) -> list[str]:
    """Return the certificates in a file, each of them readable."""
    found = [text for kind, text in _blocks(setting, file) if kind == "CERTIFICATE"]
    if not found:
        raise SettingsError(f"{setting}: {file} holds no certificate as PEM")
    for text in found:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
        except ssl.SSLError as error:
            wrong = f"{setting}: a certificate in {file} is damaged: {_reason(error)}"
            raise SettingsError(wrong) from error
    return found


def _blocks(setting: str, file: str) -> list[tuple[str, str]]:
    """Return what a PEM file holds: of what kind, and the text (RFC 7468)."""
    try:
        text = Path(file).read_bytes().decode("latin-1")
    except OSError as error:
        wrong = f"{setting}: cannot read {file}: {error.strerror}"
        raise SettingsError(wrong) from error
    return [(block[1], block[0]) for block in _PEM_BLOCK.finditer(text)]


def _try(context: ssl.SSLContext, certificate: str, what: str) -> None:
    """Shake hands with ourselves, as a client that trusts just this certificate."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client_context.load_verify_locations(cadata=certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    try:
        # Two flights each way.
        for _ in range(2):
            for side in (client, server):
                with suppress(ssl.SSLWantReadError):
                    side.do_handshake()
    except ssl.SSLCertVerificationError as error:
        # A clock may be wrong, and a sender need not look: better than not to start.
        logger.warning(
            "clients will not take the server's certificate",
            extra={"setting": what, "error": error.verify_message},
        )
    except ssl.SSLError as error:
        raise SettingsError(f"{what} is of no use: {_reason(error)}") from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or type(error).__name__).lower().replace("_", " ")
