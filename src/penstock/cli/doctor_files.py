"""What `penstock doctor` says of the files that matter: secrets, certificates, spool.

It owns who may read them, and for how long they are good. It must not show a secret,
nor how long it is.
"""

import math
import ssl
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from penstock.amounts import amount
from penstock.cli.findings import Finding
from penstock.errors import SettingsError
from penstock.http.token import OPENS
from penstock.net.certificates import certificate_shown, load_terms
from penstock.settings import Settings, TlsSettings

# Below it all can be tried: who has seen one handshake, or guesses, needs no more than
# time. 16 characters of base64 are 96 bits.
SHORT_SECRET_CHARS = 16
NEW_SECRET = "openssl rand -base64 24"
# Time to get another one, on a day that suits.
EXPIRES_SOON_DAYS = 30
DAY_SECONDS = 86_400
OTHERS_MAY = 0o007
ALL_BUT_OWNER_MAY = 0o077


def secrets(settings: Settings) -> Iterator[Finding]:
    """Look at who may read the secrets, and whether they can be guessed."""
    for name, value, file in _secrets(settings):
        if file:
            yield from _closed(name, Path(file), OTHERS_MAY, "chmod o= {}")
        # Of a URL the password is PostgreSQL's matter.
        if (
            not name.endswith("database_url")
            and value
            and len(value) < SHORT_SECRET_CHARS
        ):
            yield Finding(
                "warn",
                f"{name} is short: it can be found by trying",
                f"make one of {SHORT_SECRET_CHARS} characters or more: {NEW_SECRET}",
            )


def tells(settings: Settings, warning: str) -> bool:
    """Tell whether `certificates` says itself what is a warning of the settings."""
    if not _speaks_tls(settings):
        return False
    try:
        warnings = load_terms(settings.tls).warnings
    except SettingsError:
        return False
    # Before it stands the place of the setting, instead of its name.
    return any(warning.endswith(each.partition(" ")[2]) for each in warnings)


def _speaks_tls(settings: Settings) -> bool:
    listen = settings.listen
    return listen.tls == "on" or any(each.tls == "on" for each in listen.listeners)


def certificates(settings: Settings) -> Iterator[Finding]:
    """Look at the files of TLS, if any place speaks it."""
    tls = settings.tls
    if not _speaks_tls(settings):
        return
    try:
        load_terms(tls)
    except SettingsError as error:
        for problem in error.problems:
            yield Finding("fail", problem, "correct the setting, or the file")
        return
    key_file = tls.tls_key_file or tls.tls_certificate_file
    yield from _closed("tls_key_file", Path(key_file), OTHERS_MAY, "chmod o= {}")
    yield _certificate(tls)
    if tls.tls_client_ca_file:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(tls.tls_client_ca_file)
        for each in context.get_ca_certs():
            what = f"the client CA {_common_name(each)}"
            yield _lifetime(what, each, "add the new CA to tls_client_ca_file")


def spool(directories: list[Path]) -> Iterator[Finding]:
    """Look at who may read what is spooled."""
    for each in directories:
        # Nor is it open where a directory above is closed even to us.
        with suppress(OSError):
            if each.is_dir():
                yield from _closed("the spool", each, ALL_BUT_OWNER_MAY, "chmod go= {}")


def _secrets(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield each secret's name, value and file."""
    security, http = settings.security, settings.http
    yield "shared_key", security.shared_key, security.shared_key_file
    for rule in security.networks:
        name = f"shared_key of the network {rule.cidr}"
        yield name, rule.shared_key, rule.shared_key_file
    for user in security.users:
        yield f"password of the user {user.name}", user.password, user.password_file
    for name in OPENS:
        yield name, getattr(http, name), getattr(http, f"{name}_file")
    api = settings.api
    yield "api_database_url", api.api_database_url, api.api_database_url_file
    ask = settings.ask
    yield "ask_database_url", ask.ask_database_url, ask.ask_database_url_file
    upkeep = settings.maintenance
    yield (
        "maintenance_database_url",
        upkeep.maintenance_database_url,
        upkeep.maintenance_database_url_file,
    )


def _closed(name: str, path: Path, closed_to: int, mend: str) -> Iterator[Finding]:
    try:
        mode = path.stat().st_mode & 0o777
    except OSError as error:
        what = f"{name}: {path}: {error.strerror}"
        yield Finding("fail", what, "name a file that Penstock's user can read")
        return
    if mode & closed_to:
        yield Finding(
            "warn",
            f"{name}: {path} has mode {mode:04o}: others on this machine may read or"
            " change it",
            mend.format(path),
        )


def _certificate(tls: TlsSettings) -> Finding:
    """Judge the server's certificate as a client would that trusts it."""
    try:
        shown = certificate_shown(tls)
    except SettingsError as error:
        return Finding("fail", str(error), "get a certificate for servers")
    mend = "renew it, then systemctl reload penstock"
    return _lifetime(tls.tls_certificate_file, shown, mend)


def _lifetime(what: str, certificate: dict[str, Any], mend: str) -> Finding:
    now = time.time()
    begins = ssl.cert_time_to_seconds(certificate["notBefore"])
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    if begins > now:
        return Finding("fail", f"{what} is not valid yet", "is the clock right?")
    days = math.floor((ends - now) / DAY_SECONDS)
    if days < 0:
        return Finding("fail", f"{what} has expired", mend)
    if days < EXPIRES_SOON_DAYS:
        return Finding("warn", f"{what} expires within {amount(days + 1, 'day')}", mend)
    return Finding("ok", f"{what} is good for {amount(days, 'day')}")


def _common_name(certificate: dict[str, Any]) -> str:
    attributes = dict(pair for each in certificate["subject"] for pair in each)
    return str(attributes.get("commonName", "without a name"))
