"""What a model answered, as plain values.

It owns the forms. It must not know the SDK that they came by, nor whether the SQL is
allowed: nothing here has passed the guard.
"""

from dataclasses import dataclass
from decimal import Decimal

from penstock.errors import ModelError


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens of one call, as the API counts them, and what they cost."""

    model: str
    input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_read_tokens: int = 0
    output_tokens: int = 0
    # None: the settings have no price for the model.
    cost_usd: Decimal | None = None

    @property
    def all_input_tokens(self) -> int:
        """The tokens of the prompt, from the cache or not."""
        return self.input_tokens + self.cache_write_tokens + self.cache_read_tokens


@dataclass(frozen=True, slots=True)
class SqlAnswer:
    """SQL for a question, and how the model has read it.

    `since` and `until` are what the model says that it looks at: ISO 8601, or empty.
    """

    sql: str
    reading: str
    assumptions: tuple[str, ...] = ()
    since: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class AskBack:
    """The model needs to know more before it can answer."""

    question: str


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The logs cannot answer this, the model says, or it will not."""

    reason: str


Answer = SqlAnswer | AskBack | NoAnswer


class UnusableAnswerError(ModelError):
    """An answer that is of no use, and was paid for all the same."""

    def __init__(self, text: str, usage: Usage) -> None:
        super().__init__(text)
        self.usage = usage
