"""boto3's client for S3: how often it tries, how long it waits, whom it asks.

It owns those figures. The client is botocore's, which boto3 puts its own names around.
Credentials, region and endpoint are boto3's to find, by its own
variables and files. It must not know objects.
"""

from typing import Any, Final
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from penstock.backup.s3_words import Place, from_botocore
from penstock.errors import SettingsError

# With botocore's waits (doubling up to 20 s, each a random part of that) these bridge
# about a minute of "SlowDown" and some ten seconds out of reach. A backup by night can
# wait; somebody at a terminal gets to know. AWS_MAX_ATTEMPTS says otherwise.
ATTEMPTS: Final = 10
# A packet that is lost is sent again after 1, 3 and 7 s.
CONNECT_TIMEOUT_SECONDS: Final = 10
# Of silence, not of all: S3 answers within seconds, or sends blanks meanwhile.
READ_TIMEOUT_SECONDS: Final = 60
# As many as 32 jobs use at once with two parts each, and a few for all else.
_CONNECTIONS: Final = 70
_OF_AWS: Final = (".amazonaws.com", ".amazonaws.com.cn")


def open_client(bucket: str, url: str) -> Any:
    """Return a client that several threads may use.

    Raises:
        SettingsError: an endpoint, a region or a profile is none.
        StoreError: there are no credentials, as far as that shows without asking S3.
    """
    at = Place(f"{url} cannot be used", bucket, "AWS")
    session = botocore.session.get_session()
    try:
        client = _new_client(session, {})
        host = urlsplit(client.meta.endpoint_url).hostname or ""
        style = (session.get_config_variable("s3") or {}).get("addressing_style")
        if not host.endswith(_OF_AWS) and not style:
            # Another S3 has seldom a name in the DNS for each bucket.
            client = _new_client(session, {"addressing_style": "path"})
    except ValueError as error:  # botocore's words name the endpoint or the region
        raise SettingsError(
            f"boto3 is set to what is none: {str(error).rstrip('.')}; correct"
            " AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, AWS_REGION or AWS_MAX_ATTEMPTS"
        ) from error
    except BotoCoreError as error:
        raise from_botocore(error, at) from error
    return client


def _new_client(session: Any, s3: dict[str, str]) -> Any:
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=READ_TIMEOUT_SECONDS,
        tcp_keepalive=True,
        max_pool_connections=_CONNECTIONS,
        # "standard" knows all that passes; "adaptive" holds back by guesses, for all
        # threads together.
        retries={
            "mode": session.get_config_variable("retry_mode") or "standard",
            "total_max_attempts": session.get_config_variable("max_attempts")
            or ATTEMPTS,
        },
        # What matters is sent and checked by SHA-256; other S3s may know no CRCs.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3=s3,
    )
    return session.create_client("s3", config=config)
