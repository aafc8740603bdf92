"""What `penstock doctor` says of the database."""

from penstock.cli.findings import Finding
from penstock.errors import PenstockError
from penstock.postgres.connection import connect, without_password
from penstock.sink.migrations import migration_status

# What the server's login may do beyond what it needs; nothing if it may not. That it
# owns the tables counts where there is a role that could do without.
RIGHTS = """
    SELECT session_user::text AS login,
           CASE WHEN rolsuper THEN 'is a superuser'
                WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = 'penstock_writer')
                     AND EXISTS (SELECT FROM pg_class
                                 WHERE oid = to_regclass('logs')
                                   AND pg_has_role(session_user, relowner, 'USAGE'))
                THEN 'owns the tables' END AS excess
      FROM pg_roles WHERE rolname = session_user
"""


def _rights(login: str, excess: str | None) -> list[Finding]:
    if excess is None:
        return []
    return [
        Finding(
            "warn",
            f"the login {login} {excess}: whoever gets hold of it can read and change"
            " stored logs",
            "let the server log in as a member of penstock_writer and of nothing else;"
            " docs/production.md says how",
        )
    ]


async def database(url: str, *, is_embedded: bool) -> list[Finding]:
    """Look at the database, as the server's login sees it."""
    try:
        connection = await connect(url)
        try:
            server = await connection.fetchval("SHOW server_version")
            fsync = await connection.fetchval("SELECT current_setting('fsync')")
            rights = await connection.fetchrow(RIGHTS)
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
    # The embedded one has no other login.
    if rights is not None and not is_embedded:
        findings += _rights(rights["login"], rights["excess"])
    pending = [each.name for each in statuses if each.applied_at is None]
    if pending:
        findings.append(
            Finding("warn", "the schema is not up to date", "penstock db migrate")
        )
    else:
        findings.append(Finding("ok", f"schema version {statuses[-1].version}"))
    return findings
