"""What cannot be set together, and what cannot be used as it is set.

It owns the rules between settings; the range of each is its own. What a part can find
out about its own, as `net` about the files of TLS, it asks there.
"""

import ipaddress
from collections.abc import Callable, Iterator

from penstock.errors import SettingsError
from penstock.http.token import NOT_SENDABLE, is_sendable
from penstock.net.certificates import load_terms
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
    if not (wanted or tls.tls_certificate_file or tls.tls_client_ca_file):
        return
    try:
        load_terms(tls)
    except SettingsError as error:
        named = str(error).partition(" ")[0].rstrip(":")
        yield where(named) + str(error).removeprefix(named)


def _http(settings: Settings, where: Where) -> Iterator[str]:
    http = settings.http
    if http.http_token:
        if not is_sendable(http.http_token):
            yield f"{where('http_token')} {NOT_SENDABLE}"
        return
    if http.http_token_file or _is_loopback(http.http_host):
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
