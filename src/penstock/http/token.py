"""The token of the HTTP side: which settings are fit to be served with, who has it.

It owns the comparison. It must not keep the token itself, nor put any into a message.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence

from penstock.errors import SettingsError
from penstock.settings import HttpSettings

# What can stand in a header behind `Bearer` (RFC 6750, 2.1, takes fewer still).
_SENDABLE = re.compile(r"[\x21-\x7e]+")
NOT_SENDABLE = (
    "has a character that no HTTP header can carry; use letters, digits and signs of"
    " ASCII, without spaces"
)


def is_sendable(token: str) -> bool:
    """Tell whether a token can stand in a request's header."""
    return _SENDABLE.fullmatch(token) is not None


def check_token(settings: HttpSettings, *, is_reachable: bool) -> None:
    """See that the settings' token can be asked for, and is there where it has to be.

    Args:
        is_reachable: others than this machine can reach the HTTP side.

    Raises:
        SettingsError: it cannot, or is not.
    """
    token, file = settings.http_token, settings.http_token_file
    if file and not token:
        raise SettingsError(
            f"http_token_file holds no token: {file} is empty or was not read"
        )
    if token and not is_sendable(token):
        raise SettingsError(f"http_token {NOT_SENDABLE}")
    if is_reachable and not token:
        raise SettingsError(
            f"http_host {settings.http_host} can be reached from other machines, and"
            " there is no http_token; set http_token_file, or listen on 127.0.0.1"
        )


class Bearer:
    """Who bears the token of one configuration; without one, everybody does."""

    def __init__(self, token: str) -> None:
        self._digest = _digest(token.encode()) if token else None

    @property
    def is_asked_for(self) -> bool:
        """Tell whether a token has to be borne."""
        return self._digest is not None

    def why_not(self, authorization: Sequence[str]) -> str | None:
        """Return what is wrong with a request's `Authorization` headers, or None.

        The time that it takes says nothing of the token: digests are compared, of one
        length whatever was sent.
        """
        if self._digest is None:
            return None
        if not authorization:
            return "no_token"
        scheme, _, given = authorization[0].partition(" ")
        # The scheme's letters are of any case (RFC 9110, 11.1).
        is_right = (
            len(authorization) == 1
            and scheme.lower() == "bearer"
            and hmac.compare_digest(
                _digest(given.strip(" ").encode(errors="surrogateescape")),
                self._digest,
            )
        )
        return None if is_right else "wrong_token"


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
