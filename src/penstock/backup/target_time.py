"""The moment that a restore goes to: what somebody types, and what it can be.

It owns that form. Pure: now comes in. A time without a zone is refused, for an hour is
what a recovery is about.
"""

import re
from datetime import UTC, datetime

from penstock.errors import SettingsError

LATEST = "latest"
_FORM = "'2026-11-20 14:05:00+09:00', '2026-11-20T05:05:00Z' or latest"
_ZONE = re.compile(r"(Z|[+-]\d{2}(:?\d{2})?| ?UTC)$", re.IGNORECASE)


def parse_target_time(text: str, now: datetime) -> datetime | None:
    """Return the moment, None for `latest`: all that there is.

    Raises:
        SettingsError: it is none, has no zone, or has not come yet.
    """
    stripped = text.strip()
    if stripped.lower() == LATEST:
        return None
    iso = re.sub(r" ?UTC$", "Z", stripped, flags=re.IGNORECASE)
    try:
        moment = datetime.fromisoformat(iso)
    except ValueError:
        raise SettingsError(f"--to-time {text!r} is no time: give {_FORM}") from None
    if moment.tzinfo is None or not _ZONE.search(stripped):
        raise SettingsError(
            f"--to-time {text!r} has no zone, and an hour off is another restore:"
            f" give {_FORM}"
        )
    moment = moment.astimezone(UTC)
    if moment > now:
        raise SettingsError(
            f"--to-time {text!r} has not come yet: it is {now.astimezone(UTC):%F %TZ}"
            " now; for all that there is give latest"
        )
    return moment


def in_words(moment: datetime) -> str:
    """Return a moment as it is said, and as --to-time takes it."""
    text = f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".")
    return f"{text}Z"
