"""What can be set of reading: what a question may cost, in time, memory and size."""

from dataclasses import dataclass

from penstock.settings.declared import KIB, MIB, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """What a question may cost.

    Of `penstock sql`, `search`, `export` and `ask`, and of the HTTP API.
    """

    statement_timeout_seconds: float = setting(
        30.0,
        "How long one statement may run. Who waits longer for an answer has gone, and"
        " has mostly forgotten a range of `ts`.",
        low=0.1,
        high=86_400.0,
    )
    explain_timeout_seconds: float = setting(
        3.0,
        "How long a statement may be planned before it runs: planning folds constants,"
        " so it can be made to take for ever too.",
        low=0.1,
        high=3600.0,
    )
    lock_timeout_seconds: float = setting(
        3.0,
        "How long a statement waits for a lock. Reading waits only for who drops or"
        " attaches a day, which takes milliseconds.",
        low=0.1,
        high=3600.0,
    )
    max_rows: int = setting(
        10_000,
        "Rows that one statement returns, at most; what was cut off is said. More than"
        " anybody looks at: `penstock export` is for all of them.",
        low=1,
        high=10_000_000,
    )
    max_bytes: int = setting(
        64 * MIB,
        "Bytes of rows that one statement returns, at most, as PostgreSQL sends them:"
        " the memory of whoever asks. A row of more than twice that is an error.",
        low=64 * KIB,
        high=4096 * MIB,
    )
    work_mem_bytes: int = setting(
        16 * MIB,
        "What one sort or hash of a statement may take of the server's memory before it"
        " goes to disk. Several people ask at once, beside the writers.",
        low=64 * KIB,
        high=2047 * MIB,
    )
    temp_file_limit_bytes: int = setting(
        4096 * MIB,
        "What one statement may write to the server's disk, so that no sort fills it."
        " Only where the login may set it, as in the embedded PostgreSQL.",
        low=MIB,
    )
