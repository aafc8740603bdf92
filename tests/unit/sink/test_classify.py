"""Which errors of PostgreSQL may pass when tried again, and what is said of them."""

import socket
import ssl

import asyncpg
import pytest

from penstock.errors import (
    DatabaseUnavailableError,
    PermanentSinkError,
    TransientSinkError,
    UnknownSinkError,
)
from penstock.postgres.words import describe, unavailable
from penstock.sink.classify import classify, reason_of

SECRET = "hunter2 of a record"

# PostgreSQL documentation, appendix A.
THE_DATA_IS_AT_FAULT = (
    asyncpg.CharacterNotInRepertoireError,  # 22021
    asyncpg.NumericValueOutOfRangeError,  # 22003
    asyncpg.DatetimeFieldOverflowError,  # 22008
    asyncpg.InvalidTextRepresentationError,  # 22P02
    asyncpg.BadCopyFileFormatError,  # 22P04
    asyncpg.UntranslatableCharacterError,  # 22P05
    asyncpg.UniqueViolationError,  # 23505
    asyncpg.NotNullViolationError,  # 23502
    asyncpg.ProgramLimitExceededError,  # 54000: a jsonb too large
    asyncpg.RaiseError,  # P0001: a trigger says no
)
IT_MAY_PASS = (
    asyncpg.ConnectionDoesNotExistError,  # 08003
    asyncpg.ConnectionFailureError,  # 08006
    asyncpg.DiskFullError,  # 53100
    asyncpg.OutOfMemoryError,  # 53200
    asyncpg.TooManyConnectionsError,  # 53300
    asyncpg.AdminShutdownError,  # 57P01
    asyncpg.CrashShutdownError,  # 57P02
    asyncpg.CannotConnectNowError,  # 57P03
    asyncpg.QueryCanceledError,  # 57014
    asyncpg.DeadlockDetectedError,  # 40P01
    asyncpg.SerializationError,  # 40001
    asyncpg.LockNotAvailableError,  # 55P03
    asyncpg.ReadOnlySQLTransactionError,  # 25006: a standby
    asyncpg.ObjectInUseError,  # 55006
    asyncpg.InvalidPasswordError,  # 28P01
    asyncpg.InternalServerError,  # XX000
)


@pytest.mark.parametrize("error", THE_DATA_IS_AT_FAULT, ids=lambda e: e.sqlstate)
def test_what_a_row_holds_is_at_fault_by_the_class(
    error: type[asyncpg.PostgresError],
) -> None:
    found = classify(error(SECRET))
    assert type(found) is PermanentSinkError
    assert str(found) == f"PostgreSQL refused a batch, SQLSTATE {error.sqlstate}"


@pytest.mark.parametrize("error", IT_MAY_PASS, ids=lambda e: e.sqlstate)
def test_where_no_row_is_at_fault_it_may_pass_when_it_is_tried_again(
    error: type[asyncpg.PostgresError],
) -> None:
    found = classify(error(SECRET))
    assert type(found) is TransientSinkError
    assert str(error.sqlstate) in str(found)


def refused(sqlstate: str | None) -> asyncpg.PostgresError:
    error = asyncpg.PostgresError(SECRET)
    vars(error)["sqlstate"] = sqlstate
    return error


@pytest.mark.parametrize("sqlstate", ["22000", "22ZZZ", "23000", "23ZZZ"])
def test_it_goes_by_the_class_not_by_a_list_of_errors(sqlstate: str) -> None:
    assert type(classify(refused(sqlstate))) is PermanentSinkError


@pytest.mark.parametrize("sqlstate", ["", None, "25220", "40322", "53P0001"])
def test_only_the_beginning_of_the_sqlstate_is_its_class(sqlstate: str | None) -> None:
    assert type(classify(refused(sqlstate))) is TransientSinkError


@pytest.mark.parametrize(
    "sqlstate", ["MY001", "P0002", "38000", "02200", "42501", "42P01", "0A000", "55000"]
)
def test_what_nobody_knows_is_neither(sqlstate: str) -> None:
    found = classify(refused(sqlstate))
    assert type(found) is UnknownSinkError
    assert sqlstate in str(found)


def test_a_check_is_at_fault_by_its_name_and_without_one_it_is_a_partitions() -> None:
    error = asyncpg.CheckViolationError(SECRET)
    assert type(classify(error)) is PermanentSinkError, "a trigger's own"
    vars(error)["table_name"] = "logs_20261124"
    assert type(classify(error)) is UnknownSinkError
    vars(error)["constraint_name"] = "no_secrets"
    assert type(classify(error)) is PermanentSinkError


@pytest.mark.parametrize(
    ("constraint", "reason"),
    [("no_secrets", "refused: no_secrets"), (None, "refused: CheckViolationError")],
)
def test_the_reason_names_the_rule_and_not_the_record(
    constraint: str | None, reason: str
) -> None:
    error = asyncpg.CheckViolationError(SECRET)
    vars(error)["constraint_name"] = constraint
    assert reason_of(error) == reason


def test_nothing_of_a_record_gets_into_the_message() -> None:
    # PostgreSQL quotes the value in message and DETAIL.
    error = asyncpg.UniqueViolationError(f'invalid input: "{SECRET}"')
    error.detail = SECRET
    assert SECRET not in str(classify(error))


@pytest.mark.parametrize(
    "error",
    [
        ConnectionResetError(104, "Connection reset by peer"),
        ConnectionRefusedError(111, "Connect call failed"),
        socket.gaierror(-2, "Name or service not known"),
        ssl.SSLError(1, "certificate verify failed"),
        TimeoutError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("got result for unknown protocol state"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_connection_that_fails_may_be_better_next_time(error: Exception) -> None:
    found = classify(error)
    assert type(found) is TransientSinkError
    assert str(found).startswith("the connection failed: ")
    assert not str(found).endswith(": ")


def test_what_a_person_reads_is_one_line_and_says_where() -> None:
    error = unavailable(OSError("no\n  route\tto host"), "postgresql://db/logs")
    assert type(error) is DatabaseUnavailableError
    assert error.exit_code == 3
    assert str(error) == (
        "cannot use the database postgresql://db/logs: no route to host"
    )


def test_an_error_without_words_is_called_by_its_name() -> None:
    assert describe(TimeoutError()) == "TimeoutError"
