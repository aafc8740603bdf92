"""What a question costs, and that a limit without prices is refused."""

from decimal import Decimal

import pytest

from penstock.ask.answers import Usage
from penstock.ask.spend import (
    SpendLimitError,
    check_prices,
    check_spend,
    cost_of,
    in_dollars,
    price_of,
    read_prices,
)
from penstock.errors import SettingsError
from penstock.settings import AskSettings

PRICES = read_prices(("a-model=1/5", "b=0.10/0.50"))


def test_the_models_of_the_default_settings_have_prices() -> None:
    settings = AskSettings()
    prices = read_prices(settings.ask_prices)
    check_prices((settings.ask_model, settings.ask_repair_model), prices, 1)


def test_each_kind_of_token_has_its_price() -> None:
    def cost(new: int, to_cache: int, cached: int, written: int) -> Decimal | None:
        return cost_of(Usage("a-model", new, to_cache, cached, written), PRICES)

    assert cost(1_000_000, 0, 0, 0) == 1
    assert cost(0, 1_000_000, 0, 0) == Decimal("1.25")  # into the cache
    assert cost(0, 0, 1_000_000, 0) == Decimal("0.1")  # from the cache
    assert cost(0, 0, 0, 1_000_000) == 5


def test_a_dated_version_costs_what_its_name_does_and_another_name_is_unknown() -> None:
    assert price_of("a-model-20261101", PRICES) == PRICES["a-model"]
    assert price_of("a-model-large", PRICES) is None
    assert cost_of(Usage("other", 5), PRICES) is None


@pytest.mark.parametrize(
    "text", ["", "a", "a=1", "a=1/x", "a=1/2/3", "a=-1/2", "a=1./2", "=1/2", "a=/"]
)
def test_a_price_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingsError, match="MODEL=INPUT/OUTPUT"):
        read_prices((text,))


def test_a_limit_needs_a_price_for_each_model_and_no_limit_none() -> None:
    with pytest.raises(SettingsError, match="no price for other"):
        check_prices(("a-model", "other"), PRICES, 1.0)
    check_prices(("other",), PRICES, 0)


def test_a_limit_that_is_reached_refuses_and_one_that_is_none_does_not() -> None:
    check_spend(Decimal("0.99"), 1.0)
    check_spend(Decimal(1_000_000), 0)
    with pytest.raises(SpendLimitError, match=r"\$1\.00, and ask_spend_per_day is \$1"):
        check_spend(Decimal(1), 1.0)


def test_a_small_cost_is_not_shown_as_nothing() -> None:
    assert in_dollars(Decimal("0.00015")) == "$0.00015"
    assert in_dollars(Decimal("12.345")) == "$12.34"
