"""What questions cost, and how much they may.

It owns prices and the limit of a day. It must not know where the cost is written down.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple

from penstock.ask.answers import Usage
from penstock.errors import PenstockError, SettingsError

MILLION = Decimal(1_000_000)
# Of the price of input (the API's documentation, "Prompt caching", pricing). Reading
# costs less than this with some models: rather too much is counted than too little.
CACHE_WRITE = Decimal("1.25")
CACHE_READ = Decimal("0.1")

_PRICE = re.compile(r"(?P<model>[^=\s]+)\s*=\s*(?P<input>[\d.]+)/(?P<output>[\d.]+)")
_NUMBER = re.compile(r"\d+(\.\d+)?")
_DATED = re.compile(r"-\d{8}$")


class Price(NamedTuple):
    """US dollars for a million tokens."""

    input_usd: Decimal
    output_usd: Decimal


class SpendLimitError(PenstockError):
    """The day's limit is reached, or nobody can tell whether it is."""


def read_prices(texts: Iterable[str]) -> dict[str, Price]:
    """Read the setting `ask_prices`.

    Raises:
        SettingsError: one of them is not MODEL=INPUT/OUTPUT.
    """
    prices = {}
    for text in texts:
        found = _PRICE.fullmatch(text.strip())
        if found is None or not all(
            _NUMBER.fullmatch(found[part]) for part in ("input", "output")
        ):
            raise SettingsError(
                f"ask_prices: {text!r} is not MODEL=INPUT/OUTPUT, as in"
                " claude-haiku-5-5=0.10/0.50"
            )
        prices[found["model"]] = Price(
            Decimal(found["input"]), Decimal(found["output"])
        )
    return prices


def price_of(model: str, prices: Mapping[str, Price]) -> Price | None:
    """Return the price of a model, or of the one that it is a dated version of."""
    return prices.get(model) or prices.get(_DATED.sub("", model))


def cost_of(usage: Usage, prices: Mapping[str, Price]) -> Decimal | None:
    """Return what a call cost in US dollars, None without a price."""
    price = price_of(usage.model, prices)
    if price is None:
        return None
    input_tokens = (
        usage.input_tokens
        + CACHE_WRITE * usage.cache_write_tokens
        + CACHE_READ * usage.cache_read_tokens
    )
    total = input_tokens * price.input_usd + usage.output_tokens * price.output_usd
    return total / MILLION


def check_prices(
    models: Iterable[str], prices: Mapping[str, Price], limit_usd: float
) -> None:
    """Refuse a limit that nobody could keep.

    Raises:
        SettingsError: there is a limit, and no price for a model.
    """
    if not limit_usd:
        return
    for model in models:
        if price_of(model, prices) is None:
            raise SettingsError(
                f"ask_prices has no price for {model}, so ask_spend_per_day cannot be"
                f" kept; add {model}=INPUT/OUTPUT (US dollars for a million tokens), or"
                " set ask_spend_per_day to 0"
            )


def check_spend(spent_usd: Decimal, limit_usd: float) -> None:
    """Refuse another call of the model when the day's limit is spent.

    Raises:
        SpendLimitError: it is.
    """
    if limit_usd and spent_usd >= Decimal(str(limit_usd)):
        raise SpendLimitError(
            f"questions of the last 24 hours cost {in_dollars(spent_usd)}, and"
            f" ask_spend_per_day is ${limit_usd:g}: no more are asked until some of"
            " them are a day old"
        )


def in_dollars(cost_usd: Decimal) -> str:
    """Return an amount with as many places as it takes to be more than nothing."""
    return f"${cost_usd:.2f}" if cost_usd >= 1 else f"${cost_usd:.5f}"
