"""The time zone that this machine's clock shows, for any time of any year.

It owns what Python has only for a single moment. It must not know what is shown.
"""

import datetime as dt

from penstock import config
from penstock.cli.output import print_problem


def own_zone(*, utc: bool) -> dt.tzinfo:
    """Return the zone of times that are typed and shown: the system's, or UTC."""
    if utc:
        return dt.UTC
    if unknown := config.unknown_time_zone():
        print_problem(
            f"TZ is {unknown}, and there is no such time zone here: times are in UTC;"
            " a name is Europe/Berlin, or --utc says that it is meant"
        )
    return LocalZone()


class LocalZone(dt.tzinfo):
    """The zone of the system, with its summer times (TZ, /etc/localtime)."""

    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta | None:
        if moment is None:
            return None
        return self._aware(moment).utcoffset()

    def dst(self, moment: dt.datetime | None) -> dt.timedelta | None:
        return None

    def tzname(self, moment: dt.datetime | None) -> str | None:
        return None if moment is None else self._aware(moment).tzname()

    def fromutc(self, moment: dt.datetime) -> dt.datetime:
        known = moment.replace(tzinfo=dt.UTC).astimezone()
        local = known.replace(tzinfo=self)
        # Of an hour that a clock shows twice, it may be the second.
        return local.replace(fold=int(local.utcoffset() != known.utcoffset()))

    def _aware(self, moment: dt.datetime) -> dt.datetime:
        # Of a time without a zone Python takes the system's, and minds `fold`.
        try:
            return moment.replace(tzinfo=None).astimezone()
        except (ValueError, OSError):  # at the ends of the calendar
            raise OverflowError("a time outside the years 1 to 9999") from None
