"""boto3's client for S3: how often it tries, how long it waits, whom it asks.

It owns those figures. The client is botocore's, which boto3 puts its own names around.
Credentials, region and endpoint are boto3's to find, by its own variables and files.
It must not know objects.
"""

from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from penstock.backup.s3_words import Place, from_botocore
from penstock.errors import SettingsError


class Patience(NamedTuple):
    """How often a request is made before it has failed, and how long each may take."""

    attempts: int
    connect_seconds: float
    # Of silence, not of all: S3 answers within seconds, or sends blanks meanwhile.
    read_seconds: float


# With botocore's waits (doubling up to 20 s, each a random part of that) ten attempts
# bridge about a minute of "SlowDown" and some ten seconds out of reach. A backup by
# night can wait; somebody at a terminal gets to know. AWS_MAX_ATTEMPTS says otherwise.
# Connecting: a packet that is lost is sent again after 1, 3 and 7 s.
USUAL: Final = Patience(attempts=10, connect_seconds=10, read_seconds=60)
# To clean up after what has failed, or while somebody waits who has pressed Ctrl-C.
BRIEF: Final = Patience(attempts=3, connect_seconds=3, read_seconds=10)
# As many as 32 jobs use at once with two parts each, and a few for all else.
_CONNECTIONS: Final = 70
_OF_AWS: Final = (".amazonaws.com", ".amazonaws.com.cn")


class Clients(NamedTuple):
    """The same, of two kinds of patience."""

    usual: Any
    brief: Any


def open_clients(bucket: str, url: str) -> Clients:
    """Return clients that several threads may use.

    Raises:
        SettingsError: an endpoint, a region or a profile is none.
        StoreError: there are no credentials, as far as that shows without asking S3.
    """
    session = botocore.session.get_session()
    try:
        client = _new_client(session, USUAL, {})
        host = urlsplit(client.meta.endpoint_url).hostname or ""
        style = (session.get_config_variable("s3") or {}).get("addressing_style")
        s3: dict[str, str] = {}
        if not host.endswith(_OF_AWS) and not style:
            # Another S3 has seldom a name in the DNS for each bucket.
            s3 = {"addressing_style": "path"}
            client = _new_client(session, USUAL, s3)
        return Clients(client, _new_client(session, BRIEF, s3))
    except ValueError as error:  # botocore's words name the endpoint or the region
        raise SettingsError(
            f"boto3 is set to what is none: {str(error).rstrip('.')}; correct"
            " AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION or AWS_MAX_ATTEMPTS"
        ) from error
    except BotoCoreError as error:
        at = Place(f"{url} cannot be used", bucket, "AWS")
        raise from_botocore(error, at) from error


def _new_client(session: Any, patience: Patience, s3: dict[str, str]) -> Any:
    asked = session.get_config_variable("max_attempts") or patience.attempts
    attempts = min(asked, patience.attempts) if patience is BRIEF else asked
    config = Config(
        connect_timeout=patience.connect_seconds,
        read_timeout=patience.read_seconds,
        tcp_keepalive=True,
        max_pool_connections=_CONNECTIONS,
        # "standard" knows all that passes; "adaptive" holds back by guesses, for all
        # threads together.
        retries={
            "mode": session.get_config_variable("retry_mode") or "standard",
            "total_max_attempts": attempts,
        },
        # What matters is sent and checked by SHA-256; other S3s may know no CRCs.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3=s3,
    )
    return session.create_client("s3", config=config)
