"""The configuration file: what it may hold, and what is told of what it may not."""

from collections.abc import Callable
from pathlib import Path

import pytest

from penstock import config
from penstock.errors import SettingsError
from penstock.settings import Listener, NetworkRule, User
from tests.unit.config.conftest import Problems

Load = Callable[..., config.Configuration]

HOST_BITS = "has host bits set; is 10.0.0.0/8 meant?"
WHOLE = "not a whole number; accepted:"
KEYS = "cidr, shared_key, shared_key_file, users, tags"
USERS = """\
[security]
empty_shared_key = true
[[users]]
name = "a"
password = "hush"
"""


def test_a_file_sets_what_it_says_and_nothing_else(load: Load) -> None:
    loaded = load(
        """\
database_url = "postgresql://db/logs"
data_dir = "/srv/penstock"
[ring]
ring_bytes = "8MiB"
ring_rows = 20_000
[listen]
heartbeats = false
[process]
shutdown_timeout_seconds = 5
[columns]
host_keys = ["a", "b,c"]
[[listeners]]
path = "/run/penstock.sock"
[[users]]
name = "web"
password = "hush"
[[networks]]
cidr = "10.0.0.0/8"
shared_key = "more"
users = ["web"]
"""
    )
    settings = loaded.settings
    assert settings.database_url == "postgresql://db/logs"
    assert loaded.data_dir == Path("/srv/penstock")
    assert settings.ring.ring_bytes == 8 * 1024 * 1024
    assert settings.ring.ring_rows == 20_000
    assert settings.listen.heartbeats == "off"
    assert settings.process.shutdown_timeout_seconds == 5.0
    assert settings.columns.host_keys == ("a", "b,c")
    assert settings.listen.listeners == (Listener(path="/run/penstock.sock"),)
    assert settings.security.users == (User(name="web", password="hush"),)
    assert settings.security.networks == (
        NetworkRule(cidr="10.0.0.0/8", shared_key="more", users=("web",)),
    )
    assert settings.limits == type(settings.limits)()
    assert loaded.origins["ring_rows"] == "penstock.toml:5"
    assert loaded.warnings == ()


def test_a_file_can_be_read_again(load: Load) -> None:
    assert load("[listen]\nport = 1").settings.listen.port == 1
    assert load("[listen]\nport = 2").settings.listen.port == 2


def test_all_that_is_wrong_is_told_at_once_by_its_line(problems: Problems) -> None:
    told = problems(
        """\
listners = 1
[listen]
prot = 3
port = 99999
ring_bytes = "8MiB"
listeners = []
[ring]
ring_rows = "many"
[[networks]]
cidr = "10.1.2.3/8"
user = []
""",
        {"writers": "none"},
    )
    assert told == [
        "--writers is 'none', not a whole number; accepted: 1 to 32",
        "penstock.toml:1: listners is no setting; is listeners meant?",
        "penstock.toml:3: prot is no setting in [listen]; is port meant?",
        "penstock.toml:4: port is 99999; accepted: 0 to 65,535",
        "penstock.toml:5: ring_bytes is no setting in [listen]; it stands in [ring]",
        "penstock.toml:6: listeners stands at the top: write [[listeners]]",
        f"penstock.toml:8: ring_rows is 'many', {WHOLE} 10,000 or more",
        f"penstock.toml:10: networks[0].cidr: 10.1.2.3/8 {HOST_BITS}",
        f"penstock.toml:11: networks[0].user is no setting; there are: {KEYS}",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[ring]\nring_rows = 1.5", ":2: ring_rows is 1.5, not a whole number"),
        ("[ring]\nring_rows = true", ":2: ring_rows is true, not a whole number"),
        ("[ring]\nring_rows = [1]", ":2: ring_rows is a list, not a whole number"),
        ("[ring]\nring_bytes = '8MB'", ":2: ring_bytes is '8MB', not a whole number"),
        ("[listen]\nhost = 1", ":2: host is 1, not a text; in quotes"),
        ("[listen]\nhost = ''", ":2: host is empty; leave it out for 127.0.0.1"),
        ("[listen]\ntls = 1", ":2: tls is 1, not a text; accepted: off, on"),
        ("[listen]\ntls = 'yes'", ":2: tls is yes; accepted: off, on"),
        ("[tls]\ntls_min_version = 1.2", ":2: tls_min_version is 1.2, not a text"),
        ("[columns]\nhost_keys = 'a'", ":2: host_keys is 'a', not a list of texts"),
        ("[process]\nshutdown_timeout_seconds = nan", "is nan, not a number"),
        ("[process]\nshutdown_timeout_seconds = inf", "is inf, not a number"),
        (f"[process]\nshutdown_timeout_seconds = 1{'0' * 400}", "not a number"),
        (f"[ring]\nring_rows = 1{'0' * 5000}", "not TOML"),
        ("listen = 1", ":1: listen is a table: write [listen]"),
        ("[[listen]]\nport = 1", ":1: listen is a table: write [listen]"),
        ("users = 'a:hush'", ":1: users is not a list of tables"),
        ("[users]\nname = 'a'", ":1: users is not a list of tables"),
        ("database_url = ''", ":1: database_url is no text, or an empty one"),
        ("[listen\n", ":1: not TOML: "),
        ("a = 1\na = 2\n", ":2: not TOML: Cannot overwrite a value, column"),
        ("x = " + "[" * 100_000, "not TOML"),
        ("\xff", "penstock.toml"),
    ],
)
def test_what_is_no_value_is_told_with_its_line(
    problems: Problems, text: str, told: str
) -> None:
    (problem,) = problems(text)
    assert told in problem
    assert "hush" not in problem


def test_a_file_that_cannot_be_read_is_an_error(file: Path, tmp_path: Path) -> None:
    for name, told in (
        ("nowhere.toml", "nowhere.toml cannot be read: no such file"),
        (str(tmp_path), "cannot be read: is a directory"),
        ("", "--config is empty"),
    ):
        with pytest.raises(SettingsError, match=told):
            config.load({"config": name})
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="not encoded in UTF-8"):
        config.load({"config": "penstock.toml"})
    file.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(SettingsError, match="larger than"):
        config.load({"config": "penstock.toml"})


@pytest.mark.parametrize(
    ("text", "mode", "is_warned"),
    [
        ("[security]\nshared_key = 'hush'", 0o644, True),
        ("[security]\nshared_key = 'hush'", 0o640, False),
        ("[security]\nshared_key = 'hush'", 0o600, False),
        (USERS, 0o644, True),
        ("[[networks]]\ncidr='::1'\nshared_key='hush'", 0o644, True),
        ("database_url = 'postgresql://me:hush@db/logs'", 0o644, True),
        ("database_url = 'postgresql://db/logs?password=hush'", 0o644, True),
        ("database_url = 'postgresql://me@db:5432/logs'", 0o644, False),
        ("[ring]\nring_rows = 20000", 0o644, False),
    ],
)
def test_secrets_that_everybody_can_read_are_warned_of(
    load: Load, file: Path, text: str, mode: int, is_warned: bool
) -> None:
    file.chmod(mode)
    warnings = load(text).warnings
    assert bool(warnings) == is_warned
    assert "hush" not in str(warnings)


def test_where_the_database_is_can_stand_in_the_file(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("database_url = 'postgresql://a/b'\ndata_dir = '/there'")
    assert config.database_url(None, "penstock.toml") == "postgresql://a/b"
    other = config.database_url("postgresql://c/d", "penstock.toml")
    assert other == "postgresql://c/d"
    monkeypatch.setenv("PENSTOCK_CONFIG", "penstock.toml")
    assert config.data_dir(None) == Path("/there")
    monkeypatch.setenv("PENSTOCK_DATA_DIR", "/elsewhere")
    assert config.data_dir(None) == Path("/elsewhere")


def test_a_mistake_in_the_file_does_not_lead_to_another_database(file: Path) -> None:
    for text in ("database_ulr = 'postgresql://a/b'", "database_url = 1"):
        file.write_text(text)
        with pytest.raises(SettingsError, match=r"penstock\.toml:1: "):
            config.database_url(None, "penstock.toml")


def test_a_command_that_needs_few_settings_need_not_read_the_keys(file: Path) -> None:
    file.write_text("[security]\nshared_key_file = '/nowhere'\n[ring]\nring_rows = 1")
    with pytest.raises(SettingsError):
        config.load_settings("", {"config": "penstock.toml"})
    some = config.load_settings("", {"config": "penstock.toml"}, ("partitions",))
    assert some.partitions.partition_past_days == 30


def test_the_file_stays_as_good_as_the_example(load: Load) -> None:
    page = (Path(__file__).parents[3] / "docs" / "settings.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    assert "[[listeners]]" in example
    loaded = load(example)
    assert loaded.warnings == ()
    assert loaded.settings.listen.listeners
