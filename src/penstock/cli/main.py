"""The `penstock` command: its help page, its exit codes, its subcommands by name.

A subcommand's module is imported when it is asked for, so that `penstock --help`
and `penstock send` start fast.
"""

import errno
import sys
from collections.abc import Sequence

import click

from penstock import __version__
from penstock.cli.signals import EXIT_INTERRUPTED, keep_cleaning_up
from penstock.cli.subcommands import Subcommands
from penstock.errors import PenstockError, SettingsError

# Name -> the module under penstock.cli that holds its click object `command`.
SUBCOMMANDS = {
    "up": "up",
    "serve": "serve",
    "send": "send",
    "search": "search",
    "tail": "tail",
    "sql": "sql",
    "export": "export",
    "ask": "ask",
    "rejected": "rejected",
    "backup": "backup",
    "db": "db",
    "doctor": "doctor",
    "health": "health",
    "deploy": "deploy",
    "config": "config",
}


class Penstock(Subcommands):
    """The group of all, which ends as a shell expects when it is interrupted."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            result: object = super().invoke(ctx)
            return result
        except KeyboardInterrupt:  # click would say "Aborted!" and end with 1
            keep_cleaning_up()  # pressed once more, it is the same
            sys.exit(EXIT_INTERRUPTED)


@click.group(cls=Penstock, modules=SUBCOMMANDS)
@click.version_option(__version__, prog_name="penstock")
def cli() -> None:
    """Receive logs over Fluentd's forward protocol and store them in PostgreSQL.

    Fluent Bit, Fluentd and Docker send to port 24224; each event becomes a row of the
    table `logs`. A sender that asks for an ack gets it when its rows are committed.

    \b
    Begin:
      penstock up                          PostgreSQL and the server, until Ctrl-C
      echo hello | penstock send           an event of your own
      penstock sql "select * from logs"    what arrived

    \b
    With a PostgreSQL of your own:
      penstock serve --database-url postgresql://penstock@db.example/logs

    Commands that read find the database by --database-url (PENSTOCK_DATABASE_URL),
    else they use the embedded one in --data-dir (PENSTOCK_DATA_DIR), whether
    `penstock up` is running there or not. Results go to stdout, all else to stderr.

    \b
    Exit status:
      0    done
      1    failed
      2    wrong usage, or wrong settings: a line for each
      3    the database, an address or a directory cannot be had
      130  stopped by Ctrl-C before it was done
    """


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and end the process with its exit code.

    0 ok, 1 failed, 2 usage, 3 database or network out of reach, 130 interrupted.
    """
    try:
        cli.main(args=argv, prog_name="penstock")
    except PenstockError as error:
        # What it needs takes a while to import.
        from penstock.cli.output import print_problem

        problems = error.problems if isinstance(error, SettingsError) else (str(error),)
        for problem in problems:
            print_problem(problem)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or error.filename:
            raise
        from penstock.cli.output import print_problem

        # Of a file that is opened by its name its own line is said above.
        print_problem(
            f"{error.strerror}: make room where stdout and temporary files go"
        )
        sys.exit(1)
