"""What AWS asks for: one dated file, prices.json, or another of its shape.

Owns how it is read and what it has to hold; each fault is one line with the place in
the file. It must not know what is bought, and asks nobody: no price comes from a net.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from penstock.errors import SettingsError

OWN_FILE: Final = "prices.json"
HOURS_A_MONTH: Final = 730
# A slip of the hand is caught; nothing here costs so much a unit.
_MOST_USD: Final = 1e6


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of one region."""

    region: str
    region_name: str
    known: str
    where: str
    estimated: frozenset[str]
    discounts: Mapping[str, float]
    spot_discount: float
    figures: Mapping[str, Any]

    def usd(self, group: str, name: str = "") -> float:
        """Return a price.

        Raises:
            SettingsError: the file has none, or what stands there is none.
        """
        place = f"regions.{self.region}.{group}"
        value = self.figures.get(group)
        if name:
            place = f"{place}.{name}"
            value = value.get(name) if isinstance(value, Mapping) else None
        return _number(value, self.where, place, _MOST_USD)

    def has(self, group: str, name: str) -> bool:
        """Whether there is a price for it: a machine without one is not taken."""
        found = self.figures.get(group)
        return isinstance(found, Mapping) and name in found

    def one_year(self, family: str) -> float:
        """Return what is left of a machine's price when it is taken for a year."""
        return 1 - self.discounts.get(family, 0.0)

    @property
    def spot(self) -> float:
        """What is left of a machine's price when it may be taken away."""
        return 1 - self.spot_discount


def read_prices(region: str, file: Path | None = None) -> Prices:
    """Return a region's prices, from our own file or another.

    Raises:
        SettingsError: it cannot be read, is none, or has not that region.
    """
    told = _read(file)
    where = str(file) if file else OWN_FILE
    regions = _mapping(told.get("regions"), where, "regions")
    if region not in regions:
        raise SettingsError(
            f"no prices of {region[:40]!r}: {where} has {', '.join(regions) or 'none'};"
            " give --prices FILE with your region's"
        )
    figures = _mapping(regions[region], where, f"regions.{region}")
    given = _mapping(told.get("one_year_discount", {}), where, "one_year_discount")
    discounts = {
        family: _number(value, where, f"one_year_discount.{family}", 1)
        for family, value in given.items()
    }
    estimated = figures.get("estimated", ())
    return Prices(
        region=region,
        region_name=str(figures.get("name", region)),
        known=str(told.get("known", "an unknown day")),
        where=where,
        estimated=frozenset(map(str, estimated if isinstance(estimated, list) else ())),
        discounts=discounts,
        spot_discount=_number(told.get("spot_discount", 0), where, "spot_discount", 1),
        figures=figures,
    )


def sources() -> Mapping[str, Mapping[str, str]]:
    """Return, for each group of our own file, its page, its date and how it was had."""
    found: Mapping[str, Mapping[str, str]] = _read(None)["sources"]
    return found


def regions() -> Mapping[str, str]:
    """Return the regions of our own file, with their names."""
    return {code: each["name"] for code, each in _read(None)["regions"].items()}


def _read(file: Path | None) -> Mapping[str, Any]:
    if file is None:
        text = resources.files("penstock.provision").joinpath(OWN_FILE).read_text()
        told: Mapping[str, Any] = json.loads(text)
        return told
    try:
        return _mapping(json.loads(file.read_bytes()), str(file), "the file")
    except OSError as error:
        raise SettingsError(f"--prices {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"--prices {file}: no JSON: {error}") from error


def _mapping(value: Any, where: str, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingsError(
            f"{where}: {place} is no object; our own {OWN_FILE} shows the shape"
        )
    return value


def _number(value: Any, where: str, place: str, most: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or not 0 <= value <= most:
        said = "missing" if value is None else f"{str(value)[:40]!r}"
        raise SettingsError(f"{where}: {place} is {said}: give 0 to {most:,.0f}")
    return float(value)
