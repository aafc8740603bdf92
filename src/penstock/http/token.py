"""The tokens of the HTTP side: which settings are fit to be served with, who may what.

It owns the comparison, and which token opens which door. It must not keep a token
itself, nor put any into a message.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from enum import Enum

from penstock.errors import SettingsError
from penstock.settings import HttpSettings

# What can stand in a header behind `Bearer` (RFC 6750, 2.1, takes fewer still).
_SENDABLE = re.compile(r"[\x21-\x7e]+")
NOT_SENDABLE = (
    "has a character that no HTTP header can carry; use letters, digits and signs of"
    " ASCII, without spaces"
)


class Right(Enum):
    """What a token of its own may open: `read_token` opens what needs READ."""

    METRICS = "metrics"
    READ = "read"
    INGEST = "ingest"

    @property
    def token_name(self) -> str:
        """Return the setting of the token that opens this and nothing else."""
        return f"{self.value}_token"

    @property
    def in_words(self) -> str:
        """Return what it is to have it, behind a "may"."""
        what = "logs" if self is not Right.METRICS else ""
        verb = "send" if self is Right.INGEST else "read"
        return f"{verb} {what or self.value}"


COMMON_TOKEN = "http_token"
# Each token's setting, and what it opens.
OPENS = {
    COMMON_TOKEN: frozenset(Right),
    **{right.token_name: frozenset({right}) for right in Right},
}


def is_sendable(token: str) -> bool:
    """Tell whether a token can stand in a request's header."""
    return _SENDABLE.fullmatch(token) is not None


def tokens_of(settings: HttpSettings) -> dict[str, str]:
    """Return the tokens that are set, by the names of their settings."""
    tokens = {name: str(getattr(settings, name)) for name in OPENS}
    return {name: token for name, token in tokens.items() if token}


def token_problems(settings: HttpSettings) -> Iterator[str]:
    """Yield why tokens are of no use; each begins with the name of a setting."""
    seen: dict[str, str] = {}
    for name, token in tokens_of(settings).items():
        if not is_sendable(token):
            yield f"{name} {NOT_SENDABLE}"
        elif token in seen:
            # Who has one would have the other's rights, which nobody has meant.
            yield (
                f"{name} and {seen[token]} are the same; make another one for each:"
                " openssl rand -base64 24"
            )
        seen.setdefault(token, name)


def check_token(settings: HttpSettings, *, is_reachable: bool) -> None:
    """See that the settings' tokens can be asked for, and are there where need be.

    Args:
        is_reachable: others than this machine can reach the HTTP side.

    Raises:
        SettingsError: they cannot, or are not.
    """
    tokens = tokens_of(settings)
    for name in OPENS:
        file = getattr(settings, f"{name}_file")
        if file and name not in tokens:
            raise SettingsError(
                f"{name}_file holds no token: {file} is empty or was not read"
            )
    for problem in token_problems(settings):
        raise SettingsError(problem)
    if is_reachable and not tokens:
        raise SettingsError(
            f"http_host {settings.http_host} can be reached from other machines, and"
            " there is no http_token; set http_token_file, or listen on 127.0.0.1"
        )


class Bearer:
    """Who bears a token of one configuration; without any, everybody may all.

    With one, a door that none opens is closed: to have forgotten a token is not to
    have left its door open.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._known = [
            (_digest(token.encode(errors="surrogateescape")), OPENS[name])
            for name, token in tokens_of(settings).items()
        ]

    @property
    def is_asked_for(self) -> bool:
        """Tell whether a token has to be borne."""
        return bool(self._known)

    def why_not(self, authorization: Sequence[str], right: Right | None) -> str | None:
        """Return what is wrong with a request's `Authorization` headers, or None.

        The time that it takes says nothing of a token: digests are compared, of one
        length whatever was sent, and always all of them.

        Args:
            right: what the request needs; None: any of the tokens will do.
        """
        if not self._known:
            return None
        if not authorization:
            return "no_token"
        scheme, _, given = authorization[0].partition(" ")
        # The scheme's letters are of any case (RFC 9110, 11.1).
        if len(authorization) != 1 or scheme.lower() != "bearer":
            return "wrong_token"
        digest = _digest(given.strip(" ").encode(errors="surrogateescape"))
        same = [hmac.compare_digest(digest, known) for known, _ in self._known]
        if not any(same):
            return "wrong_token"
        opened = self._known[same.index(True)][1]
        return None if right is None or right in opened else "no_right"


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
