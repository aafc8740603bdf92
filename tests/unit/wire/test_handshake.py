"""The handshake's bytes: conformance cases, known answers, and what is no PING.

`tests/data/handshake_cases.json` has the bytes of the H cases, made with the nonce
"N" x 16, the salt "S" x 16, the key "secret", the user "user" with the password "pass"
and the server's name "server". H11 and H14 need a connection: tests/unit/net and
tests/integration have them.
"""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import pytest

from penstock.wire.handshake import (
    MAX_PING_BYTES,
    Challenge,
    Credentials,
    Failure,
    NoPingError,
    Ping,
    PingReader,
    anonymous_source,
    check_ping,
    helo,
    key_digest,
    password_digest,
    pong,
    refusing_pong,
)
from tests import msgpack_bytes as m
from tests.pure_core import NEXT_FRAME, WAYS, arriving

CASES: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "data" / "handshake_cases.json").read_text()
)
CHALLENGE = Challenge(b"N" * 16, b"S" * 16)
KEY = b"secret"
ONLY_KEY = Credentials(KEY)
WITH_USER = Credentials(KEY, {b"user": (b"pass",)})
EMPTY_KEY = Credentials(b"")
# Which of these a case is checked with, and why it is refused, if it is.
PINGS: dict[str, tuple[Credentials, Failure | None]] = {
    "H03": (WITH_USER, None),
    "H04": (ONLY_KEY, None),
    "H05": (ONLY_KEY, None),
    "H06": (ONLY_KEY, Failure.SHARED_KEY),
    "H07": (WITH_USER, Failure.PASSWORD),
    "H08": (ONLY_KEY, Failure.NO_PING),
    "H09": (ONLY_KEY, Failure.NO_PING),
    "H13": (EMPTY_KEY, None),
    "H15": (ONLY_KEY, Failure.NO_PING),
}


class Answer(NamedTuple):
    written: bytes
    failure: Failure | None
    rest: bytes = b""


def bytes_of(case_id: str) -> bytes:
    (case,) = [case for case in CASES if case["id"] == case_id]
    return bytes.fromhex(case["hex"])


def answer(pieces: list[bytes], credentials: Credentials) -> Answer:
    """Do as a server does: read until the PING is there or cannot be, then answer."""
    reader = PingReader()
    for number, piece in enumerate(pieces):
        try:
            ping = reader.receive_data(piece)
        except NoPingError as error:
            assert error.reason == Failure.NO_PING.reason
            return Answer(refusing_pong(Failure.NO_PING.text), Failure.NO_PING)
        if ping is None:
            continue
        rest = reader.rest + b"".join(pieces[number + 1 :])
        failure = check_ping(ping, CHALLENGE, credentials)
        if failure is not None:
            return Answer(refusing_pong(failure.text), failure, rest)
        assert credentials.shared_key is not None
        let_in = pong(ping, CHALLENGE, credentials.shared_key, "server")
        return Answer(let_in, None, rest)
    raise AssertionError("neither a PING nor none")


# --- conformance cases


def test_h01_helo_is_these_bytes() -> None:
    assert helo(CHALLENGE) == bytes_of("H01")
    assert len(bytes_of("H01")) == 65


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case_id", PINGS)
def test_conformance(case_id: str, way: str) -> None:
    credentials, expected = PINGS[case_id]
    answered = answer(arriving(way, bytes_of(case_id)), credentials)
    assert answered.failure is expected
    kind, let_in, text, hostname, digest = msgpack.unpackb(answered.written)
    assert (kind, let_in, text) == (
        "PONG",
        expected is None,
        "" if expected is None else expected.text,
    )
    if expected is None:
        assert (hostname, len(digest)) == ("server", 128)
        assert answered.rest == (NEXT_FRAME if way == WAYS[2] else b"")
    else:
        assert (hostname, digest) == ("", "")


def test_each_case_with_bytes_is_here_once() -> None:
    assert sorted(case["id"] for case in CASES) == sorted(["H01", *PINGS])


# --- known answers


def test_a_key_digest_is_as_fluentd_computes_it() -> None:
    """From Fluentd's own tests (protocol facts, 4.2)."""
    assert key_digest(
        b"ce1897b0d3dbd76b90d7fb96010dcac3", b"client_hostname", b"", b"shared_key"
    ) == (
        b"40a3c5943cc6256e0c5dcf176e97db3826b0909698c330dc8e53d15af63efb47"
        b"e030d113130255dd6e7ced5176d2999cc2e02a44852d45152503af317b73b33f"
    )


def test_digests_are_of_the_values_one_behind_the_other() -> None:
    assert key_digest(b"1", b"2", b"3", b"4") == hex_sha512(b"1234")
    assert password_digest(b"1", b"2", b"3") == hex_sha512(b"123")


def test_a_pong_proves_the_key_with_our_name() -> None:
    salt = b"\xf0\xff" * 8
    ping = Ping(b"client", salt, b"", b"", b"")
    assert pong(ping, CHALLENGE, KEY, "server") == m.fixarray(
        m.fixstr(b"PONG"),
        m.TRUE,
        m.fixstr(b""),
        m.fixstr(b"server"),
        m.str8(hex_sha512(salt + b"server" + CHALLENGE.nonce + KEY)),
    )


def test_a_refusing_pong_has_five_elements_and_no_digest() -> None:
    assert refusing_pong("why") == m.fixarray(
        m.fixstr(b"PONG"), m.FALSE, m.fixstr(b"why"), m.fixstr(b""), m.fixstr(b"")
    )


def test_an_address_that_is_not_listed_is_told_so_as_by_fluentd() -> None:
    assert anonymous_source("10.0.0.1") == "anonymous source host '10.0.0.1' denied"


def test_helo_has_an_empty_salt_where_no_user_is_asked_for() -> None:
    options = msgpack.unpackb(helo(Challenge(b"N" * 16, b"")))[1]
    assert options == {"nonce": b"N" * 16, "auth": b"", "keepalive": True}


def test_a_name_of_ours_that_is_no_text_is_written_as_it_is() -> None:
    name = b"h\xff".decode(errors="surrogateescape")
    written = pong(Ping(b"c", b"", b"", b"", b""), CHALLENGE, KEY, name)
    assert m.fixstr(b"h\xff") in written


# --- who gets in


def ping_of(
    *,
    hostname: bytes = b"client",
    salt: bytes = b"salt",
    key: bytes = KEY,
    nonce: bytes = CHALLENGE.nonce,
    user: bytes = b"",
    password: bytes | None = None,
) -> Ping:
    proof = b"" if password is None else password_digest(CHALLENGE.auth, user, password)
    return Ping(hostname, salt, key_digest(salt, hostname, nonce, key), user, proof)


def test_the_right_key_is_enough_where_no_user_is_asked_for() -> None:
    assert check_ping(ping_of(user=b"who"), CHALLENGE, ONLY_KEY) is None


@pytest.mark.parametrize(
    "ping",
    [
        ping_of(key=b"secret2"),
        ping_of(key=b""),
        ping_of(nonce=b"M" * 16),  # another connection's
        Ping(b"client", b"salt", b"", b"", b""),
        Ping(b"client", b"salt", ping_of().key_digest.upper(), b"", b""),
        Ping(b"client", b"salt", ping_of().key_digest + b"0", b"", b""),
        Ping(b"clien", b"salt", ping_of().key_digest, b"", b""),
    ],
)
def test_a_digest_of_anything_else_is_refused(ping: Ping) -> None:
    assert check_ping(ping, CHALLENGE, ONLY_KEY) is Failure.SHARED_KEY


def test_nobody_gets_in_where_there_is_no_key() -> None:
    """No key is not the empty key."""
    for key in (b"", b"None", KEY):
        ping = ping_of(key=key)
        assert check_ping(ping, CHALLENGE, Credentials(None)) is Failure.SHARED_KEY


def test_any_password_of_a_user_will_do() -> None:
    credentials = Credentials(KEY, {b"user": (b"one", b"two"), b"other": (b"three",)})
    for password in (b"one", b"two"):
        ping = ping_of(user=b"user", password=password)
        assert check_ping(ping, CHALLENGE, credentials) is None
    ping = ping_of(user=b"user", password=b"three")
    assert check_ping(ping, CHALLENGE, credentials) is Failure.PASSWORD


@pytest.mark.parametrize("password", [b"", b"\0" * 16, b"pass", None])
def test_an_unknown_user_is_refused_whatever_its_password(
    password: bytes | None,
) -> None:
    ping = ping_of(user=b"nobody", password=password)
    assert check_ping(ping, CHALLENGE, WITH_USER) is Failure.PASSWORD


def test_a_user_who_may_not_log_in_here_is_told_no_more_than_an_unknown_one() -> None:
    credentials = Credentials(KEY, {b"user": (b"pass",)}, frozenset({b"other"}))
    right = ping_of(user=b"user", password=b"pass")
    assert check_ping(right, CHALLENGE, credentials) is Failure.USER_NOT_ALLOWED
    wrong = ping_of(user=b"user", password=b"guess")
    assert check_ping(wrong, CHALLENGE, credentials) is Failure.PASSWORD
    assert Failure.USER_NOT_ALLOWED.text == Failure.PASSWORD.text


def test_the_key_is_checked_before_the_user() -> None:
    ping = ping_of(key=b"wrong", user=b"user", password=b"pass")
    assert check_ping(ping, CHALLENGE, WITH_USER) is Failure.SHARED_KEY


# --- what is no PING


def ping_bytes(*values: bytes) -> bytes:
    return m.fixarray(m.fixstr(b"PING"), *values)


FIVE = (m.fixstr(b"c"), m.fixstr(b"s"), m.str8(b"d" * 128), m.fixstr(b""), m.bin8(b""))


def test_wide_headers_are_read() -> None:
    data = b"\xdd\0\0\0\x06" + m.str32(b"PING") + m.str16(b"c") + b"".join(FIVE[1:])
    ping = PingReader().receive_data(data)
    assert ping is not None
    assert (ping.client_hostname, ping.salt) == (b"c", b"s")


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (bytes.fromhex("93a174ce55ece6f881a16101"), "events without handshake"),
        (b'["t",1,{}]', "events without handshake"),
        (b"\xdc\0\x03\xa1t", "events without handshake"),
        (b"\x96\xa4PONG" + b"".join(FIVE), "events without handshake"),
        (ping_bytes(*FIVE[:4]), "malformed PING"),
        (ping_bytes(m.NIL, *FIVE[1:]), "malformed PING"),
        (ping_bytes(*FIVE[:4], m.uint8(1)), "malformed PING"),
        (ping_bytes(m.fixarray(), *FIVE[1:]), "malformed PING"),
        (b"\x16\x03\x01\x02\0", "TLS"),
        (b"GET / HTTP/1.1\r\n", "HTTP"),
        (b"\x03", "no array"),
        (m.NIL, "no PING"),
        (m.NEVER_USED, "never uses"),
        (b"\x81\xa1a\x01", "no array"),
        (b"\xff" * 9000, "no array"),
    ],
)
def test_what_comes_instead_of_a_ping_is_said(data: bytes, hint: str) -> None:
    with pytest.raises(NoPingError, match=hint) as raised:
        PingReader().receive_data(data)
    assert raised.value.reason == "no_ping"
    reader = PingReader()
    with pytest.raises(NoPingError):
        for byte in data:
            assert reader.receive_data(bytes([byte])) is None


@pytest.mark.parametrize("header", [b"\xdb\xff\xff\xff\xff", b"\xda\x10\x00"])
def test_a_length_past_the_limit_is_not_waited_for(header: bytes) -> None:
    with pytest.raises(NoPingError):
        PingReader().receive_data(b"\x96\xa4PING" + header)


def test_no_more_than_a_ping_is_kept() -> None:
    reader = PingReader()
    with pytest.raises(NoPingError):
        for _ in range(MAX_PING_BYTES):
            reader.receive_data(b"\x96\xa4PING\xda\x0f\x00" + b"x" * 1000)


def test_a_ping_of_just_the_limit_is_read() -> None:
    empty = ping_bytes(m.fixstr(b"c"), m.str16(b""), *FIVE[2:])
    salt = b"\xff" * (MAX_PING_BYTES - len(empty))
    ping = PingReader().receive_data(
        ping_bytes(m.fixstr(b"c"), m.str16(salt), *FIVE[2:])
    )
    assert ping is not None
    assert ping.salt == salt


def test_no_repr_has_a_secret_or_a_digest() -> None:
    ping = ping_of(user=b"user", password=b"pass")
    for text in (repr(ping), repr(WITH_USER), repr(ONLY_KEY)):
        assert "pass'" not in text and "secret" not in text
        assert ping.key_digest.decode() not in text


def hex_sha512(data: bytes) -> bytes:
    return hashlib.sha512(data).hexdigest().encode()


# --- comparisons in constant time


class Unequalled(bytes):
    """A digest that may be compared in constant time only."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared as bytes are: the first difference ends it")

    __hash__ = bytes.__hash__


def proving(user: bytes, key: bytes, password: bytes) -> Ping:
    digest = key_digest(b"salt", b"client", CHALLENGE.nonce, key)
    proof = password_digest(CHALLENGE.auth, user, password)
    return Ping(b"client", b"salt", Unequalled(digest), user, Unequalled(proof))


@pytest.mark.parametrize(
    ("ping", "failure", "comparisons"),
    [
        (proving(b"user", b"wrong", b"pass"), Failure.SHARED_KEY, 1),
        (proving(b"user", KEY, b"wrong"), Failure.PASSWORD, 2),
        (proving(b"user", KEY, b"pass"), None, 2),
        (proving(b"nobody", KEY, b"pass"), Failure.PASSWORD, 2),
    ],
    ids=["wrong key", "wrong password", "right", "unknown user"],
)
def test_secrets_are_compared_in_constant_time_for_unknown_users_too(
    ping: Ping,
    failure: Failure | None,
    comparisons: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compare = hmac.compare_digest
    compared: list[bytes] = []

    def counting(one: bytes, other: bytes) -> bool:
        compared.append(one)
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    assert check_ping(ping, CHALLENGE, WITH_USER) is failure
    assert len(compared) == comparisons
