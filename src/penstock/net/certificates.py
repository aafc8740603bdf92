"""Who we are to TLS clients, and which of them we take: files to a context.

It owns what is made of the files of [tls], and the names in clients' certificates. A
reload makes new terms and replaces the old ones whole; connections keep those they
began with. It must not read or write a connection.
"""

import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple, TypeVar

from penstock.errors import SettingsError
from penstock.reading import read_file
from penstock.settings import TlsSettings

Result = TypeVar("Result")

# Forward secrecy and authenticated encryption: what is left of TLS 1.2 once broken and
# doubtful suites are gone (RFC 9325, 4.2). Fluentd and fluent-logger-ruby, which speak
# exactly 1.2, Fluent Bit, Go and Java all have them. TLS 1.3 has no others.
CIPHERS_TLS_1_2 = "ECDHE+AESGCM:ECDHE+CHACHA20"
# A DNS name is not longer; a common name not than 64 (RFC 5280, A.1).
MAX_NAME_CHARS = 253
FINGERPRINT = "sha256:"
# X509_V_FLAG_NO_CHECK_TIME, of OpenSSL's x509_vfy.h, which ssl has no name for.
WHATEVER_THE_TIME = 0x200000

_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_TO_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class Client(NamedTuple):
    """The other end, as its certificate has it; no name if it has shown none."""

    name: str
    is_allowed: bool


class PemFile(NamedTuple):
    """A file, and the setting that names it."""

    setting: str
    file: str

    def certificates(self) -> list[str]:
        """Return the certificates in it, each of them readable.

        Raises:
            SettingsError: there is none, or a damaged one.
        """
        found = [text for kind, text in self.blocks() if kind == "CERTIFICATE"]
        if not found:
            raise SettingsError(
                f"{self.setting}: {self.file} holds no certificate as PEM"
            )
        for number, text in enumerate(found, start=1):
            try:
                scratch = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                scratch.load_verify_locations(cadata=text)
            except (ssl.SSLError, TypeError) as error:  # the latter: no ASCII
                raise SettingsError(
                    f"{self.setting}: certificate {number} of {len(found)} in"
                    f" {self.file} is damaged: between BEGIN and END there is none"
                ) from error
        return found

    def keys(self) -> list[str]:
        """Return the private keys in it, which nobody has tried yet.

        Raises:
            SettingsError: there is none.
        """
        found = [text for kind, text in self.blocks() if kind.endswith("PRIVATE KEY")]
        if not found:
            raise SettingsError(
                f"{self.setting}: {self.file} holds no private key as PEM"
            )
        return found

    def blocks(self) -> list[tuple[str, str]]:
        """Return what it holds: of what kind, and the text (RFC 7468).

        Raises:
            SettingsError: it cannot be read.
        """
        try:
            text = read_file(self.file).decode("latin-1")
        except (OSError, ValueError) as error:  # the latter: no name can be like that
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise SettingsError(
                f"{self.setting}: {self.file} cannot be read: {reason}"
            ) from error
        return [(block[1], block[0]) for block in _PEM_BLOCK.finditer(text)]


@dataclass(frozen=True, slots=True)
class TlsTerms:
    """What holds for the connections that begin now.

    `warnings` are for the operator, a line each: what clients will not like.
    """

    context: ssl.SSLContext
    client_names: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

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
        SettingsError: files are missing, unreadable, or not what they should be; it has
            a line for each problem, which begins with the name of the setting.
    """
    context = _server_context(settings.tls_min_version)
    warnings, _ = _all_of(
        lambda: _show_certificate(context, settings),
        lambda: _ask_clients(context, settings),
    )
    return TlsTerms(context, settings.tls_client_names, tuple(warnings))


def certificate_shown(settings: TlsSettings) -> dict[str, Any]:
    """Return what a client sees of our certificate, whatever the time.

    Raises:
        SettingsError: as from `load_terms`; or no client would take it.
    """
    context = _server_context(settings.tls_min_version)
    certificate, key = _own(settings)
    chain, _ = _all_of(certificate.certificates, key.keys)
    _load_own(context, certificate, key)
    try:
        # The `ssl` module reads only certificates that it has verified.
        return _shake_hands(context, chain[0], WHATEVER_THE_TIME)
    except ssl.SSLCertVerificationError as error:
        raise SettingsError(_not_taken(certificate, error)) from error


def sender_context(
    trusted: PemFile, certificate: PemFile, key: PemFile
) -> ssl.SSLContext:
    """Return what our own sender speaks TLS with; it checks the server's name.

    Args:
        trusted: the CAs; without a file those of the system.
        certificate: shown to a server that asks for one; without a file there is none.

    Raises:
        SettingsError: a file is not what it should be.
    """
    context = ssl.create_default_context()
    if trusted.file:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata="\n".join(trusted.certificates()))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if certificate.file:
        key = key if key.file else certificate
        _all_of(certificate.certificates, key.keys)
        _load_own(context, certificate, key)
    elif key.file:
        raise SettingsError(f"{key.setting} needs {certificate.setting}")
    return context


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


def _server_context(min_version: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = (
        ssl.TLSVersion.TLSv1_3 if min_version == "1.3" else ssl.TLSVersion.TLSv1_2
    )
    context.set_ciphers(CIPHERS_TLS_1_2)
    # No renegotiation: a client makes us work by it. No tickets: in TLS 1.3 they stay
    # unread by a sender that only writes, whose close is then a reset, which takes what
    # it wrote with it; in 1.2 their key outlives the session's. What is left of
    # resumption is the session id of TLS 1.2, for whom it helps (Fluentd never asks).
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
    context.options |= ssl.OP_NO_COMPRESSION
    context.num_tickets = 0
    return context


def _own(settings: TlsSettings) -> tuple[PemFile, PemFile]:
    """Return our certificate's file and the key's, which may be the same."""
    certificate = PemFile("tls_certificate_file", settings.tls_certificate_file)
    if settings.tls_key_file:
        return certificate, PemFile("tls_key_file", settings.tls_key_file)
    return certificate, certificate


def _show_certificate(context: ssl.SSLContext, settings: TlsSettings) -> list[str]:
    """Have a server's context show our certificate; return what to warn of."""
    certificate, key = _own(settings)
    if not certificate.file:
        for needs_it in ("tls_key_file", "tls_client_ca_file", "tls_client_names"):
            if getattr(settings, needs_it):
                raise SettingsError(f"{needs_it}: tls_certificate_file is missing")
        raise SettingsError("tls_certificate_file is not set: TLS needs a certificate")
    chain, _ = _all_of(certificate.certificates, key.keys)
    _load_own(context, certificate, key)
    try:
        _shake_hands(context, chain[0])
    except ssl.SSLCertVerificationError as error:
        # A clock may be wrong, and a sender need not look: better than not to start.
        return [_not_taken(certificate, error)]
    except ssl.SSLError as error:
        raise SettingsError(
            f"{certificate.setting}: {certificate.file} is of no use: {_reason(error)}"
        ) from error
    return []


def _ask_clients(context: ssl.SSLContext, settings: TlsSettings) -> list[str]:
    """Have a server's context ask clients for theirs, if any CA is trusted."""
    trusted = PemFile("tls_client_ca_file", settings.tls_client_ca_file)
    if trusted.file:
        context.load_verify_locations(cadata="\n".join(trusted.certificates()))
        context.verify_mode = ssl.CERT_REQUIRED
    elif settings.tls_client_names:
        raise SettingsError(
            "tls_client_names is set without tls_client_ca_file: without a CA no"
            " client's name is known"
        )
    return []


def _load_own(context: ssl.SSLContext, certificate: PemFile, key: PemFile) -> None:
    """Have a context show a certificate, whose key may stand in the same file."""

    def no_password() -> str:
        raise SettingsError(
            f"{key.setting}: the key in {key.file} is encrypted; give one without a"
            " password, which only Penstock's user can read"
        )

    try:
        context.load_cert_chain(certificate.file, key.file, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            wrong = f"the key in {key.file} is not that of {certificate.file}"
        else:
            wrong = f"{key.file} with {certificate.file}: {_reason(error)}"
        raise SettingsError(f"{key.setting}: {wrong}") from error


def _shake_hands(
    context: ssl.SSLContext, certificate: str, also: int = 0
) -> dict[str, Any]:
    """Shake hands with ourselves, as a client that trusts just this certificate.

    Return what the client sees. `also` are flags for how it verifies.
    """
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client_context.verify_flags |= ssl.VerifyFlags(also)
    client_context.load_verify_locations(cadata=certificate)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server)
    server = context.wrap_bio(to_server, to_client, server_side=True)
    # Two flights each way.
    for _ in range(2):
        for side in (client, server):
            with suppress(ssl.SSLWantReadError):
                side.do_handshake()
    return client.getpeercert() or {}


def _all_of(*asked: Callable[[], Result]) -> list[Result]:
    """Return what each of them returns.

    Raises:
        SettingsError: with the problems of all of them.
    """
    results: list[Result] = []
    problems: list[str] = []
    for each in asked:
        try:
            results.append(each())
        except SettingsError as error:
            problems += error.problems
    if problems:
        raise SettingsError(*dict.fromkeys(problems))
    return results


def _not_taken(certificate: PemFile, error: ssl.SSLCertVerificationError) -> str:
    return (
        f"{certificate.setting}: clients will not take {certificate.file}:"
        f" {error.verify_message}"
    )


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "openssl cannot use it").lower().replace("_", " ")
