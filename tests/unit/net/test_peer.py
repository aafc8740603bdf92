"""A sender's name: no two peers share one, and no text of a peer does harm."""

import itertools

import pytest

from penstock.net.peer import MAX_NAME_BYTES, Peer, clean_name, normal_address

NAMES = (
    "",
    "a",
    "a@10.0.0.1",
    "a+client:b",
    "b@10.0.0.1+user:a",
    "user:a",
    "%40",
    "@",
    "+",
)


def test_an_address_alone_is_the_name() -> None:
    assert Peer(address="10.0.0.1").sender == "10.0.0.1"


def test_all_that_is_known_is_in_the_name() -> None:
    peer = Peer(
        address="10.0.0.1",
        certificate_name="web",
        user="alice",
        client_hostname="host-1",
    )
    assert peer.sender == "certificate:web+user:alice+client:host-1@10.0.0.1"


def test_no_two_peers_have_one_name() -> None:
    """Whatever a name has in it: it cannot be made another kind's, nor another's."""
    peers = [
        Peer(address=address, certificate_name=one, user=two, client_hostname=three)
        for address in ("10.0.0.1", "10.0.0.2", "::1", "unix", "unknown")
        for one, two, three in itertools.product(NAMES, repeat=3)
    ]
    assert len({peer.sender for peer in peers}) == len(peers)


def test_the_tags_that_a_sender_may_send_are_not_part_of_its_name() -> None:
    one, other = (Peer(address="unix", tags=tags) for tags in ((), ("app.*",)))
    assert one.sender == other.sender


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (b"web-1.example.org", "web-1.example.org"),
        ("Zoë 日本".encode(), "Zoë 日本"),
        (b"nul\0", "nul\\x00"),
        (b"line\nend\r", "line\\nend\\r"),
        (b"\x1b[31mred", "\\x1b[31mred"),
        ("\u202eright to left".encode(), "\\u202eright to left"),
        (b"no utf-8 \xff", "no utf-8 \\udcff"),
        (b"back\\slash", "back\\\\slash"),
    ],
)
def test_a_name_becomes_printable_text(raw: bytes, clean: str) -> None:
    assert clean_name(raw) == clean
    assert clean.encode().decode().isprintable()


def test_two_names_stay_two() -> None:
    raws = [b"\0", b"\\x00", b"\xff", b"\\udcff", b"\\", b"\\\\", b"\n", b"\\n"]
    long = [b"x" * 300, b"x" * 301, b"x" * 300 + b"y", b"\0" * 300]
    cleaned = {clean_name(raw) for raw in raws + long}
    assert len(cleaned) == len(raws + long)
    assert max(len(name.encode()) for name in cleaned) <= MAX_NAME_BYTES


@pytest.mark.parametrize("character", ["é", "日", "😀", "\0"])
def test_a_name_is_cut_between_characters(character: str) -> None:
    name = clean_name((character * 4000).encode())
    assert MAX_NAME_BYTES - 10 < len(name.encode()) <= MAX_NAME_BYTES


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("::ffff:a00:1", "10.0.0.1"),
        ("FE80::0:1", "fe80::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("unix", "unix"),
        ("unknown", "unknown"),
    ],
)
def test_an_ipv4_address_is_known_as_such(host: str, address: str) -> None:
    assert normal_address(host) == address
