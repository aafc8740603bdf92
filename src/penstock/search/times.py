"""Windows of time: what somebody types for one, and its two ends.

It owns how a moment is spelled. Pure: now and the time zone come in. A duration is so
many seconds, whatever a clock was set to meanwhile; a day and an hour of the clock are
looked up in the zone, so that a change to summer time moves nothing.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from penstock.errors import PenstockError

DEFAULT_LAST = "1h"
FINE = timedelta(minutes=1)
EXAMPLES = "15m, 2h..1h, 14:30, yesterday 14:00, monday, 2026-11-01T14:00"

_UNITS = {
    "ms": timedelta(milliseconds=1),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), timedelta(seconds=1)),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), timedelta(minutes=1)),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), timedelta(hours=1)),
    **dict.fromkeys(("d", "day", "days"), timedelta(days=1)),
    **dict.fromkeys(("w", "week", "weeks"), timedelta(weeks=1)),
}
_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEKDAY = re.compile(
    "(mon|tues?|wed(nes)?|thu(rs)?|fri|sat(ur)?|sun)(day)?", re.IGNORECASE
)
_AMOUNT = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*([a-z]+)\s*", re.IGNORECASE)
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(?:[.,](\d{1,6}))?)?")
_SECONDS = re.compile(r"\d{10}(?:\d{3})?")


class TimeError(PenstockError):
    """What was typed is no time, or no window; the message is one line."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Window:
    """From `start` on, up to `end` and without it; both know their zone."""

    start: datetime
    end: datetime


def parse_window(
    since: str | None,
    until: str | None,
    last: str | None,
    now: datetime,
    zone: tzinfo,
) -> Window:
    """Return the window that is asked for; without a word the last hour.

    Args:
        since, until: moments, and in place of `since` both, as `2h..1h`.
        last: a duration before `until`, or a range.
        now: with its zone.
        zone: that of a clock and of a day that say no other.

    Raises:
        TimeError: one is no moment, or the window ends before it begins.
    """
    if since is not None and last is not None:
        raise TimeError("--since and --last both say where the window begins: give one")
    given = since if since is not None else last
    if given is not None and ".." in given:
        if until is not None:
            raise TimeError(f"{given!r} has its end already: leave out --until")
        first, _, second = given.partition("..")
        since, until, last = first.strip(), second.strip() or "now", None
        if not since:
            raise TimeError(f"{given!r} has no beginning, as 2h..1h has")
    try:
        end = now if until is None else parse_moment(until, now, zone, is_end=True)
        if since is not None:
            start = parse_moment(since, now, zone)
        else:
            start = end - parse_duration(last or DEFAULT_LAST)
        window = Window(start.astimezone(UTC), end.astimezone(UTC))
    except OverflowError:
        raise TimeError("a time outside the years 1 to 9999") from None
    if window.end <= window.start:
        raise TimeError(
            "the window ends before it begins: from"
            f" {_shown(window.start, zone)} to {_shown(window.end, zone)}"
        )
    return window


def parse_duration(text: str) -> timedelta:
    """Return a duration as `15m`, `1h30m`, `2 days`.

    Raises:
        TimeError: it is none.
    """
    total, place = timedelta(), 0
    while place < len(text.strip()):
        found = _AMOUNT.match(text.strip(), place)
        unit = found and _UNITS.get(found[2] if found[2] == "M" else found[2].lower())
        if not found or not unit:
            break
        try:
            total += float(found[1]) * unit
        except OverflowError:
            raise TimeError(f"{text!r} is longer than all years there are") from None
        place = found.end()
    else:
        if total > timedelta():
            return total
    raise TimeError(f"{text!r} is no duration, as 15m, 1h30m or 2d is")


def parse_moment(
    text: str, now: datetime, zone: tzinfo, *, is_end: bool = False
) -> datetime:
    """Return the moment that is meant, with its zone.

    Args:
        is_end: of an hour that a clock shows twice, the second is meant.

    Raises:
        TimeError: it is none.
    """
    words = text.strip()
    if words.lower() in ("", "now"):
        if not words:
            raise TimeError(f"an empty time; times are {EXAMPLES}")
        return now
    if _SECONDS.fullmatch(words):
        return datetime.fromtimestamp(int(words) / 10 ** (len(words) - 10), UTC)
    try:
        return now - parse_duration(re.sub(r"^-|\s*\bago$", "", words))
    except TimeError:
        pass
    local = now.astimezone(zone)
    day, _, clock = words.partition(" ")
    found = _day(day, local)
    if found is not None:
        shown = _clock(clock) if clock.strip() else time()
        if shown is not None:
            return _at(found, shown, zone, is_end)
    if (shown := _clock(words)) is not None:
        today = _at(local.date(), shown, zone, is_end)
        if today <= now:
            return today
        return _at(local.date() - timedelta(days=1), shown, zone, is_end)
    return _iso(text, words, zone, is_end)


def _day(word: str, local: datetime) -> date | None:
    lower = word.lower()
    if lower in ("today", "yesterday"):
        return local.date() - timedelta(days=lower == "yesterday")
    if _WEEKDAY.fullmatch(lower):
        back = (local.weekday() - _WEEKDAYS.index(lower[:3])) % 7
        return local.date() - timedelta(days=back)
    return None


def _clock(text: str) -> time | None:
    found = _CLOCK.fullmatch(text.strip())
    if not found:
        return None
    microsecond = int((found[4] or "").ljust(6, "0"))
    return time(int(found[1]), int(found[2]), int(found[3] or 0), microsecond)


def _at(day: date, clock: time, zone: tzinfo, is_end: bool) -> datetime:
    return datetime.combine(day, clock, zone).replace(fold=int(is_end))


def _iso(text: str, words: str, zone: tzinfo, is_end: bool) -> datetime:
    try:
        moment = datetime.fromisoformat(words.replace(" ", "T", 1))
    except ValueError:
        raise TimeError(f"{text!r} is no time; times are {EXAMPLES}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone, fold=int(is_end))


def describe_window(window: Window, zone: tzinfo) -> str:
    """Return both ends in the zone and in UTC, on one line.

    Those of a window of some minutes without the parts of a second, which say nothing.
    """
    if window.end - window.start >= FINE:
        window = Window(
            window.start.replace(microsecond=0), window.end.replace(microsecond=0)
        )
    local = _shown_window(window, zone)
    in_utc = _shown_window(window, UTC)
    return local if local == in_utc else f"{local} ({in_utc})"


def _shown_window(window: Window, zone: tzinfo) -> str:
    start, end = window.start.astimezone(zone), window.end.astimezone(zone)
    first = f"{_shown(start, zone)}"
    is_one_day = start.date() == end.date() and start.tzname() == end.tzname()
    if is_one_day:
        return f"{first.rpartition(' ')[0]} to {_shown(end, zone).partition(' ')[2]}"
    return f"{first} to {_shown(end, zone)}"


def _shown(moment: datetime, zone: tzinfo) -> str:
    local = moment.astimezone(zone)
    fraction = f".{local.microsecond:06d}".rstrip("0") if local.microsecond else ""
    return f"{local:%Y-%m-%d %H:%M:%S}{fraction} {local.tzname()}"
