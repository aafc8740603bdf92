"""What is wrong with the files of TLS, as far as all of it can be told at once.

Whether they are of use is found by `net`, which loads them and tells the first fault.
"""

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

from penstock.settings import TlsSettings


def tls_file_problems(tls: TlsSettings, where: Callable[..., str]) -> Iterator[str]:
    """Yield what is wrong with the files that are given, each in a line."""
    unreadable = False
    for name in ("tls_certificate_file", "tls_key_file", "tls_client_ca_file"):
        if (file := getattr(tls, name)) and (problem := _unreadable(file)):
            unreadable = True
            yield f"{where(name)}: {file} cannot be read: {problem}"
    if unreadable:
        return
    if tls.tls_certificate_file:
        yield from _own(tls.tls_certificate_file, tls.tls_key_file, where)
    if tls.tls_client_ca_file and not _holds_certificates(tls.tls_client_ca_file):
        yield (
            f"{where('tls_client_ca_file')}: {tls.tls_client_ca_file} holds no"
            " certificate in PEM"
        )


def _own(certificate: str, key: str, where: Callable[..., str]) -> Iterator[str]:
    """Yield why a certificate and its key are of no use together, if they are not."""
    if not _holds_certificates(certificate):
        name = where("tls_certificate_file")
        yield f"{name}: {certificate} holds no certificate in PEM"
        return
    asked = False

    def no_password() -> bytes:
        nonlocal asked
        asked = True
        return b""  # not asked for on a terminal that nobody looks at

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key or None, password=no_password)
    except ssl.SSLError as error:
        if not key:  # it may stand in the certificate's file
            name = where("tls_certificate_file")
            yield f"{name}: {certificate} holds no key; tls_key_file is missing"
        elif error.reason == "KEY_VALUES_MISMATCH":
            yield f"{where('tls_key_file')}: {key} is not the key of {certificate}"
        elif asked:
            yield f"{where('tls_key_file')}: {key} is encrypted; give one that is not"
        # Of what else there may be `net` has the words, where the files are loaded.


def _unreadable(file: str) -> str:
    try:
        with Path(file).open("rb") as opened:
            opened.read(1)
    except (OSError, ValueError) as error:  # the latter: no name can be like that
        return (getattr(error, "strerror", None) or str(error)).lower()
    return ""


def _holds_certificates(file: str) -> bool:
    return b"-----BEGIN CERTIFICATE-----" in Path(file).read_bytes()
