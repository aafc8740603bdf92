"""What the commands about base backups and WAL have in common: where they are.

It owns how the settings and the environment become barman's. It must not run anything.
"""

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
