"""What cannot be set together, and what cannot be used as it is set.

It owns the rules between settings; the range of each is its own. It must not know the
parts that the settings are for: what it looks at is files, addresses and names.
"""

import ipaddress
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

from penstock.settings import Listener, ListenSettings, Settings

# What a setting's place is called: a flag, a variable, a line of the file.
Where = Callable[[str], str]


def combination_problems(settings: Settings, where: Where) -> Iterator[str]:
    """Yield what is wrong with the settings together, each in a line."""
    yield from _listeners(settings, where)
    yield from _networks(settings, where)
    yield from _handshake(settings, where)
    yield from _tls(settings, where)
    yield from _http(settings, where)
    limits = settings.limits
    if limits.max_connections_per_address > limits.max_connections:
        if where("max_connections_per_address") != "max_connections_per_address":
            yield (
                f"{where('max_connections_per_address')} is"
                f" {limits.max_connections_per_address}, more than max_connections,"
                f" {limits.max_connections}"
            )


def _listeners(settings: Settings, where: Where) -> Iterator[str]:
    taken = {(settings.listen.host, settings.listen.port)}
    paths: set[str] = set()
    for number, listener in enumerate(settings.listen.listeners):
        name = f"{where('listeners')}[{number}]"
        if bool(listener.host) == bool(listener.path):
            yield f"{name}: a listener has either a host or a path"
        elif listener.path:
            yield from _unix_listener(listener, name)
            if listener.path in paths:
                yield f"{name}: {listener.path} is listened on twice"
            paths.add(listener.path)
        else:
            place = (listener.host, listener.port)
            if place in taken and listener.port:
                yield f"{name}: {listener.host}:{listener.port} is listened on twice"
            taken.add(place)


def _unix_listener(listener: Listener, name: str) -> Iterator[str]:
    if not listener.path.startswith("/"):
        yield f"{name}: the path {listener.path} does not begin with /"
    if len(listener.path.encode()) > 107:  # sun_path, unix(7)
        yield f"{name}: the path is longer than 107 bytes"
    if listener.tls == "on":
        yield f"{name}: a Unix socket speaks no TLS"
    is_octal = set(listener.mode) <= set("01234567") and 3 <= len(listener.mode) <= 4
    if not is_octal or int(listener.mode, 8) > 0o777:
        yield f"{name}: mode is {listener.mode!r}; accepted: 0600 to 0777, octal"


def _networks(settings: Settings, where: Where) -> Iterator[str]:
    users = {each.name for each in settings.security.users}
    for number, user in enumerate(settings.security.users):
        name = f"{where('users')}[{number}]"
        if not user.name:
            yield f"{name}: a user has a name"
        elif not user.password and not user.password_file:
            yield f"{name}: {user.name} has neither password nor password_file"
    for number, rule in enumerate(settings.security.networks):
        name = f"{where('networks')}[{number}]"
        try:
            ipaddress.ip_network(rule.cidr)
        except ValueError as error:
            yield f"{name}: cidr: {error}"
        for unknown in sorted(set(rule.users) - users):
            yield f"{name}: there is no user {unknown}"
    if settings.security.other_networks == "deny" and not settings.security.networks:
        yield (
            f"{where('other_networks')} is deny, and there are no networks: nobody"
            " could send"
        )


def _handshake(settings: Settings, where: Where) -> Iterator[str]:
    security = settings.security
    has_key = bool(security.shared_key) or any(
        each.shared_key for each in security.networks
    )
    if security.empty_shared_key == "on":
        if security.shared_key:
            yield f"{where('empty_shared_key')} is on, and there is a shared key"
        if not security.users:
            yield (
                f"{where('empty_shared_key')} is on without users: everybody could send"
            )
        return
    if has_key or security.shared_key_file:
        return
    if security.users:
        yield (
            f"{where('users')} are asked for behind the shared key, and there is none;"
            " set shared_key_file, or empty_shared_key to on"
        )
    for name, listener in _all_listeners(settings, where):
        if listener.handshake == "on":
            yield f"{name}: handshake is on, and there is no shared key"


def _all_listeners(
    settings: Settings, where: Where
) -> Iterator[tuple[str, ListenSettings | Listener]]:
    yield where("handshake"), settings.listen
    for number, listener in enumerate(settings.listen.listeners):
        yield f"{where('listeners')}[{number}]", listener


def _tls(settings: Settings, where: Where) -> Iterator[str]:
    tls = settings.tls
    wanted = [
        name
        for name, listener in _all_listeners(settings, where)
        if listener.tls == "on"
    ]
    certificate, key = tls.tls_certificate_file, tls.tls_key_file
    if wanted and not (certificate and key):
        yield (
            "tls is on, which needs tls_certificate_file and tls_key_file; missing:"
            f" {'tls_key_file' if certificate else 'tls_certificate_file'}"
        )
    if tls.tls_client_names and not tls.tls_client_ca_file:
        yield (
            f"{where('tls_client_names')} are given without tls_client_ca_file: no"
            " client would show a certificate"
        )
    readable = True
    for name in ("tls_certificate_file", "tls_key_file", "tls_client_ca_file"):
        if (file := getattr(tls, name)) and (problem := _unreadable(file)):
            readable = False
            yield f"{where(name)}: {file} cannot be read: {problem}"
    if readable and certificate and key and (problem := _unusable(certificate, key)):
        yield f"{where('tls_key_file')}: {problem}"
    if readable and tls.tls_client_ca_file:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(
                tls.tls_client_ca_file
            )
        except ssl.SSLError:
            yield (
                f"{where('tls_client_ca_file')}: {tls.tls_client_ca_file} holds no"
                " certificate in PEM"
            )


def _unreadable(file: str) -> str:
    try:
        with Path(file).open("rb"):
            return ""
    except OSError as error:
        return (error.strerror or str(error)).lower()


def _unusable(certificate: str, key: str) -> str:
    """Return why a certificate and its key are of no use together, if they are not."""
    try:
        # A key with a password is not asked for it, on a terminal nobody looks at.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            certificate, key, password=lambda: b""
        )
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return f"{key} is not the key of {certificate}"
        return f"{certificate} and {key} are no certificate and open key in PEM"
    return ""


def _http(settings: Settings, where: Where) -> Iterator[str]:
    http = settings.http
    if http.http_token or http.http_token_file or _is_loopback(http.http_host):
        return
    yield (
        f"{where('http_host')} is {http.http_host}, which others can reach: set"
        " http_token_file, or PENSTOCK_HTTP_TOKEN"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name may come to mean another address
