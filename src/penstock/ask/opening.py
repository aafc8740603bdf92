"""Where the model begins: the extra that has to be installed, the key, the prices.

It owns what is said when one of them is missing. It must not read the environment: what
stands there comes in.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from penstock.ask.spend import check_prices, read_prices
from penstock.errors import PenstockError, SettingsError
from penstock.settings import AskSettings

if TYPE_CHECKING:
    from penstock.ask.model import Model

NOT_INSTALLED = "questions need the anthropic SDK: pip install 'penstock[ask]'"
NO_KEY = (
    "no key for the model's API: set ANTHROPIC_API_KEY, or ask_api_key_file to a file"
    " that holds it"
)


@asynccontextmanager
async def open_model(
    settings: AskSettings, *, environment_key: str = "", environment_url: str = ""
) -> AsyncIterator["Model"]:
    """Yield the model, ready to be asked.

    Args:
        environment_key: of ANTHROPIC_API_KEY, for where the settings have none.
        environment_url: of ANTHROPIC_BASE_URL, likewise.

    Raises:
        PenstockError: the SDK is not installed.
        SettingsError: no key, or no price for a model that has a limit.
    """
    prices = read_prices(settings.ask_prices)
    models = (settings.ask_model, settings.ask_repair_model)
    check_prices(models, prices, settings.ask_spend_per_day)
    api_key = settings.ask_api_key or environment_key
    if not api_key:
        raise SettingsError(NO_KEY)
    if not (api_key.isascii() and api_key.isprintable()):
        raise SettingsError("the key for the model's API holds what no key does")
    base_url = settings.ask_base_url or environment_url
    if base_url and not base_url.startswith(("http://", "https://")):
        raise SettingsError("ask_base_url is no http:// or https:// address")

    def opened() -> "Model":
        try:
            from penstock.ask.model import Model
        except ImportError as error:
            raise PenstockError(NOT_INSTALLED) from error
        return Model(settings, api_key=api_key, base_url=base_url, prices=prices)

    # The SDK takes a second or two to be imported, which a server's other work is not
    # to wait for.
    model = await asyncio.to_thread(opened)
    try:
        yield model
    finally:
        await model.close()
