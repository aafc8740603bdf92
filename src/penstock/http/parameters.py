"""What stands behind the `?` of an address: read, and refused in one line.

It owns how parameters are spelled that several paths have: the filter, the window, the
time zone. It must not know what they are for.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aiohttp import web

from penstock.http.answers import ApiError
from penstock.search.filters import Field, Filter, FilterError, Path
from penstock.search.language import parse
from penstock.search.times import TimeError, Window, parse_window

# What a search is over; each path that searches has them.
SEARCHED = frozenset({"q", "since", "until", "last", "tz"})
# Of what somebody typed, in an error.
MOST_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Searched:
    """A filter and a window, as they were asked for."""

    filter: Filter
    window: Window
    zone: tzinfo


class Parameters:
    """The parameters of one request."""

    def __init__(self, request: web.BaseRequest, known: Collection[str]) -> None:
        """Take them.

        Raises:
            ApiError: one is not known, or given twice.
        """
        self._values: dict[str, str] = {}
        for name, value in request.query.items():
            if name not in known:
                raise ApiError(
                    400,
                    f"no such parameter: {name[:MOST_SHOWN]!r}; there are"
                    f" {', '.join(sorted(known))}",
                )
            if name in self._values:
                raise ApiError(400, f"{name} is given twice")
            self._values[name] = value

    def text(self, name: str) -> str | None:
        """Return a parameter, None where it is not given."""
        return self._values.get(name)

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number of this range. Raises ApiError."""
        text = self._values.get(name)
        if text is None:
            return default
        is_number = text.isascii() and text.isdigit() and len(text) <= len(str(high))
        if not is_number or not low <= int(text) <= high:
            raise ApiError(400, f"{name} has to be a whole number, {low:,} to {high:,}")
        return int(text)

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """Return one of these, the first where none is given. Raises ApiError."""
        text = self._values.get(name, choices[0])
        if text not in choices:
            raise ApiError(400, f"{name} has to be {' or '.join(choices)}")
        return text

    def searched(self) -> Searched:
        """Return the filter and the window.

        Raises:
            ApiError: one of them is none; it says where.
        """
        zone = self._zone()
        return Searched(self.filter(zone), self._window(zone), zone)

    def filter(self, zone: tzinfo) -> Filter:
        """Return the filter. Raises ApiError."""
        try:
            return parse(self._values.get("q", ""), zone)
        except FilterError as error:
            raise ApiError(400, f"q: {error}") from error

    def path(self, name: str) -> Path | None:
        """Return a field's path, spelled as in a filter. Raises ApiError."""
        text = self._values.get(name)
        return None if text is None else path_of(name, text)

    def _zone(self) -> tzinfo:
        name = self._values.get("tz")
        if name is None:
            return UTC
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ApiError(
                400, "tz has to be the name of a time zone, such as Asia/Seoul"
            ) from None

    def _window(self, zone: tzinfo) -> Window:
        given = [self._values.get(name) for name in ("since", "until", "last")]
        try:
            return parse_window(given[0], given[1], given[2], datetime.now(UTC), zone)
        except TimeError as error:
            message = str(error)
            for name in ("since", "until", "last"):  # here they are no flags
                message = message.replace(f"--{name}", name)
            raise ApiError(400, message) from error


def path_of(name: str, text: str) -> Path:
    """Return the path that a field's name is.

    Raises:
        ApiError: it is none; `name` is the parameter's.
    """
    try:
        found = parse(f"{text}:*")
    except FilterError as error:
        raise ApiError(400, f"{name}: {error}") from error
    if not isinstance(found, Field) or found.operator != "exists":
        raise ApiError(400, f"{name} has to be a field, such as user.id or `level`")
    return found.path
