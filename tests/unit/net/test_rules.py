"""Who may send from where: the first network that fits, and never for want of a key."""

import itertools

import pytest

from penstock.errors import SettingsError
from penstock.net.rules import Access, Rules, allows_tag
from penstock.settings import Listener, ListenSettings, SecuritySettings
from penstock.settings.receive import NetworkRule, User
from penstock.wire.handshake import Challenge, Ping, check_ping, key_digest
from penstock.wire.handshake import password_digest as digest_of

CHALLENGE = Challenge(b"N" * 16, b"S" * 16)
ALICE = User(name="alice", password="pass-a")
BOB = User(name="bob", password="pass-b")
OUTSIDE = "192.0.2.1"
UNIX = Listener(path="/run/penstock.sock")


def gets_in(access: Access, key: str, user: str = "", password: str = "") -> bool:
    """Tell whether a client with these secrets gets in."""
    ping = Ping(
        b"client",
        b"salt",
        key_digest(b"salt", b"client", CHALLENGE.nonce, key.encode()),
        user.encode(),
        digest_of(CHALLENGE.auth, user.encode(), password.encode()),
    )
    if access.is_denied:
        return False
    return check_ping(ping, CHALLENGE, access.credentials) is None


# --- networks


def test_the_first_network_that_fits_counts() -> None:
    rules = Rules(
        SecuritySettings(
            shared_key="common",
            networks=(
                NetworkRule(cidr="10.1.2.3", shared_key="one"),
                NetworkRule(cidr="10.1.0.0/16", shared_key="two"),
                NetworkRule(cidr="10.1.2.0/24", shared_key="never"),
                NetworkRule(cidr="fd00::/8", shared_key="six"),
            ),
        )
    )
    for address, key in (
        ("10.1.2.3", "one"),
        ("10.1.2.4", "two"),
        ("::ffff:10.1.2.4", "two"),
        ("fd12::1", "six"),
        ("fd12::1%eth0", "six"),
        ("10.2.0.1", "common"),
        (OUTSIDE, "common"),
        ("unix", "common"),
        ("unknown", "common"),
    ):
        keys = ("common", "one", "two", "never", "six", "")
        access = rules.access_of(address)
        assert [each for each in keys if gets_in(access, each)] == [key], address


def test_a_network_of_mapped_addresses_is_one_of_ipv4() -> None:
    rule = NetworkRule(cidr="::ffff:10.1.0.0/112", shared_key="mapped")
    rules = Rules(SecuritySettings(networks=(rule,)))
    assert gets_in(rules.access_of("10.1.2.3"), "mapped")
    assert gets_in(rules.access_of("::ffff:10.1.2.3"), "mapped")
    assert not gets_in(rules.access_of("10.2.2.3"), "mapped")


def test_a_network_without_a_key_of_its_own_has_the_common_one() -> None:
    rule = NetworkRule(cidr="10.0.0.0/8", tags=("app.*",))
    rules = Rules(SecuritySettings(shared_key="common", networks=(rule,)))
    access = rules.access_of("10.0.0.1")
    assert gets_in(access, "common")
    assert access.tags == ("app.*",)
    assert rules.access_of(OUTSIDE).tags == ()


def test_others_can_be_denied_but_not_who_has_come_by_the_file_system() -> None:
    rule = NetworkRule(cidr="10.0.0.0/8")
    rules = Rules(
        SecuritySettings(shared_key="common", networks=(rule,), other_networks="deny")
    )
    assert not rules.access_of("10.0.0.1").is_denied
    assert not rules.access_of("::ffff:10.0.0.1").is_denied
    assert not rules.access_of("unix").is_denied
    for address in (OUTSIDE, "::1", "unknown", "", "10.0.0.1.example.org"):
        assert rules.access_of(address).is_denied, address


def test_deny_without_networks_denies_all() -> None:
    rules = Rules(SecuritySettings(shared_key="common", other_networks="deny"))
    assert rules.access_of("127.0.0.1").is_denied


@pytest.mark.parametrize("cidr", ["", "10.0.0.0/33", "10.0.0.1/8", "example.org"])
def test_a_network_that_is_none_is_refused(cidr: str) -> None:
    with pytest.raises(SettingsError, match="network"):
        Rules(SecuritySettings(networks=(NetworkRule(cidr=cidr),)))


# --- users


def test_users_are_asked_for_where_there_are_some() -> None:
    rules = Rules(SecuritySettings(shared_key="common", users=(ALICE, BOB)))
    access = rules.access_of(OUTSIDE)
    assert gets_in(access, "common", "alice", "pass-a")
    assert not gets_in(access, "common", "alice", "pass-b")
    assert not gets_in(access, "common")
    assert not gets_in(access, "", "alice", "pass-a")


def test_a_network_may_be_some_users_only() -> None:
    rule = NetworkRule(cidr="10.0.0.0/8", users=("bob",))
    rules = Rules(
        SecuritySettings(shared_key="common", users=(ALICE, BOB), networks=(rule,))
    )
    assert gets_in(rules.access_of("10.0.0.1"), "common", "bob", "pass-b")
    assert not gets_in(rules.access_of("10.0.0.1"), "common", "alice", "pass-a")
    assert gets_in(rules.access_of(OUTSIDE), "common", "alice", "pass-a")


def test_a_network_of_users_that_are_not_there_lets_nobody_in() -> None:
    rule = NetworkRule(cidr="10.0.0.0/8", users=("carol",))
    rules = Rules(SecuritySettings(shared_key="common", networks=(rule,)))
    for user, password in (("carol", ""), ("", ""), ("carol", "common")):
        assert not gets_in(rules.access_of("10.0.0.1"), "common", user, password)


def test_a_name_may_have_two_passwords() -> None:
    again = User(name="alice", password="new")
    rules = Rules(SecuritySettings(shared_key="common", users=(ALICE, again)))
    for password in ("pass-a", "new"):
        assert gets_in(rules.access_of(OUTSIDE), "common", "alice", password)


@pytest.mark.parametrize(
    "settings",
    [
        SecuritySettings(shared_key_file="key"),
        SecuritySettings(networks=(NetworkRule(cidr="::/0", shared_key_file="key"),)),
        SecuritySettings(users=(User(name="alice", password_file="key"),)),
        SecuritySettings(users=(User(name="alice"),)),
        SecuritySettings(users=(User(password="pass"),)),
    ],
)
def test_what_should_be_a_secret_and_is_empty_is_refused(
    settings: SecuritySettings,
) -> None:
    """A key file that holds only a line end must not open the listener."""
    with pytest.raises(SettingsError):
        Rules(settings)


# --- no key is no way in


def test_no_combination_lets_in_who_proves_nothing() -> None:
    """Where the handshake is asked for, no key configured never means: let in."""
    for empty, users, network_users, other_networks, address in itertools.product(
        ("off", "on"),
        ((), (ALICE,)),
        (None, (), ("alice",), ("nobody",)),
        ("allow", "deny"),
        ("10.0.0.1", OUTSIDE, "unix", "unknown"),
    ):
        networks = (
            ()
            if network_users is None
            else (NetworkRule(cidr="10.0.0.0/8", users=network_users),)
        )
        settings = SecuritySettings(
            empty_shared_key=empty,
            users=users,
            networks=networks,
            other_networks=other_networks,
        )
        access = Rules(settings).access_of(address)
        assert not gets_in(access, ""), settings
        assert not gets_in(access, "", "nobody", ""), settings
        assert not gets_in(access, "None"), settings
        if empty == "off":
            assert not gets_in(access, "", "alice", "pass-a"), settings


def test_h13_with_the_empty_key_a_user_gets_in() -> None:
    rules = Rules(SecuritySettings(empty_shared_key="on", users=(ALICE,)))
    assert gets_in(rules.access_of(OUTSIDE), "", "alice", "pass-a")
    assert not gets_in(rules.access_of(OUTSIDE), "", "alice", "pass-b")
    assert not gets_in(rules.access_of(OUTSIDE), "")


def test_a_key_is_not_made_empty_by_allowing_the_empty_one() -> None:
    settings = SecuritySettings(
        empty_shared_key="on", shared_key="common", users=(ALICE,)
    )
    assert not gets_in(Rules(settings).access_of(OUTSIDE), "", "alice", "pass-a")


# --- which listeners ask

KEY_OF_A_NETWORK = NetworkRule(cidr="10.0.0.0/8", shared_key="one")
USER_OF_A_NETWORK = NetworkRule(cidr="10.0.0.0/8", users=("alice",))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (SecuritySettings(), False),
        (SecuritySettings(networks=(NetworkRule(cidr="::/0"),)), False),
        (SecuritySettings(other_networks="deny"), False),
        (SecuritySettings(shared_key="common"), True),
        (SecuritySettings(users=(ALICE,)), True),
        (SecuritySettings(networks=(KEY_OF_A_NETWORK,)), True),
        (SecuritySettings(networks=(USER_OF_A_NETWORK,)), True),
        (SecuritySettings(empty_shared_key="on"), True),
    ],
)
def test_a_listener_asks_as_soon_as_there_is_something_to_ask_for(
    settings: SecuritySettings, expected: bool
) -> None:
    rules = Rules(settings)
    assert rules.requires_handshake(ListenSettings()) is expected
    assert rules.requires_handshake(Listener(host="::1")) is expected
    assert not rules.requires_handshake(UNIX)


def test_a_listener_may_be_told_to_ask_or_not() -> None:
    rules = Rules(SecuritySettings())
    assert rules.requires_handshake(ListenSettings(handshake="on"))
    assert rules.requires_handshake(Listener(path="/s", handshake="on"))
    rules = Rules(SecuritySettings(shared_key="common"))
    assert not rules.requires_handshake(ListenSettings(handshake="off"))
    assert not rules.requires_handshake(Listener(host="::1", handshake="off"))


# --- tags


@pytest.mark.parametrize(
    ("patterns", "tag", "expected"),
    [
        ((), "anything", True),
        (("app",), "app", True),
        (("app",), "app.web", False),
        (("app.*",), "app.web", True),
        (("app.*",), "app.", True),
        (("app.*",), "app", False),
        (("app.*",), "apps.web", False),
        (("*",), "", True),
        (("**",), "", True),
        (("*.web",), "app.web", True),
        (("*.web",), "app.webs", False),
        (("a*b*c",), "a1b2c", True),
        (("a*b*c",), "abc", True),
        (("a*b*c",), "ac", False),
        (("ab*ba",), "aba", False),
        (("a*a*a",), "aa", False),
        (("a?c", "[a]", "a."), "abc", False),
        (("one", "two"), "two", True),
        (("",), "", True),
        (("",), "a", False),
        (("*\n*",), "a\nb", True),
    ],
)
def test_a_pattern_says_which_tags(
    patterns: tuple[str, ...], tag: str, expected: bool
) -> None:
    assert allows_tag(patterns, tag) is expected


def test_a_tag_made_to_be_slow_is_not() -> None:
    patterns = ("*a" * 100 + "*b",)
    assert not allows_tag(patterns, "a" * 100_000)


# --- our name


def test_our_own_name_is_not_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Fluentd on the same machine is often called as that."""
    monkeypatch.setattr("socket.gethostname", lambda: "localhost")
    assert Rules(SecuritySettings()).self_hostname == "penstock.localhost"
    monkeypatch.setattr("socket.gethostname", lambda: "")
    assert Rules(SecuritySettings()).self_hostname == "penstock.server"
    configured = SecuritySettings(self_hostname="logs.example.org")
    assert Rules(configured).self_hostname == "logs.example.org"


def test_our_name_fits_into_what_a_client_reads_at_once() -> None:
    with pytest.raises(SettingsError, match="self_hostname"):
        Rules(SecuritySettings(self_hostname="x" * 256))


def test_no_repr_has_a_secret() -> None:
    rules = Rules(SecuritySettings(shared_key="common", users=(ALICE,)))
    assert "common" not in repr(rules) + repr(rules.access_of(OUTSIDE))
