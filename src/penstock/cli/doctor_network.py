"""What `penstock doctor` says of the places where we listen: who gets in there.

It asks what the server asks, the same rules, of the same settings. It must not open a
port, nor say "closed" of what it does not know.
"""

from collections.abc import Iterator

from penstock.accepting import addresses_now, is_reachable
from penstock.cli.findings import Finding
from penstock.cli.guards import Guard, Place, before_port, guard_of, who_may
from penstock.errors import SettingsError
from penstock.http.token import COMMON_TOKEN, Right, check_token, tokens_of
from penstock.net.rules import Rules
from penstock.settings import HttpSettings, Listener, Settings

HOW = "docs/security.md says how"
# Somebody on this machine who is neither the socket's owner nor of its group.
OTHERS_MAY_WRITE = 0o002


def listening(settings: Settings) -> Iterator[Finding]:
    """Look at every place where the server would listen."""
    try:
        rules = Rules(settings.security)
    except SettingsError as error:
        yield Finding("fail", str(error), "correct the setting")
        return
    places: list[Place] = [settings.listen, *settings.listen.listeners]
    asks = False
    for place in places:
        asks = asks or rules.requires_handshake(place)
        yield from _forward(place, settings, rules)
    if asks and rules.self_hostname == "localhost":
        yield Finding(
            "warn",
            "self_hostname is localhost, as Fluent Bit calls itself: a sender refuses"
            " a server of its own name",
            "leave self_hostname out, or take a name that no sender has",
        )
    yield from _http(settings.http)


def _in_words(asked: tuple[str, ...]) -> str:
    return " and ".join(each if each == "TLS" else f"a {each}" for each in asked)


def _forward(place: Place, settings: Settings, rules: Rules) -> Iterator[Finding]:
    guard = guard_of(place, settings, rules)
    if rules.requires_handshake(place) and not _has_secrets(settings):
        yield Finding(
            "fail",
            f"{_name(place)} asks for a shared key, and there is none: nobody can send",
            'set shared_key_file, or handshake = "auto"',
        )
        return
    if isinstance(place, Listener) and place.path:
        yield _unix(place, guard)
        return
    where = _name(place)
    addresses = addresses_now(place.host, place.port)
    if addresses is None:
        yield Finding("fail", f"{where}: no such host", "correct its host")
    elif not is_reachable(addresses):
        words = f", {_in_words(guard.asked)}" if guard.asked else ""
        yield Finding("ok", f"{where}: from this machine only{words}")
    else:
        yield _reachable(where, guard, who_may(settings))


def _reachable(where: str, guard: Guard, who: str) -> Finding:
    """Judge a place that other machines can reach."""
    if not who:
        return Finding("ok", f"{where}: closed to all other machines by `networks`")
    if guard.proofs and guard.has_tls:
        return Finding("ok", f"{where}: {_in_words(guard.asked)}")
    if guard.proofs:
        secret = "key" if "shared key" in guard.proofs else "password"
        return Finding(
            "warn",
            f"{where} asks for {_in_words(guard.proofs)}, without TLS: what is sent can"
            f" be read, and changed, on its way; the {secret} itself cannot be read",
            f'tls = "on", with a certificate; {HOW}',
        )
    if guard.has_tls:
        return Finding(
            "warn",
            f"{where} is open: {who} can write logs. TLS hides them on their way, but"
            " asks nobody who he is",
            f"set shared_key_file, or tls_client_ca_file; {HOW}",
        )
    return Finding(
        "warn",
        f"{where} is open: {who} can write logs, and on their way they can be read",
        f'set shared_key_file and tls = "on", or host = "127.0.0.1"; {HOW}',
    )


def _unix(place: Listener, guard: Guard) -> Finding:
    try:
        mode = int(place.mode, 8)
    except ValueError:
        what = f"{place.path}: {place.mode!r} is no mode of a file"
        return Finding("fail", what, 'mode = "0660"')
    if mode & OTHERS_MAY_WRITE and not guard.proofs:
        return Finding(
            "warn",
            f"{place.path} is open: every user of this machine can write logs",
            'mode = "0660", and senders into the group of the socket',
        )
    return Finding("ok", f"{place.path}: a Unix socket with mode {place.mode}")


def _has_secrets(settings: Settings) -> bool:
    security = settings.security
    keys = [security.shared_key, *(each.shared_key for each in security.networks)]
    return any(keys) or (security.empty_shared_key == "on" and bool(security.users))


def _http(http: HttpSettings) -> Iterator[Finding]:
    where = f"http://{_named(http.http_host, http.http_port)}"
    addresses = addresses_now(http.http_host, http.http_port)
    if addresses is None:
        yield Finding("fail", f"{where}: no such host", "correct http_host")
        return
    reachable = is_reachable(addresses)
    try:
        check_token(http, is_reachable=reachable)
    except SettingsError as error:
        what, _, mend = str(error).partition("; ")
        yield Finding("fail", what, mend or "put a token into it")
        return
    tokens = _who_opens(http)
    if not reachable:
        yield Finding("ok", f"{where}: from this machine only, {tokens}")
        return
    yield Finding(
        "warn",
        f"{where} asks for a token, without TLS: it can be read on its way; {tokens}",
        f'http_host = "127.0.0.1", and a proxy with TLS before it; {HOW}',
    )


def _who_opens(http: HttpSettings) -> str:
    """Return which tokens there are, and what each opens: one for all is no advice."""
    names = list(tokens_of(http))
    if not names:
        return "without a token"
    if names == [COMMON_TOKEN]:
        return "with a token, which opens all of it"
    narrow = [right for right in Right if right.token_name in names]
    opened = [f"{each.token_name} may {each.in_words}" for each in narrow]
    if COMMON_TOKEN in names:
        opened.append(f"{COMMON_TOKEN} may all")
    else:
        closed = [each.in_words for each in Right if each not in narrow]
        opened += [f"nobody may {' or '.join(closed)}"] if closed else []
    return f"with tokens: {', '.join(opened)}"


def _named(host: str, port: int) -> str:
    return f"{before_port(host)}:{port}"


def _name(place: Place) -> str:
    if isinstance(place, Listener) and place.path:
        return place.path
    return _named(place.host, place.port)
