"""What cannot be set together, and what cannot be used as it is set.

It owns the rules between settings; the range of each is its own. It must not know the
parts that the settings are for, but asks `net` whether the files of TLS are of use.
"""

import ipaddress
from collections.abc import Callable, Iterator

from penstock.accepting import addresses_now, is_reachable
from penstock.config.machine import cores
from penstock.errors import SettingsError
from penstock.http.token import OPENS, token_problems
from penstock.net.certificates import load_terms
from penstock.net.rules import own_name
from penstock.settings import Listener, ListenSettings, Settings, TlsSettings
from penstock.settings.shares import share_problems, worker_count

# sun_path has 108 bytes with its NUL on Linux, 104 on macOS (unix(7), unix(4)).
MAX_SOCKET_PATH_BYTES = 103
_ALL = {"0.0.0.0", "::"}

# What a setting's place is called: a flag, a variable, a line of the file. Behind its
# name may stand a place within it: `where("networks", 0, "cidr")`.
Where = Callable[..., str]


def combination_problems(
    settings: Settings,
    where: Where,
    given: Callable[[str], bool],
    warn: Callable[[str], None],
) -> Iterator[str]:
    """Yield what is wrong with the settings together, each in a line.

    Args:
        settings: all of them.
        where: what the place of each is called.
        given: tells whether one has been given, rather than left at its default.
        warn: told what is no error, and yet not meant so.
    """
    yield from _listeners(settings, where)
    yield from _users(settings, where)
    yield from _networks(settings, where)
    yield from _handshake(settings, where)
    _warn_of_idle_guards(settings, where, warn)
    yield from _tls(settings, where, warn)
    yield from _http(settings, where)
    for name, problem in share_problems(settings, worker_count(settings, cores())):
        yield f"{where(name)} {problem}"
    limits = settings.limits
    per_address, in_all = limits.max_connections_per_address, limits.max_connections
    # By default it is the larger one of the two that is not given; that says nothing.
    if per_address > in_all and given("max_connections_per_address"):
        yield (
            f"{where('max_connections_per_address')} is {per_address}, more than"
            f" max_connections, {in_all}"
        )


def _listeners(settings: Settings, where: Where) -> Iterator[str]:
    taken = [(settings.listen.host, settings.listen.port)]
    paths: set[str] = set()
    for number, listener in enumerate(settings.listen.listeners):
        name = where("listeners", number)
        if bool(listener.host) == bool(listener.path):
            yield f"{name}: a listener has either a host or a path"
        elif listener.path:
            yield from _unix_listener(listener, number, where)
            if listener.path in paths:
                yield f"{name}: {listener.path} is listened on twice"
            paths.add(listener.path)
        else:
            place = (listener.host, listener.port)
            for other in taken:
                if _meet(place, other):
                    yield f"{name}: {_twice(place, other)}"
                    break
            taken.append(place)
            if listener.mode != Listener().mode:
                yield (
                    f"{where('listeners', number, 'mode')} is for a Unix socket, and"
                    " this is an address"
                )
    http = (settings.http.http_host, settings.http.http_port)
    for other in taken:
        if _meet(http, other):
            yield f"{where('http_port')}: {_twice(http, other)}"
            break


def _meet(one: tuple[str, int], other: tuple[str, int]) -> bool:
    """Tell whether two places cannot be listened on at once; what names mean is asked.

    An address of all addresses takes those of its kind (ip(7)); IPv6 ones take none of
    IPv4.
    """
    if one[1] != other[1] or not one[1]:
        return False
    if one[0] == other[0]:
        return True
    found = [addresses_now(host) for host, _ in (one, other)]
    if found[0] is None or found[1] is None:
        return False  # is told elsewhere
    return any(
        family == its_family and (host == its_host or {host, its_host} & _ALL)
        for family, (host, *_) in found[0]
        for its_family, (its_host, *_) in found[1]
    )


def _twice(one: tuple[str, int], other: tuple[str, int]) -> str:
    host, port = one
    if host == other[0]:
        return f"{host}:{port} is listened on twice"
    return f"{host}:{port} is listened on twice, with {other[0]}"


def _unix_listener(listener: Listener, number: int, where: Where) -> Iterator[str]:
    path = where("listeners", number, "path")
    if not listener.path.startswith("/") or "\0" in listener.path:
        yield f"{path} is {listener.path!r}; it begins with /"
    if len(listener.path.encode(errors="surrogateescape")) > MAX_SOCKET_PATH_BYTES:
        yield f"{path} is longer than {MAX_SOCKET_PATH_BYTES} bytes"
    if listener.tls == "on":
        yield f"{where('listeners', number, 'tls')}: a Unix socket speaks no TLS"
    mode = listener.mode
    is_octal = set(mode) <= set("01234567") and 3 <= len(mode) <= 4
    if not is_octal or int(mode, 8) > 0o777:
        name = where("listeners", number, "mode")
        yield f"{name} is {mode!r}; accepted: octal, 0000 to 0777, such as 0660"


def _users(settings: Settings, where: Where) -> Iterator[str]:
    # A name may stand twice, with two passwords, as with Fluentd.
    for number, user in enumerate(settings.security.users):
        if not user.name:
            yield f"{where('users', number)}: a user has a name"
        elif not user.password and not user.password_file:
            yield (
                f"{where('users', number)}: {user.name} has neither password nor"
                " password_file"
            )


def _networks(settings: Settings, where: Where) -> Iterator[str]:
    users = {each.name for each in settings.security.users}
    seen: set[str] = set()
    for number, rule in enumerate(settings.security.networks):
        name = where("networks", number, "cidr")
        try:
            network = str(ipaddress.ip_network(rule.cidr))
        except ValueError as error:
            problem = f"{name}: {error}" if rule.cidr else f"{name} is missing"
            yield problem + _meant(rule.cidr)
        else:
            if network in seen:
                yield f"{name}: {network} is there already, and the first one counts"
            seen.add(network)
        for unknown in sorted(set(rule.users) - users):
            yield f"{where('networks', number, 'users')}: there is no user {unknown}"
    if settings.security.other_networks == "deny" and not settings.security.networks:
        yield (
            f"{where('other_networks')} is deny, and there are no networks: nobody"
            " could send"
        )


def _meant(cidr: str) -> str:
    """Return which network is meant by an address in it, as a question."""
    try:
        return f"; is {ipaddress.ip_network(cidr, strict=False)} meant?"
    except ValueError:
        return ""


def _handshake(settings: Settings, where: Where) -> Iterator[str]:
    security = settings.security
    try:
        own_name(security.self_hostname)
    except SettingsError as error:
        yield _placed(str(error), where)
    has_common_key = bool(security.shared_key or security.shared_key_file)
    if security.empty_shared_key == "on":
        if has_common_key:
            yield f"{where('empty_shared_key')} is on, and there is a shared key"
        if not security.users:
            yield (
                f"{where('empty_shared_key')} is on, and there are no users: nobody"
                " could log in"
            )
        return
    # A file that could not be read is a problem of its own.
    if has_common_key or any(
        each.shared_key or each.shared_key_file for each in security.networks
    ):
        return
    if security.users:
        yield (
            f"{where('users')}: users log in behind a shared key, and there is none;"
            " set shared_key_file, or empty_shared_key = on"
        )
    for listener, name in _all_listeners(settings, where, "handshake"):
        if listener.handshake == "on":
            yield (
                f"{name} is on, and there is no shared key; set shared_key_file, or"
                " empty_shared_key = on with users"
            )


def _warn_of_idle_guards(
    settings: Settings, where: Where, warn: Callable[[str], None]
) -> None:
    """Say what is given to guard the listeners, and guards none of them."""
    security, tls = settings.security, settings.tls
    places: list[ListenSettings | Listener] = [
        settings.listen,
        *settings.listen.listeners,
    ]
    key = "shared_key_file" if security.shared_key_file else "shared_key"
    if getattr(security, key) and all(each.handshake == "off" for each in places):
        warn(f"{where(key)} is set, and handshake is off at every listener")
    if tls.tls_certificate_file and all(each.tls == "off" for each in places):
        warn(
            f"{where('tls_certificate_file')} is set, and no listener has tls = on:"
            " what is sent can be read on its way"
        )


def _all_listeners(
    settings: Settings, where: Where, setting: str
) -> Iterator[tuple[ListenSettings | Listener, str]]:
    """Yield each place to listen on, with what its `setting` is called."""
    yield settings.listen, where(setting)
    for number, listener in enumerate(settings.listen.listeners):
        yield listener, where("listeners", number, setting)


def _tls(
    settings: Settings, where: Where, warn: Callable[[str], None]
) -> Iterator[str]:
    tls = settings.tls
    if not tls.tls_certificate_file:
        for listener, name in _all_listeners(settings, where, "tls"):
            if listener.tls == "on":
                yield f"{name} is on, which needs tls_certificate_file and tls_key_file"
    # Files are looked at though no listener speaks TLS yet: they are meant to be used.
    if tls == TlsSettings(tls_min_version=tls.tls_min_version):
        return
    try:
        terms = load_terms(tls)
    except SettingsError as error:
        yield from (_placed(each, where) for each in error.problems)
    else:
        for warning in terms.warnings:
            warn(_placed(warning, where))


def _placed(problem: str, where: Where) -> str:
    """Return a problem that begins with its setting's name, with the place of that."""
    named = problem.partition(" ")[0].rstrip(":")
    return where(named) + problem.removeprefix(named)


def _http(settings: Settings, where: Where) -> Iterator[str]:
    http = settings.http
    yield from (_placed(each, where) for each in token_problems(http))
    # A file that could not be read is a problem of its own.
    if any(getattr(http, name) or getattr(http, f"{name}_file") for name in OPENS):
        return
    addresses = addresses_now(http.http_host)
    # What a name unknown today will mean nobody knows.
    if addresses is not None and not is_reachable(addresses):
        return
    yield (
        f"{where('http_host')} is {http.http_host}, which others can reach: set"
        " http_token_file, or PENSTOCK_HTTP_TOKEN"
    )
