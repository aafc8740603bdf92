"""Conversations of a server that may never be asked.

It owns that the SDK is imported, and a connection made, when somebody asks. Opening
takes milliseconds, a call seconds.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from penstock.ask.answers import Answer, Usage
from penstock.ask.audit import Audit
from penstock.ask.conversation import Conversation, OpenSession
from penstock.ask.opening import open_model
from penstock.settings import AskSettings


class LazyModel:
    """As ask.model.Model, without anything to be closed."""

    def __init__(
        self, settings: AskSettings, *, environment_key: str, environment_url: str
    ) -> None:
        self._settings = settings
        self._key = environment_key
        self._url = environment_url

    async def answer(
        self, model: str, system: str, turns: list[dict[str, str]]
    ) -> tuple[Answer, Usage]:
        """As ask.model.Model.answer; and what `open_model` raises."""
        async with open_model(
            self._settings, environment_key=self._key, environment_url=self._url
        ) as opened:
            return await opened.answer(model, system, turns)

    async def words(
        self, model: str, system: str, turns: list[dict[str, str]]
    ) -> tuple[str, Usage]:
        """As ask.model.Model.words; and what `open_model` raises."""
        async with open_model(
            self._settings, environment_key=self._key, environment_url=self._url
        ) as opened:
            return await opened.words(model, system, turns)


def conversations(
    settings: AskSettings,
    audit: Audit,
    open_session: OpenSession,
    *,
    environment_key: str,
    environment_url: str,
) -> Callable[[str], Conversation]:
    """Return what begins a conversation with somebody in a time zone."""
    model = LazyModel(
        settings, environment_key=environment_key, environment_url=environment_url
    )

    def converse(time_zone: str) -> Conversation:
        return Conversation(
            model=model,
            audit=audit,
            open_session=open_session,
            settings=settings,
            time_zone=time_zone,
            now=lambda: datetime.now(UTC),
        )

    return converse
