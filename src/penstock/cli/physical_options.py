"""What the commands about base backups and WAL have in common: where they are.

It owns how the settings and the environment become barman's, and that what is changed
on this machine for barman's sake is said. It must not run anything.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from penstock import config
from penstock.backup.barman import Barman
from penstock.settings import BackupSettings


def barman_of(settings: BackupSettings, *, is_elsewhere: bool = False) -> Barman:
    """Return the base backups and WAL that the settings name.

    Raises:
        SettingsError: the store is none of S3's.
        BackupError: barman is not installed.
    """
    variables = config.s3_variables()
    # As boto3 takes them: the service's own first.
    endpoint = variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL")
    return Barman(settings, endpoint=endpoint or "", is_elsewhere=is_elsewhere)


@contextmanager
def saying_what_is_opened() -> Iterator[None]:
    """Say on stderr what is opened to PostgreSQL's account, during the block."""
    logger = logging.getLogger("penstock.embedded.account")
    handler, level = _OnStderr(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


class _OnStderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        click.echo(f"penstock: {record.getMessage()}", err=True)
