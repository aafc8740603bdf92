"""Programs of tests in the place of PostgreSQL's."""

from datetime import UTC, datetime
from pathlib import Path

from penstock.backup.programs import Programs, find_programs

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def put_program(directory: Path, script: str, version: str = "18.0") -> Programs:
    """Put a script in the place of pg_dump, and find it there."""
    directory.mkdir(exist_ok=True)
    path = directory / "pg_dump"
    answer = f"echo 'pg_dump (PostgreSQL) {version}'"
    path.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && {{ {answer}; exit 0; }}\n{script}\n'
    )
    path.chmod(0o755)
    return find_programs(int(version.partition(".")[0]), str(directory))
