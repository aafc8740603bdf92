"""The configuration file: what it says counts; all that is wrong is told at once."""

import os
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from penstock.cli.config import reference
from penstock.config import PREFIX, load, load_settings, needs_restart, setting_value
from penstock.errors import SettingsError
from penstock.settings import Settings
from tests.authority import Authority

DEFAULTS = Settings(database_url="")


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


class File:
    """A configuration file, and what becomes of it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def settings(self, text: str) -> Settings:
        self.path.write_text(text)
        return load_settings("", {}, config_file=str(self.path))

    def problems(self, text: str) -> list[str]:
        self.path.write_text(text)
        with pytest.raises(SettingsError) as caught:
            load("", {}, config_file=str(self.path))
        return [
            line.replace(f"{self.path}:", "line ")
            for line in str(caught.value).splitlines()
        ]


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "penstock.toml")


@pytest.fixture
def secret(tmp_path: Path) -> str:
    path = tmp_path / "secret"
    path.write_text("the key\n")
    return str(path)


# --- what it says counts


def test_a_file_sets_what_it_names(file: File) -> None:
    settings = file.settings(
        '[ring]\nring_bytes = "128MiB"\nring_rows = 20_000\n'
        "[process]\nshutdown_timeout_seconds = 5\n"
        '[columns]\nhost_keys = ["a", "b.c"]\n'
        "[listen]\nheartbeats = false\n"
        '[http]\nhttp_host = "::1"\n'
    )
    assert settings.ring.ring_bytes == 128 * 1024**2
    assert settings.ring.ring_rows == 20_000
    assert settings.process.shutdown_timeout_seconds == 5.0
    assert settings.columns.host_keys == ("a", "b.c")
    assert settings.listen.heartbeats == "off"
    assert settings.http.http_host == "::1"
    assert settings.copy == DEFAULTS.copy


def test_an_empty_file_changes_nothing(file: File) -> None:
    assert file.settings("") == DEFAULTS


def test_listeners_users_and_networks_are_lists_of_tables(
    file: File, secret: str
) -> None:
    settings = file.settings(
        f'[security]\nshared_key_file = "{secret}"\n'
        '[[listeners]]\nhost = "::1"\nport = 24225\nhandshake = "off"\n'
        '[[listeners]]\npath = "/run/x.sock"\nmode = "0666"\n'
        f'[[users]]\nname = "a"\npassword_file = "{secret}"\n'
        '[[users]]\nname = "b"\npassword = "p"\n'
        '[[networks]]\ncidr = "10.0.0.0/8"\ntags = ["app.*"]\nusers = ["a"]\n'
    )
    first, second = settings.listen.listeners
    assert (first.host, first.port, first.handshake) == ("::1", 24225, "off")
    assert (second.path, second.mode) == ("/run/x.sock", "0666")
    assert settings.security.shared_key == "the key"
    assert [each.password for each in settings.security.users] == ["the key", "p"]
    (network,) = settings.security.networks
    assert network.tags == ("app.*",)


def test_the_command_line_goes_over_the_environment_and_that_over_the_file(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.path.write_text("[listen]\nport = 1\n")
    where = str(file.path)
    assert load_settings("", {}, config_file=where).listen.port == 1
    assert setting_value("port", config_file=where) == 1
    monkeypatch.setenv("PENSTOCK_PORT", "2")
    assert load_settings("", {}, config_file=where).listen.port == 2
    assert load_settings("", {"port": "3"}, config_file=where).listen.port == 3
    origins = load("", {"host": "::1"}, config_file=where).origins
    assert origins["port"] == "PENSTOCK_PORT"
    assert origins["host"] == "--host"
    assert origins["ring_bytes"] == "default"
    monkeypatch.delenv("PENSTOCK_PORT")
    assert load("", {}, config_file=where).origins["port"] == f"{where}:2"


def test_the_environment_names_the_file_too(
    file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.path.write_text("[listen]\nport = 7\n")
    monkeypatch.setenv("PENSTOCK_CONFIG", str(file.path))
    assert load_settings("", {}).listen.port == 7


def test_lists_of_tables_are_given_in_the_environment_and_by_flags_as_toml(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_SHARED_KEY_FILE", secret)
    monkeypatch.setenv("PENSTOCK_USERS", '[{name = "a", password = "p"}]')
    flags = {"networks": '[{cidr = "::1", users = ["a"]}]'}
    security = load_settings("", flags).security
    assert security.users[0].password == "p"
    assert security.networks[0].cidr == "::1"


def test_the_reference_has_every_setting_with_its_default(file: File) -> None:
    lines = list(reference())
    assert file.settings("\n".join(lines)) == DEFAULTS
    all_of_it = [re.sub(r"^#(\w+ = )", r"\1", line) for line in lines]
    all_of_it = [line for line in all_of_it if not line.startswith(("data", "#[["))]
    without_lists = "\n".join(all_of_it[: _first_list(lines)])
    assert file.settings(without_lists) == DEFAULTS
    for concern in ("listen", "ring", "columns", "http"):
        for each in fields(getattr(DEFAULTS, concern)):
            assert any(each.name in line for line in lines), each.name


def _first_list(lines: list[str]) -> int:
    return next(n for n, line in enumerate(lines) if line.startswith("#[[")) - 2


# --- what is wrong


def test_all_that_is_wrong_is_told_at_once_with_its_line(file: File) -> None:
    problems = file.problems(
        "prot = 1\n"
        "[ring]\n"
        'ring_bytes = "much"\n'
        "ring_row = 1\n"
        "port = 3\n"
        "[lisen]\n"
        "[listen]\n"
        'port = "24224"\n'
        "host = 3\n"
        "[process]\n"
        'log_level = "loud"\n'
        "[columns]\n"
        'host_keys = "a"\n'
        "[[listeners]]\n"
        'hots = "a"\n'
        "port = -1\n"
    )
    expected = [
        "line 1: prot is no setting; is port meant?",
        "line 3: ring_bytes is 'much', not a whole number",
        "line 4: ring_row is no setting in [ring]; is ring_rows meant?",
        "line 5: port is no setting in [ring]; it stands in [listen]",
        "line 6: lisen is no setting; is listen meant?",
        "line 8: port is a text, not a number",
        "line 9: host is 3, not a text",
        "line 11: log_level is loud; accepted: debug, info, warning, error",
        "line 13: host_keys is no list of texts",
        "line 14: listeners[0].hots is no setting; there are: host, port",
        "line 14: listeners[0].port is -1; accepted: 0 to 65,535",
    ]
    assert len(problems) == len(expected)
    for begin in expected:
        assert any(line.startswith(begin) for line in problems), (begin, problems)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = \n", "not TOML: Invalid value (at line 1, column 5)"),
        ("[a]\n[a]\n", "not TOML"),
        ("listen = 3\n", "line 1: listen is a table: write [listen]"),
        (
            '[[security.users]]\nname = "a"\n',
            "line 1: users stands at the top: write [[users]]",
        ),
        ("database_url = 3\n", "line 1: database_url is no text"),
        ("listeners = 3\n", "line 1: listeners is no list of tables"),
        ("[listen]\nport = true\n", "line 2: port is true, not a whole number"),
        ("[listen]\nport = 1.5\n", "line 2: port is 1.5, not a whole number"),
        ("[listen]\nport = [1]\n", "line 2: port is a list, not a whole number"),
        ('[listen]\nhost = ""\n', "line 2: host is empty"),
        ("[listen]\ntls = 1\n", "line 2: tls is 1, not a text"),
    ],
)
def test_a_mistake_is_one_clear_line(file: File, text: str, said: str) -> None:
    problems = file.problems(text)
    assert len(problems) == 1
    assert said in problems[0]


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(SettingsError, match=f"{path} cannot be read: "):
            load("", {}, config_file=str(path))
    (tmp_path / "latin").write_bytes(b"# \xe9")
    with pytest.raises(SettingsError, match="not encoded in UTF-8"):
        load("", {}, config_file=str(tmp_path / "latin"))


# --- secrets


@pytest.mark.parametrize("content", ["", "\n", "\r\n", " \n", "a\nb\n", "a" * 5000])
def test_a_file_without_a_secret_in_it_is_no_empty_key(
    file: File, tmp_path: Path, content: str
) -> None:
    (tmp_path / "k").write_text(content)
    problems = file.problems(f'[security]\nshared_key_file = "{tmp_path / "k"}"\n')
    assert len(problems) == 1
    assert problems[0].startswith("line 2: shared_key_file: ")


@pytest.mark.parametrize(
    ("content", "key"), [("k", "k"), ("k\n", "k"), ("k \r\n", "k ")]
)
def test_one_line_end_is_no_part_of_a_secret(
    file: File, tmp_path: Path, content: str, key: str
) -> None:
    (tmp_path / "k").write_bytes(content.encode())
    settings = file.settings(f'[security]\nshared_key_file = "{tmp_path / "k"}"\n')
    assert settings.security.shared_key == key


def test_a_secret_that_is_missing_or_given_twice_is_refused(
    file: File, secret: str
) -> None:
    assert (
        "cannot be read"
        in file.problems('[security]\nshared_key_file = "/nowhere"\n')[0]
    )
    both = f'[security]\nshared_key_file = "{secret}"\nshared_key = "x"\n'
    assert "both given" in file.problems(both)[0]
    user = f'[[users]]\nname="a"\npassword="p"\npassword_file="{secret}"\n'
    assert any("both given" in line for line in file.problems(user))


def test_a_secret_in_a_flag_is_refused(secret: str) -> None:
    flags = {"shared_key_file": secret, "users": '[{name="a", password="hunter2"}]'}
    with pytest.raises(SettingsError, match="is a secret") as caught:
        load_settings("", flags)
    assert "hunter2" not in str(caught.value)


def test_no_problem_tells_a_secret(file: File) -> None:
    told = file.problems('[security]\nshared_key = ["hunter2"]\nself_hostname = 1\n')
    assert len(told) == 2
    assert "hunter2" not in "".join(told)


def test_that_others_can_read_the_secrets_in_the_file_is_told(file: File) -> None:
    file.path.write_text('[security]\nshared_key = "x"\n')
    file.path.chmod(0o644)
    (warning,) = load("", {}, config_file=str(file.path)).warnings
    assert "everybody on the machine may read it" in warning
    file.path.chmod(0o640)
    assert load("", {}, config_file=str(file.path)).warnings == ()
    file.path.write_text("[listen]\nport = 1\n")
    file.path.chmod(0o644)
    assert load("", {}, config_file=str(file.path)).warnings == ()


def test_a_variable_that_is_no_setting_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RING_BYTE", "1")
    monkeypatch.setenv("PENSTOCK_DATABASE_URL", "postgresql:///x")
    for name in ("SERVICE_HOST", "PORT", "PORT_24224_TCP_ADDR", "WEB_SERVICE_PORT_X"):
        monkeypatch.setenv(f"PENSTOCK_{name}", "tcp://10.0.0.1:24224")
    assert load("", {}).warnings == (
        "PENSTOCK_RING_BYTE is in the environment and no setting",
    )


# --- what cannot be together


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[listen]\ntls = true\n", "tls_certificate_file is not set"),
        ('[listen]\nhandshake = "on"\n', "line 2: handshake: handshake is on, and"),
        (
            '[[listeners]]\nhost = "::1"\nhandshake = "on"\n',
            "line 1: listeners[0]: handshake is on, and there is no shared key",
        ),
        ('[[users]]\nname="a"\npassword="p"\n', "there is none; set shared_key_file"),
        ('[security]\nempty_shared_key = "on"\n', "on without users"),
        (
            '[security]\nempty_shared_key="on"\nshared_key="k"\n[[users]]\nname="a"',
            "is on, and there is a shared key",
        ),
        ("[[users]]\n[security]\nshared_key='k'\n", "users[0]: a user has a name"),
        ("[[users]]\nname='a'\n[security]\nshared_key='k'\n", "neither password nor"),
        ("[[networks]]\ncidr = '10.0.0.1/8'\n", "10.0.0.1/8 has host bits set"),
        ("[[networks]]\n", "networks[0]: cidr: "),
        ("[[networks]]\ncidr='::1'\nusers=['x']\n", "there is no user x"),
        ("[security]\nother_networks = 'deny'\n", "there are no networks"),
        ("[[listeners]]\n", "listeners[0]: a listener has either a host or a path"),
        ("[[listeners]]\nhost='a'\npath='/b'\n", "either a host or a path"),
        ("[[listeners]]\npath='b'\n", "does not begin with /"),
        ("[[listeners]]\npath='/b'\nmode='0888'\n", "mode is '0888'"),
        ("[[listeners]]\npath='/b'\nmode='7'\n", "mode is '7'"),
        (f"[[listeners]]\npath='/{'b' * 200}'\n", "longer than 107 bytes"),
        ("[[listeners]]\npath='/b'\ntls=true\n", "a Unix socket speaks no TLS"),
        ("[[listeners]]\nhost='127.0.0.1'\n", "127.0.0.1:24224 is listened on twice"),
        ("[[listeners]]\npath='/b'\n[[listeners]]\npath='/b'\n", "listened on twice"),
        ("[http]\nhttp_host = '0.0.0.0'\n", "line 2: http_host is 0.0.0.0, which"),
        ("[http]\nhttp_token = 'two words'\n", "line 2: http_token has a character"),
        ("[tls]\ntls_client_names = ['a']\n[listen]\ntls=true\n", "tls_certificate"),
        ("[tls]\ntls_certificate_file = '/nowhere'\n", "line 2: tls_certificate_file"),
    ],
)
def test_what_cannot_be_together_is_refused(file: File, text: str, said: str) -> None:
    problems = file.problems(text)
    assert any(said in line for line in problems), problems


def test_a_key_that_is_not_the_certificates_is_refused(
    file: File, tmp_path: Path
) -> None:
    authority = Authority()
    for name in ("one", "two"):
        authority.issue("localhost", dns=["localhost"]).write(tmp_path, name)
    text = (
        "[listen]\ntls = true\n[tls]\n"
        f'tls_certificate_file = "{tmp_path}/one.pem"\n'
        f'tls_key_file = "{tmp_path}/NAME.key"\n'
    )
    assert file.settings(text.replace("NAME", "one")).listen.tls == "on"
    (problem,) = file.problems(text.replace("NAME", "two"))
    assert problem.startswith("line 5: tls_key_file: the key in ")


# --- what a reload can do


def test_what_a_reload_cannot_change_is_named() -> None:
    new: Any = replace(
        DEFAULTS,
        listen=replace(DEFAULTS.listen, port=1),
        security=replace(DEFAULTS.security, shared_key="k"),
        process=replace(DEFAULTS.process, log_level="debug", log_format="json"),
        ring=replace(DEFAULTS.ring, ring_bytes=5 * 1024**2),
    )
    assert needs_restart(DEFAULTS, new) == ("ring_bytes", "log_format")
    assert needs_restart(DEFAULTS, DEFAULTS) == ()
