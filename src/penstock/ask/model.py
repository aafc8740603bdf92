"""The model behind an HTTP API. The one module that knows the anthropic SDK.

It owns the calls, what their errors are in one line, and the form that an answer has to
have. It must not know a database, and offers the model no tool: what comes back is text
that somebody else judges. Imported where it is needed, since the SDK is an extra:
`penstock.ask.opening`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import anthropic
from anthropic.types import Message, MessageParam, OutputConfigParam, TextBlockParam
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penstock.ask.answers import (
    Answer,
    AskBack,
    NoAnswer,
    SqlAnswer,
    UnusableAnswerError,
    Usage,
)
from penstock.ask.spend import Price, cost_of
from penstock.errors import (
    ModelError,
    ModelUnavailableError,
    PenstockError,
    SettingsError,
)
from penstock.settings import AskSettings

# 408, 409, 429 and 5xx are tried again so often, after half a second and a second.
MAX_RETRIES = 2
# What an API says of an error is shown, but it is not to fill the screen.
MAX_WORDS_CHARACTERS = 300
OVERLOADED = 529
ANTHROPIC_URL = "https://api.anthropic.com"

Turn = Mapping[str, str]  # role and content


class AnswerForm(BaseModel):
    """What the model fills in. Each field is always there: an empty text is none."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["sql", "ask_back", "no_answer"] = Field(
        description="sql: there is SQL. ask_back: the question can be meant in ways"
        " that differ much, ask which. no_answer: logs cannot answer it."
    )
    sql: str = Field(description="One SELECT for PostgreSQL, or empty.")
    reading: str = Field(
        description="One sentence, in the language of the question: what the SQL"
        " returns; or what you ask back; or why there is no answer."
    )
    assumptions: list[str] = Field(
        description="What you took for granted, each a short sentence in the language"
        " of the question."
    )
    since: str = Field(
        description="Begin of the time window that the SQL looks at, ISO 8601 with"
        " offset; empty if it has none."
    )
    until: str = Field(description="End of that window, or empty.")


class Model:
    """The model's API, of one address and key. To be closed."""

    def __init__(
        self,
        settings: AskSettings,
        *,
        api_key: str,
        base_url: str,
        prices: Mapping[str, Price],
    ) -> None:
        self._settings = settings
        self._api_key = api_key
        self._url = base_url or ANTHROPIC_URL
        self._prices = prices
        # With all that identifies us given, the SDK looks for none elsewhere.
        self._client = anthropic.AsyncAnthropic(
            api_key=api_key,
            base_url=self._url,
            timeout=settings.ask_timeout_seconds,
            max_retries=MAX_RETRIES,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def answer(
        self, model: str, system: str, turns: Sequence[Turn]
    ) -> tuple[Answer, Usage]:
        """Ask for SQL.

        Raises:
            UnusableAnswerError: refused, cut, or not in the form; it has been paid for.
            ModelUnavailableError: out of reach, overloaded, too slow.
            SettingsError: the key or the model's name is wrong.
        """
        schema = anthropic.transform_schema(AnswerForm)
        message = await self._message(
            model, system, turns, form={"type": "json_schema", "schema": schema}
        )
        # Not SDK's `parse`: it raises on a cut answer before one sees that it was cut,
        # and what it cost.
        usage = self._usage(model, message)
        text = _text_of(model, message, usage)
        try:
            form = AnswerForm.model_validate_json(text)
        except ValidationError as error:
            raise UnusableAnswerError(
                f"{model} answered something that is not in the form it was given;"
                " ask again, or in other words",
                usage,
            ) from error
        return _answer(model, form, usage), usage

    async def words(
        self, model: str, system: str, turns: Sequence[Turn]
    ) -> tuple[str, Usage]:
        """Ask for plain text.

        Raises:
            Like `answer`.
        """
        message = await self._message(model, system, turns)
        usage = self._usage(model, message)
        return _text_of(model, message, usage), usage

    async def _message(
        self,
        model: str,
        system: str,
        turns: Sequence[Turn],
        form: dict[str, Any] | None = None,
    ) -> Message:
        # The same for everybody and every question, so it is read from the cache.
        cached: TextBlockParam = {
            "type": "text",
            "text": system,
            "cache_control": {"type": "ephemeral"},
        }
        config: dict[str, Any] = {} if form is None else {"format": form}
        if self._settings.ask_effort != "default":
            config["effort"] = self._settings.ask_effort
        try:
            # The SDK's timeout is that of each try.
            async with asyncio.timeout(self._settings.ask_timeout_seconds):
                message = await self._client.messages.create(
                    model=model,
                    max_tokens=self._settings.ask_max_tokens,
                    system=[cached],
                    messages=[cast("MessageParam", dict(turn)) for turn in turns],
                    output_config=(
                        cast("OutputConfigParam", config) if config else anthropic.omit
                    ),
                )
        except (TimeoutError, anthropic.APITimeoutError) as error:
            raise ModelUnavailableError(
                f"no answer from {self._host} within"
                f" {self._settings.ask_timeout_seconds:g} s (ask_timeout_seconds)"
            ) from error
        except anthropic.APIStatusError as error:
            raise self._refused(model, error) from error
        except anthropic.APIConnectionError as error:
            raise ModelUnavailableError(
                f"cannot reach the model's API at {self._host}:"
                f" {self._words(error.__cause__ or error)}"
            ) from error
        except (anthropic.AnthropicError, ValueError, TypeError) as error:
            raise self._not_the_api(error) from error
        if not isinstance(message, Message):  # whatever its Content-Type says it is
            raise self._not_the_api(None)
        return message

    @property
    def _host(self) -> str:
        """The address without what may be a secret in it."""
        parts = urlsplit(self._url)
        return parts.netloc.rpartition("@")[2] or "the address in ask_base_url"

    def _not_the_api(self, error: Exception | None) -> ModelError:
        detail = f": {self._words(error)}" if error and str(error) else ""
        return ModelError(
            f"what {self._host} answers is not the model's API{detail}; check"
            " ask_base_url"
        )

    def _refused(self, model: str, error: anthropic.APIStatusError) -> PenstockError:
        """Return what an HTTP status means for the person who asked."""
        status = error.status_code
        host = self._host
        if status == 401:
            return SettingsError(
                f"{host} does not know the key (401); check ANTHROPIC_API_KEY or"
                " ask_api_key"
            )
        if status == 403:
            return SettingsError(f"{host} does not let this key use {model} (403)")
        if status == 404:
            return SettingsError(
                f"{host} has no model {model} (404); check ask_model, ask_repair_model"
                " and ask_base_url"
            )
        if status == 429:
            return ModelUnavailableError(
                f"{host} has had too many requests of this key (429), also after"
                f" {MAX_RETRIES} retries; try again in a minute"
            )
        if status >= 500:
            why = "is overloaded" if status == OVERLOADED else "fails"
            return ModelUnavailableError(
                f"{host} {why} ({status}), also after {MAX_RETRIES} retries; try again"
                " in a minute"
            )
        return ModelError(
            f"{host} refuses the request ({status}): {self._words(error)}"
        )

    def _words(self, error: BaseException) -> str:
        text = " ".join(str(error).split()) or type(error).__name__
        text = text.replace(self._api_key, "***") if self._api_key else text
        return text[:MAX_WORDS_CHARACTERS]

    def _usage(self, model: str, message: Message) -> Usage:
        """Return what was used; a gateway may leave out any of it."""
        counted = getattr(message, "usage", None)

        def tokens(name: str) -> int:
            number = getattr(counted, name, None)
            return number if isinstance(number, int) and number > 0 else 0

        usage = Usage(
            model,
            input_tokens=tokens("input_tokens"),
            cache_write_tokens=tokens("cache_creation_input_tokens"),
            cache_read_tokens=tokens("cache_read_input_tokens"),
            output_tokens=tokens("output_tokens"),
        )
        return replace(usage, cost_usd=cost_of(usage, self._prices))


def _text_of(model: str, message: Message, usage: Usage) -> str:
    """Return the answer's text, if it came to its end."""
    stopped = getattr(message, "stop_reason", None)
    if stopped == "refusal":
        raise UnusableAnswerError(f"{model} refuses to answer this question", usage)
    if stopped in ("max_tokens", "model_context_window_exceeded"):
        raise UnusableAnswerError(
            f"{model} did not come to the end of its answer; raise ask_max_tokens, or"
            " ask for less at once",
            usage,
        )
    if stopped not in ("end_turn", "stop_sequence"):  # pause_turn, tool_use, none
        raise UnusableAnswerError(
            f"{model} stopped without an answer ({str(stopped)[:40]}); ask again", usage
        )
    blocks = getattr(message, "content", None) or []
    texts = [block.text for block in blocks if block.type == "text"]
    # Thinking stands in blocks of another type. With several texts the last is it.
    if not texts or not isinstance(texts[-1], str) or not texts[-1].strip():
        raise UnusableAnswerError(f"{model} answered nothing; ask again", usage)
    return texts[-1]


def _answer(model: str, form: AnswerForm, usage: Usage) -> Answer:
    if form.kind == "ask_back":
        return AskBack(form.reading)
    if form.kind == "no_answer":
        return NoAnswer(form.reading)
    if not form.sql.strip():
        raise UnusableAnswerError(f"{model} answered without SQL; ask again", usage)
    return SqlAnswer(
        sql=form.sql.strip(),
        reading=form.reading,
        assumptions=tuple(form.assumptions),
        since=form.since,
        until=form.until,
    )
