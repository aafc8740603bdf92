"""Which keys fill which column, on records as well-known loggers write them."""

from typing import Any

import pytest

from penstock.rows.columns import (
    NO_KEY,
    level_label,
    level_spellings,
    locate,
    plan_for,
    take_level,
    take_text,
)
from penstock.rows.key_order import sorted_keys
from penstock.settings import ColumnSettings
from tests import msgpack_bytes as m
from tests.copy_tuples import LEVELS, Row
from tests.pure_core import rows_and_rejected

NAMES = {
    "TRACE": "trace TRACE Trace trc verbose fine finer finest silly all",
    "DEBUG": "debug DEBUG Debug dbg D config",
    "INFO": "info INFO Info inf I information Information informational notice NOTICE",
    "WARN": "warn WARN warning WARNING Warning wrn W",
    "ERROR": "error ERROR err Err E eror severe SEVERE",
    "FATAL": "fatal FATAL ftl F critical CRITICAL crit alert emerg emergency panic"
    " dpanic Panic",
}
NUMBERS = {
    # RFC 5424: 0 emergency, 1 alert, 2 critical, 3 error, 4 warning, 5 notice, 6 info,
    # 7 debug. Then pino and bunyan.
    **{0: "FATAL", 1: "FATAL", 2: "FATAL", 3: "ERROR", 4: "WARN", 5: "INFO", 6: "INFO"},
    **{7: "DEBUG", 10: "TRACE", 20: "DEBUG", 30: "INFO", 40: "WARN", 50: "ERROR"},
    60: "FATAL",
}
NO_LEVELS: list[Any] = [
    *("", "loud", "information2", "infoo", "x" * 1000, "8", "-1", "1.0", "INFO,WARN"),
    *(8, 9, -1, 25, 100, 2**64 - 1, True, False, None, 30.0, 6.0, [], ["info"], {}),
    *(b"info", {"level": "info"}),
]


@pytest.mark.parametrize("label", LEVELS)
def test_the_names_of_a_level_in_any_case_are_that_level(label: str) -> None:
    for name in NAMES[label].split():
        for spelled in (name, name.lower(), name.upper(), f" {name} ", f"{name}\n"):
            assert level_label(spelled) == label, spelled


def test_syslog_severities_and_pino_numbers_are_levels_as_numbers_and_as_text() -> None:
    for number, label in NUMBERS.items():
        assert level_label(number) == label
        assert level_label(str(number)) == label


def test_no_other_number_is_a_level() -> None:
    assert {n for n in range(-300, 1000) if level_label(n)} == set(NUMBERS)


@pytest.mark.parametrize("value", NO_LEVELS, ids=repr)
def test_what_is_no_level_is_none(value: Any) -> None:
    assert level_label(value) is None


def test_the_quick_table_agrees_with_the_definition() -> None:
    spellings = level_spellings()
    assert set(spellings.values()) == set(LEVELS)
    for spelling, label in spellings.items():
        assert level_label(spelling) == label


# --- finding a value by its path


@pytest.mark.parametrize(
    ("record", "path", "value"),
    [
        ({"host": "h"}, "host", "h"),
        ({"host.name": "h"}, "host.name", "h"),
        ({"host": {"name": "h"}}, "host.name", "h"),
        ({"host": {"name": "in"}, "host.name": "out"}, "host.name", "out"),
        ({"k": {"labels": {"app.io/name": "x"}}}, "k.labels.app.io/name", "x"),
        ({"k": {"labels.app.io/name": "x"}}, "k.labels.app.io/name", "x"),
        ({"a": {"b": {"c": 1}}}, "a.b.c", 1),
        ({"a": {"": 1}}, "a.", 1),
    ],
)
def test_a_path_leads_into_maps_and_a_key_with_dots_goes_first(
    record: dict[str, Any], path: str, value: Any
) -> None:
    owner, key = locate(record, path)
    assert owner is not None
    assert owner[key] == value


@pytest.mark.parametrize(
    ("record", "path"),
    [
        ({}, "host"),
        ({"host": "h"}, "host.name"),
        ({"host": None}, "host.name"),
        ({"host": ["name"]}, "host.name"),
        ({"host": {}}, "host.name"),
        ({"a": {"b": 1}}, "a.b.c"),
        ({"Host": "h"}, "host"),
    ],
)
def test_a_path_that_leads_nowhere_finds_nothing(
    record: dict[str, Any], path: str
) -> None:
    owner, _ = locate(record, path)
    assert owner is None


def test_the_first_path_that_fits_is_taken_and_the_others_stay() -> None:
    record: dict[str, Any] = {"a": 1, "b": "two", "c": "three"}
    assert take_text(record, ("a", "b", "c")) == "two"
    assert record == {"a": 1, "c": "three"}
    levels: dict[str, Any] = {"a": "loud", "b": True, "c": "warn", "d": "info"}
    assert take_level(levels, ("a", "b", "c", "d")) == "WARN"
    assert levels == {"a": "loud", "b": True, "d": "info"}
    assert take_text({"a": 1}, ("a",)) is None
    assert take_level({"a": "loud"}, ("a",)) is None


def test_paths_are_tried_only_where_a_record_of_that_shape_could_have_them() -> None:
    settings = ColumnSettings(
        level_keys=("level", "log.level", "lvl"),
        service_keys=("service",),
        host_keys=("host", "k.host"),
        message_keys=("msg",),
    )
    plan = plan_for(("log", "k", "host", "msg.x"), settings)
    assert plan.level_paths == ("log.level",)
    assert plan.service_paths == ()
    assert plan.host_paths == ("host", "k.host")
    assert plan.message_paths == ()
    # A key is named where a look at the top level is enough, most of the time.
    assert (plan.host_key, plan.level_key, plan.service_key) == ("host", NO_KEY, NO_KEY)


# --- records as senders write them


def row_of(record: dict[str, Any]) -> Row:
    (row,), rejected = rows_and_rejected(m.entry(record))
    assert rejected == []
    return row


K8S: dict[str, Any] = {
    "pod_name": "api-7d9f",
    "namespace_name": "prod",
    "host": "node-1",
    "container_name": "main",
    "labels": {"app.kubernetes.io/name": "api", "app": "legacy", "tier": "web"},
}
# Name -> record, the columns it fills, what of it stays in the attributes.
RECORDS: dict[str, tuple[dict[str, Any], dict[str, str], dict[str, Any]]] = {
    "Docker": (
        {
            "container_id": "6f2b",
            "container_name": "/web",
            "source": "stdout",
            "log": "GET / 200",
        },
        {"service": "/web", "message": "GET / 200"},
        {"container_id": "6f2b", "source": "stdout"},
    ),
    "Docker, a piece of a long line": (
        {
            "container_name": "/web",
            "log": "x" * 16384,
            "partial_message": "true",
            "partial_id": "a1",
            "partial_ordinal": "1",
            "partial_last": "false",
        },
        {"service": "/web", "message": "x" * 16384},
        {
            "partial_message": "true",
            "partial_id": "a1",
            "partial_ordinal": "1",
            "partial_last": "false",
        },
    ),
    "Kubernetes": (
        {"stream": "stderr", "log": "boom", "level": "error", "kubernetes": K8S},
        {"level": "ERROR", "service": "api", "host": "node-1", "message": "boom"},
        {
            "stream": "stderr",
            "kubernetes": {
                "pod_name": "api-7d9f",
                "namespace_name": "prod",
                "container_name": "main",
                "labels": {"app": "legacy", "tier": "web"},
            },
        },
    ),
    "Kubernetes, label app": (
        {"log": "x", "kubernetes": {"labels": {"app": "api"}, "container_name": "c"}},
        {"service": "api", "message": "x"},
        {"kubernetes": {"labels": {}, "container_name": "c"}},
    ),
    "Kubernetes, no labels": (
        {"log": "x", "kubernetes": {"container_name": "c", "host": "n"}},
        {"service": "c", "host": "n", "message": "x"},
        {"kubernetes": {}},
    ),
    "ECS, keys with dots": (
        {
            "@timestamp": "2026-01-02T03:04:05Z",
            "log.level": "error",
            "message": "boom",
            "service.name": "pay",
            "host.name": "h1",
            "ecs.version": "1.6.0",
        },
        {"level": "ERROR", "service": "pay", "host": "h1", "message": "boom"},
        {"@timestamp": "2026-01-02T03:04:05Z", "ecs.version": "1.6.0"},
    ),
    "ECS, nested": (
        {
            "log": {"level": "warn", "logger": "pay"},
            "service": {"name": "pay", "version": "2"},
            "host": {"name": "h1", "ip": ["10.0.0.1"]},
            "message": "slow",
        },
        {"level": "WARN", "service": "pay", "host": "h1", "message": "slow"},
        {
            "log": {"logger": "pay"},
            "service": {"version": "2"},
            "host": {"ip": ["10.0.0.1"]},
        },
    ),
    "pino": (
        {"level": 30, "time": 1441588984000, "pid": 7, "hostname": "h", "msg": "hi"},
        {"level": "INFO", "host": "h", "message": "hi"},
        {"time": 1441588984000, "pid": 7},
    ),
    "bunyan": (
        {"name": "app", "hostname": "h", "pid": 7, "level": 50, "msg": "no", "v": 0},
        {"level": "ERROR", "host": "h", "message": "no"},
        {"name": "app", "pid": 7, "v": 0},
    ),
    "syslog": (
        {"host": "h", "ident": "sshd", "pid": "9", "severity": "crit", "message": "in"},
        {"level": "FATAL", "service": "sshd", "host": "h", "message": "in"},
        {"pid": "9"},
    ),
    "syslog, severity as a number": (
        {"hostname": "h", "app": "sshd", "severity": 4, "message": "in"},
        {"level": "WARN", "service": "sshd", "host": "h", "message": "in"},
        {},
    ),
    "journald": (
        {
            "PRIORITY": "3",
            "SYSLOG_IDENTIFIER": "sshd",
            "_HOSTNAME": "h",
            "MESSAGE": "in",
            "_PID": "9",
        },
        {"level": "ERROR", "service": "sshd", "host": "h", "message": "in"},
        {"_PID": "9"},
    ),
    "python-json-logger": (
        {"asctime": "x", "levelname": "WARNING", "name": "app.db", "message": "slow"},
        {"level": "WARN", "message": "slow"},
        {"asctime": "x", "name": "app.db"},
    ),
    "zap": (
        {"level": "dpanic", "ts": 1441588984.5, "caller": "a.go:1", "msg": "no"},
        {"level": "FATAL", "message": "no"},
        {"ts": 1441588984.5, "caller": "a.go:1"},
    ),
    "logrus": (
        {"level": "warning", "time": "2026-01-02T03:04:05Z", "msg": "slow", "app": "a"},
        {"level": "WARN", "service": "a", "message": "slow"},
        {"time": "2026-01-02T03:04:05Z"},
    ),
    "OpenTelemetry": (
        {"severity_text": "Information", "service.name": "s", "message": "m"},
        {"level": "INFO", "service": "s", "message": "m"},
        {},
    ),
    "GELF": (
        {"version": "1.1", "host": "h", "short_message": "m", "level": 6, "_x": 1},
        {"level": "INFO", "host": "h", "message": "m"},
        {"version": "1.1", "_x": 1},
    ),
    "no key of ours": ({"a": 1, "b": {"c": None}}, {}, {"a": 1, "b": {"c": None}}),
    "empty": ({}, {}, {}),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_loggers_record_fills_the_columns_and_the_rest_stays(name: str) -> None:
    record, columns, attributes = RECORDS[name]
    row = row_of(record)
    filled = {
        column: value
        for column in ("level", "service", "host", "message")
        if (value := getattr(row, column)) is not None
    }
    assert filled == columns
    assert row.attributes == attributes
    assert list(row.attributes) == sorted_keys(attributes)


@pytest.mark.parametrize(
    "value", ["loud", 25, True, None, 30.0, ["info"], {"a": 1}, ""]
)
def test_a_level_that_is_none_stays_in_the_attributes(value: Any) -> None:
    row = row_of({"level": value, "a": 1})
    assert row.level is None
    assert row.attributes == {"level": value, "a": 1}


@pytest.mark.parametrize("key", ["service", "host", "message"])
@pytest.mark.parametrize("value", [5, None, True, 1.5, ["x"], {"x": "y"}])
def test_a_value_of_another_type_than_the_columns_stays(key: str, value: Any) -> None:
    row = row_of({key: value, "a": 1})
    assert (row.service, row.host, row.message) == (None, None, None)
    assert row.attributes == {key: value, "a": 1}


def test_of_two_keys_for_one_column_the_other_stays() -> None:
    row = row_of({"log": "raw", "message": "clear", "msg": "short"})
    assert row.message == "clear"
    assert row.attributes == {"log": "raw", "msg": "short"}
    row = row_of({"level": "loud", "severity": "ERROR"})
    assert row.level == "ERROR"
    assert row.attributes == {"level": "loud"}


def test_a_column_whose_first_key_does_not_fit_is_filled_by_the_next() -> None:
    unfit: dict[str, Any] = {"level": "loud", "service": 5, "host": None}
    fit = {"severity": "error", "app": "a", "hostname": "h", "msg": "m"}
    row = row_of({**unfit, "message": [1], **fit})
    assert (row.level, row.service, row.host, row.message) == ("ERROR", "a", "h", "m")
    assert row.attributes == {**unfit, "message": [1]}


def test_an_empty_text_fills_its_column() -> None:
    row = row_of({"message": "", "host": "", "service": ""})
    assert (row.message, row.host, row.service) == ("", "", "")
    assert row.attributes == {}
