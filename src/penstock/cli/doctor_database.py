"""What `penstock doctor` says of the database."""

from penstock.cli.findings import Finding
from penstock.errors import PenstockError
from penstock.sink.connection import connect, without_password
from penstock.sink.migrations import migration_status


async def database(url: str, *, is_embedded: bool) -> list[Finding]:
    """Look at the database, as the server's login sees it."""
    try:
        connection = await connect(url)
        try:
            server = await connection.fetchval("SHOW server_version")
            fsync = await connection.fetchval("SELECT current_setting('fsync')")
            login = await connection.fetchval("SELECT session_user::text")
            is_superuser = await connection.fetchval(
                "SELECT rolsuper FROM pg_roles WHERE rolname = session_user"
            )
        finally:
            await connection.close()
        statuses = await migration_status(url)
    except PenstockError as error:
        mend = "correct --database-url or PENSTOCK_DATABASE_URL"
        if isinstance(error.__cause__, OSError):  # nobody is there
            mend = f"start it, or {mend}"
        return [Finding("fail", str(error), mend)]
    findings = [Finding("ok", f"PostgreSQL {server}, {without_password(url)}")]
    if fsync == "off":
        findings.append(
            Finding(
                "warn",
                "fsync is off: a crash of the machine loses what was acked",
                "ALTER SYSTEM SET fsync = on, and reload",
            )
        )
    if is_superuser and not is_embedded:
        findings.append(
            Finding(
                "warn",
                f"{login} is a superuser: whoever gets hold of this login owns the"
                " whole PostgreSQL",
                "log in as a role that can do no more than is needed;"
                " docs/production.md says which",
            )
        )
    pending = [each.name for each in statuses if each.applied_at is None]
    if pending:
        findings.append(
            Finding("warn", "the schema is not up to date", "penstock db migrate")
        )
    else:
        findings.append(Finding("ok", f"schema version {statuses[-1].version}"))
    return findings
