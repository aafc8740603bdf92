"""The one tree of errors Penstock raises on purpose.

    PenstockError              exit code 1
    ├── ProtocolError          the peer broke the protocol: its connection is closed
    ├── NotTakenError          a message is not stored now: it may be sent again
    ├── SettingsError          a setting is wrong                   exit code 2
    ├── UnavailableError       out of reach, in use, not permitted  exit code 3
    │   ├── DatabaseUnavailableError
    │   │   └── NotOwnerError      only the owner of the tables may do that
    │   ├── EmbeddedPostgresError
    │   ├── StoreError           the place of backups cannot be read or written
    │   │   ├── AbsentError        the object is not there
    │   │   └── TakenError         the object is there already
    │   ├── AwsError             AWS is out of reach, or lets us not
    │   └── ModelUnavailableError  nobody answers at the model's API, or not in time
    ├── ModelError             the model's answer is of no use
    ├── QueryError             the database refused or ended a statement of somebody's
    │   ├── QueryTimeoutError    it took longer than it may
    │   ├── QueryCancelledError  somebody has ended it
    │   └── QueryTooLargeError   a row is larger than a session takes
    ├── ProvisionError         machines are not made, changed or removed as asked
    ├── BackupError            a backup cannot be made, read or restored
    │   ├── CorruptError         what the store holds is not what was stored
    │   └── LockedError          somebody else is changing the store
    └── SinkError              a batch was not stored
        ├── TransientSinkError   try again: connection, resources, shutdown
        │   ├── DetachedError        a day's table has left logs: through logs
        │   └── SpoolError           the spool's disk failed or is full
        │       └── SpoolFullError   the spool holds all it may: wait for replay
        ├── UnknownSinkError     nobody knows: try a few times, then ask the table
        └── PermanentSinkError   trying again cannot help: the data is at fault

The message of an error is one line for the person who has to act: what is wrong,
where, and how to mend it. It never carries a record's content.
"""


class PenstockError(Exception):
    """Anything Penstock raises on purpose; `exit_code` is what a command ends with."""

    exit_code = 1


class ProtocolError(PenstockError):
    """The peer sent bytes the forward protocol does not allow.

    `reason` is a word from a small fixed set, fit for a metric label.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class NotTakenError(PenstockError):
    """A message is not stored now, or not known to be; its sender may try again."""


class SettingsError(PenstockError):
    """Settings have values that are not accepted; `problems` has a line for each."""

    exit_code = 2

    def __init__(self, *problems: str) -> None:
        # What somebody wrote may hold line ends; a problem is one line all the same.
        self.problems = tuple(" ".join(each.splitlines()) for each in problems)
        super().__init__("\n".join(self.problems))


class UnavailableError(PenstockError):
    """Something outside this process is out of reach, in use or not permitted."""

    exit_code = 3


class DatabaseUnavailableError(UnavailableError):
    """PostgreSQL does not answer, refuses us, or is not one we can work with."""


class NotOwnerError(DatabaseUnavailableError):
    """The login may not do what only the owner of the tables may."""


class EmbeddedPostgresError(UnavailableError):
    """The embedded PostgreSQL cannot be started or used."""


class StoreError(UnavailableError):
    """The place where backups are cannot be read or written."""


class AbsentError(StoreError):
    """The object is not in the store."""


class TakenError(StoreError):
    """The object is in the store already."""


class AwsError(UnavailableError):
    """AWS is out of reach, refuses us, or has not what is asked for."""


class ModelUnavailableError(UnavailableError):
    """The model's API is out of reach, overloaded, or too slow."""


class ModelError(PenstockError):
    """The model refuses, or what it answers is of no use."""


class QueryError(PenstockError):
    """PostgreSQL refused or ended a statement that somebody has asked.

    `sql` is what it was told, `position` the character of it, from 1, that is at fault,
    where it says so; `sqlstate`, `reason` and `hint` are its own.
    """

    def __init__(
        self,
        message: str,
        *,
        sql: str = "",
        reason: str = "",
        sqlstate: str | None = None,
        hint: str | None = None,
        position: int | None = None,
    ) -> None:
        super().__init__(message)
        self.sql = sql
        self.reason = reason or message
        self.sqlstate = sqlstate
        self.hint = hint
        self.position = position


class QueryTimeoutError(QueryError):
    """The statement took longer than a setting lets it."""


class QueryCancelledError(QueryError):
    """The statement was ended: by whoever asked, or by an administrator."""


class QueryTooLargeError(QueryError):
    """A row of the result is larger than a session takes."""


class ProvisionError(PenstockError):
    """Machines cannot be made, changed or removed as asked."""


class BackupError(PenstockError):
    """A backup cannot be made, read or restored as asked."""


class CorruptError(BackupError):
    """What the store holds is not what was stored; the message names the object."""


class LockedError(BackupError):
    """Somebody else is changing the store at this moment."""


class SinkError(PenstockError):
    """A batch was not stored."""


class TransientSinkError(SinkError):
    """The batch may pass when it is tried again."""


class DetachedError(TransientSinkError):
    """Rows went to a day's table that may have left `logs`; they are taken back."""


class SpoolError(TransientSinkError):
    """The spool could not write or read its files; what it held before is intact."""


class SpoolFullError(SpoolError):
    """The spool holds as much as it may; there is room when some is replayed."""


class PermanentSinkError(SinkError):
    """The batch holds data that PostgreSQL will never take."""


class UnknownSinkError(SinkError):
    """PostgreSQL refused the batch for a reason of somebody's own."""
