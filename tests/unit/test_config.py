"""Settings from flags, environment, defaults: what is given counts or is refused."""

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from penstock.config import (
    CONCERNS,
    PREFIX,
    all_settings,
    data_dir,
    database_url,
    environment_name,
    flag_name,
    load,
    load_settings,
    setting_value,
)
from penstock.config.writing import toml_value
from penstock.errors import SettingsError
from penstock.settings import (
    Accepted,
    HttpSettings,
    Listener,
    NetworkRule,
    SecuritySettings,
    Settings,
    User,
)

ALL = [(name, each.default, accepted) for name, each, accepted in all_settings()]
NUMBERS = [
    (name, default, accepted)
    for name, default, accepted in ALL
    if isinstance(default, int | float)
]
MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def no_settings_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the environment of whoever runs the tests out of them."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


def value(settings: Settings, name: str) -> Any:
    for concern in CONCERNS:
        if hasattr(getattr(settings, concern), name):
            return getattr(getattr(settings, concern), name)
    raise KeyError(name)


def refused(flags: dict[str, str | None]) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings("", flags)
    assert caught.value.exit_code == 2
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- every setting


@pytest.mark.parametrize(("name", "default", "accepted"), ALL, ids=[a[0] for a in ALL])
def test_every_setting_is_explained_and_has_a_default_in_its_range(
    name: str, default: Any, accepted: Accepted
) -> None:
    help_text = accepted.help_text
    assert len(help_text) > 10
    assert help_text[0].isupper() and help_text.endswith(".")
    accepted.check(name, default)
    assert accepted.in_words()


def test_every_number_has_a_least_value() -> None:
    for name, _, accepted in NUMBERS:
        assert accepted.low is not None, name


def test_names_say_the_unit() -> None:
    counts = {"port", "rows", "writers", "hours", "days", "connections", "ratio"}
    counts |= {"entries", "keys", "sessions", "repairs", "tokens", "day", "jobs"}
    counts |= {"daily", "weekly", "monthly"}  # of days, weeks, months
    for name, default, _ in NUMBERS:
        assert {"bytes", "seconds", *counts} & set(name.split("_")), name
        if isinstance(default, float):
            assert name.endswith(("_seconds", "_per_day")), name


def test_no_two_settings_have_one_name() -> None:
    names = [name for name, _, _ in ALL]
    assert len(set(names)) == len(names)


def test_every_concern_is_handed_out() -> None:
    assert {each.name for each in fields(Settings)} == {"database_url", *CONCERNS}


def test_a_secret_is_a_guard_and_so_is_its_file() -> None:
    """An empty one lets everybody in, so it is never taken for one."""
    kinds = [*CONCERNS.values(), User, NetworkRule]
    secrets = 0
    for kind in kinds:
        accepted = {each.name: each.metadata["is"] for each in fields(kind)}
        for name in [name for name, each in accepted.items() if each.secret]:
            if name.endswith(("_database_url", "_api_key")):  # which let nobody in
                continue
            assert accepted[name].is_guard, name
            assert accepted[f"{name}_file"].is_guard, name
            secrets += 1
    assert secrets == 7


def test_a_secret_is_in_no_representation() -> None:
    said = repr(
        Settings(
            database_url="postgresql://me:hush@db/logs",
            security=SecuritySettings(
                shared_key="hush",
                users=(User(name="web", password="hush"),),
                networks=(NetworkRule(cidr="::1", shared_key="hush"),),
            ),
            http=HttpSettings(http_token="hush"),
        )
    )
    assert "web" in said
    assert "hush" not in said


def test_names_of_flag_and_variable() -> None:
    assert flag_name("ring_bytes") == "--ring-bytes"
    assert environment_name("ring_bytes") == "PENSTOCK_RING_BYTES"


def test_without_anything_given_the_defaults_are_taken() -> None:
    settings = load_settings("postgresql://db/logs", {})
    assert settings == Settings(database_url="postgresql://db/logs")
    for name, default, _ in ALL:
        assert value(settings, name) == default


def test_nothing_is_listened_to_but_loopback_unless_said_otherwise() -> None:
    settings = load_settings("", {})
    assert settings.listen.host == settings.http.http_host == "127.0.0.1"
    assert (settings.listen.port, settings.http.http_port) == (24224, 8000)


# --- what is given


OTHERS = {
    int: lambda accepted: str(int(accepted.low) + 3),
    float: lambda accepted: str(accepted.low + 0.5),
    str: lambda accepted: "0.0.0.0",
    tuple: lambda accepted: "some.key, another",
}
TABLES: dict[str, tuple[str, Any]] = {
    "listeners": ('[{path = "/run/penstock"}]', (Listener(path="/run/penstock"),)),
    "users": (
        '[{name = "web", password = "hush"}]',
        (User(name="web", password="hush"),),
    ),
    "networks": (
        '[{cidr = "10.0.0.0/8", tags = ["app.*", "sys"]}]',
        (NetworkRule(cidr="10.0.0.0/8", tags=("app.*", "sys")),),
    ),
}


def another(name: str, default: Any, accepted: Accepted) -> tuple[str, Any]:
    """A value that is not the default: as text, and as it is read."""
    if name in TABLES:
        return TABLES[name]
    if accepted.choices:
        text = next(each for each in accepted.choices if each != default)
        return text, text
    if accepted.is_number_or_auto:
        return "3", 3
    text = OTHERS[type(default)](accepted)
    if text == str(default):
        text += "1"
    if isinstance(default, tuple):
        return text, ("some.key", "another")
    return text, type(default)(text)


@pytest.mark.parametrize(("name", "default", "accepted"), ALL, ids=[a[0] for a in ALL])
def test_flags_go_over_the_environment_and_that_over_the_default(
    name: str, default: Any, accepted: Accepted, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, expected = another(name, default, accepted)
    assert expected != default
    monkeypatch.setenv(environment_name(name), other)
    assert setting_value(name) == expected
    assert setting_value(name, None) == expected
    if accepted.secret:
        return  # it has no flag
    if not accepted.is_guard or accepted.choices:  # such cannot be given as nothing
        as_flag = ",".join(default) if isinstance(default, tuple) else str(default)
        if accepted.table is not None:
            as_flag = "[]"
        assert setting_value(name, as_flag) == default
    monkeypatch.delenv(environment_name(name))
    if name != "users":  # whose passwords may stand in no flag
        assert setting_value(name, other) == expected


@pytest.mark.parametrize(("name", "default", "accepted"), ALL, ids=[a[0] for a in ALL])
def test_the_file_goes_over_the_default_and_the_environment_over_the_file(
    name: str,
    default: Any,
    accepted: Accepted,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    other, expected = another(name, default, accepted)
    concern = next(c for c, kind in CONCERNS.items() if hasattr(kind, name))
    as_toml = TABLES[name][0] if name in TABLES else toml_value(expected)
    head = "" if name in TABLES else f"[{concern}]\n"
    file = tmp_path / "penstock.toml"
    file.write_text(f"{head}{name} = {as_toml}\n")
    assert setting_value(name, config_file=str(file)) == expected
    monkeypatch.setenv("PENSTOCK_CONFIG", str(file))
    assert setting_value(name) == expected
    file.write_text(f"{head}{name} = {as_toml.replace('web', 'not-this-one')}\n")
    monkeypatch.setenv(environment_name(name), other)
    assert setting_value(name) == expected


def test_one_setting_alone_is_found_the_same_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert setting_value("port") == 24224
    monkeypatch.setenv("PENSTOCK_PORT", "24225")
    assert setting_value("port") == 24225
    assert setting_value("port", "24226") == 24226
    with pytest.raises(SettingsError, match="--port"):
        setting_value("port", "x")
    with pytest.raises(KeyError):
        setting_value("nothing")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8388608", 8 * MIB),
        ("8_388_608", 8 * MIB),
        (" 8388608 ", 8 * MIB),
        ("8192KiB", 8 * MIB),
        ("8MiB", 8 * MIB),
        ("8 MiB", 8 * MIB),
        ("2GiB", 2048 * MIB),
    ],
)
def test_bytes_are_given_in_units_of_1024(text: str, expected: int) -> None:
    assert load_settings("", {"ring_bytes": text}).ring.ring_bytes == expected


@pytest.mark.parametrize(
    ("name", "text"), [("port", "1KiB"), ("shutdown_timeout_seconds", "0.001KiB")]
)
def test_what_is_no_bytes_takes_no_unit_of_bytes(name: str, text: str) -> None:
    assert flag_name(name) in refused({name: text})


def test_keys_are_a_list_separated_by_commas() -> None:
    columns = load_settings("", {"host_keys": "a, b.c ,,d"}).columns
    assert columns.host_keys == ("a", "b.c", "d")
    assert load_settings("", {"host_keys": ""}).columns.host_keys == ()


# --- what is refused


@pytest.mark.parametrize(
    ("name", "default", "accepted"), NUMBERS, ids=[number[0] for number in NUMBERS]
)
def test_a_number_out_of_range_is_refused_with_the_range(
    name: str, default: Any, accepted: Accepted, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert accepted.low is not None
    wrong = [str(type(default)(accepted.low - 1))]
    if accepted.high is not None:
        wrong.append(str(type(default)(accepted.high + 1)))
    for text in wrong:
        message = refused({name: text})
        assert message.startswith(f"{flag_name(name)} is {text}")
        assert f"accepted: {accepted.low:,}" in message
        if accepted.high is not None:
            assert f"{accepted.high:,}" in message
        monkeypatch.setenv(environment_name(name), text)
        message = refused({})
        assert message.startswith(f"{environment_name(name)} is {text}")
        monkeypatch.delenv(environment_name(name))


@pytest.mark.parametrize(
    ("name", "default", "accepted"), NUMBERS, ids=[number[0] for number in NUMBERS]
)
def test_both_ends_of_the_range_are_taken(
    name: str, default: Any, accepted: Accepted
) -> None:
    for end in (accepted.low, accepted.high):
        if end is not None:
            assert setting_value(name, str(end)) == end


@pytest.mark.parametrize(
    "text", ["x", "8MB", "8 mib", "1e6", "0x10", "--", "8MiB8", "nan", "inf", "1.5"]
)
def test_what_is_no_whole_number_is_refused_by_its_name(text: str) -> None:
    message = refused({"ring_bytes": text})
    assert message.startswith("--ring-bytes is ")
    assert text in message
    assert "accepted: 8,388,608 to 68,719,476,736" in message


@pytest.mark.parametrize("text", ["x", "nan", "inf", "-inf", "-1", "1h", "NaN"])
def test_what_is_no_number_of_seconds_is_refused_by_its_name(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--shutdown-timeout-seconds" in refused({"shutdown_timeout_seconds": text})
    monkeypatch.setenv("PENSTOCK_SHUTDOWN_TIMEOUT_SECONDS", text)
    assert "PENSTOCK_SHUTDOWN_TIMEOUT_SECONDS" in refused({})


@pytest.mark.parametrize("name", ["log_format", "log_level"])
def test_a_word_that_is_no_choice_is_refused_with_the_choices(name: str) -> None:
    message = refused({name: "loud"})
    accepted = next(accepted for each, _, accepted in ALL if each == name)
    assert message == f"{flag_name(name)} is loud; accepted: " + ", ".join(
        accepted.choices
    )


def test_the_flag_is_named_where_the_variable_is_wrong_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PENSTOCK_PORT", "y")
    assert "--port" in refused({"port": "x"})
    assert "PENSTOCK_PORT" in refused({})
    assert load_settings("", {"port": "1"}).listen.port == 1, "it is not looked at"


# --- what an environment has that is not meant for us


@pytest.mark.parametrize(
    "text", ["tcp://10.0.0.1:24224", "tcp://[fd00::1]:24224", "udp://10.0.0.1:24224"]
)
def test_what_kubernetes_sets_beside_a_service_called_penstock_is_ignored(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_PORT", text)
    monkeypatch.setenv("PENSTOCK_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("PENSTOCK_SERVICE_PORT", "24224")
    monkeypatch.setenv("PENSTOCK_PORT_24224_TCP", text)
    monkeypatch.setenv("PENSTOCK_PORT_24224_TCP_PORT", "24224")
    assert load_settings("", {}) == Settings(database_url="")


def test_as_a_flag_it_is_meant() -> None:
    assert "--port is 'tcp://10.0.0.1:24224'" in refused(
        {"port": "tcp://10.0.0.1:24224"}
    )


@pytest.mark.parametrize("name", ["port", "host", "http_host", "log_level"])
def test_an_empty_variable_is_one_that_is_not_set(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compose files set such: PENSTOCK_HOST= must not mean every interface."""
    monkeypatch.setenv(environment_name(name), "")
    assert load_settings("", {}) == Settings(database_url="")


@pytest.mark.parametrize("name", ["host", "http_host"])
def test_an_empty_address_is_not_every_interface(name: str) -> None:
    assert refused({name: ""}).startswith(f"{flag_name(name)} is empty")


# --- where the database is


@pytest.mark.parametrize(
    ("read", "variable", "make"),
    [
        (database_url, "PENSTOCK_DATABASE_URL", str),
        (data_dir, "PENSTOCK_DATA_DIR", Path),
    ],
)
def test_the_database_is_found_by_flag_then_environment(
    read: Callable[[Any], Any],
    variable: str,
    make: Callable[[str], Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert read(None) is None
    monkeypatch.setenv(variable, "")
    assert read(None) is None
    monkeypatch.setenv(variable, "/there")
    assert read(None) == make("/there")
    assert read("/here") == make("/here")


def test_an_empty_data_directory_is_not_the_current_one() -> None:
    with pytest.raises(SettingsError, match="--data-dir is empty"):
        data_dir("")
    assert data_dir(".") == Path()


@pytest.mark.parametrize(("text", "value"), [("true", "on"), ("false", "off")])
def test_what_is_true_in_the_file_is_so_on_the_command_line(
    text: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load({"heartbeats": text}).settings
    assert settings.listen.heartbeats == value
    monkeypatch.setenv("PENSTOCK_HEARTBEATS", text)
    assert load({}).settings.listen.heartbeats == value
