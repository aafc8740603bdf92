"""Records unlike the usual mix: long, wide, deep, of unlike keys, of a system's log.

Owns the shapes that an encoder or a table may like less than the usual ones, each by
itself. Seeded like `records`, which makes chunks of them.
"""

import random
from collections.abc import Callable
from typing import Any, Final

from benchmarks import vocabulary as words

Record = dict[str, Any]

# Levels of maps in maps; logs are seldom deeper than five.
_DEPTH: Final = 20

_SYSTEM_LINES: Final = (
    ("sshd", "Failed password for invalid user {user} from {address} port {n} ssh2"),
    ("sshd", "Accepted publickey for {user} from {address} port {n} ssh2: ED25519"),
    ("sshd", "Received disconnect from {address} port {n}:11: disconnected by user"),
    ("sudo", "  {user} : TTY=pts/0 ; PWD=/home/{user} ; USER=root ; COMMAND=/bin/ls"),
    ("CRON", "({user}) CMD (   cd / && run-parts --report /etc/cron.hourly)"),
    ("systemd", "Started Session {n} of User {user}."),
    ("systemd", "logrotate.service: Deactivated successfully."),
    ("kernel", "[{n}.{n}] TCP: request_sock_TCP: Possible SYN flooding on port 443."),
    ("kernel", "[{n}.{n}] eth0: renamed from veth{n}"),
    ("dhclient", "DHCPACK of {address} from {address}"),
    ("postfix/smtpd", "connect from unknown[{address}]"),
    ("dockerd", 'time="2026-01-01T00:00:00Z" level=info msg="ignoring event" id={n}'),
)
_USERS: Final = ("root", "admin", "deploy", "ubuntu", "postgres", "backup")


def _text(rng: random.Random, count: int) -> str:
    """So many characters of messages and paths, as long lines have them."""
    parts: list[str] = []
    size = 0
    while size < count:
        parts.append(rng.choice(words.MESSAGES).replace("{}", str(rng.getrandbits(32))))
        parts.append(rng.choice(words.PATHS).replace("{}", str(rng.getrandbits(16))))
        size += len(parts[-1]) + len(parts[-2]) + 2
    return " ".join(parts)[:count]


def long_message(rng: random.Random, seconds: int) -> Record:
    """An application's line of some 1,800 characters: 2,000 bytes in all."""
    return {
        "level": rng.choice(words.LEVELS),
        "service": rng.choice(words.SERVICES),
        "host": rng.choice(words.HOSTS),
        "message": _text(rng, 1_800),
        "trace_id": f"{rng.getrandbits(128):032x}",
    }


def thirty_keys(rng: random.Random, seconds: int) -> Record:
    """Thirty keys, flat: texts, numbers, booleans, null."""
    record: Record = {
        "level": rng.choice(words.LEVELS),
        "service": rng.choice(words.SERVICES),
        "message": rng.choice(words.MESSAGES).replace("{}", str(rng.getrandbits(32))),
        "ratio": rng.random(),
        "retried": rng.random() < 0.1,
        "error": None,
    }
    for number in range(12):
        record[f"counter_{number}"] = rng.getrandbits(rng.choice((7, 15, 31)))
        record[f"label_{number}"] = rng.choice(words.SERVICES)
    return record


def deep_nesting(rng: random.Random, seconds: int) -> Record:
    """Twenty maps and lists, each in the one before."""
    inner: Any = {"code": rng.randrange(1_000), "reason": rng.choice(words.METHODS)}
    for level in range(_DEPTH - 1):
        inner = [inner] if level % 4 == 3 else {f"level_{level}": inner, "n": level}
    return {"level": "info", "message": "nested", "context": inner}


def unlike_keys(rng: random.Random, seconds: int) -> Record:
    """Ten keys that no other record has: nothing can be remembered."""
    record: Record = {
        f"{rng.choice(words.SERVICES)}_{rng.getrandbits(40):010x}": rng.getrandbits(31)
        for _ in range(10)
    }
    return record | {"message": rng.choice(words.MESSAGES)}


def system_log(rng: random.Random, seconds: int) -> Record:
    """A line of a system's log, split as Fluent Bit's `syslog-rfc3164` parser does."""
    ident, line = rng.choice(_SYSTEM_LINES)
    address = ".".join(str(part) for part in rng.getrandbits(32).to_bytes(4, "big"))
    line = line.replace("{user}", rng.choice(_USERS)).replace("{address}", address)
    return {
        "pri": str(rng.randrange(8, 120)),
        "host": rng.choice(words.HOSTS),
        "ident": ident,
        "pid": str(rng.randrange(300, 60_000)),
        "message": line.replace("{n}", str(rng.randrange(1_000, 60_000))),
    }


# What `records.Mix` may be made of besides its own: name, and events in a hundred.
SHAPES: Final[dict[str, dict[Callable[[random.Random, int], Record], int]]] = {
    "long": {long_message: 100},
    "wide": {thirty_keys: 100},
    "deep": {deep_nesting: 100},
    "unlike": {unlike_keys: 100},
    "syslog": {system_log: 100},
}
