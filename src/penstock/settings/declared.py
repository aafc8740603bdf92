"""How a setting is declared: its default, its help text, the values it takes.

It owns the words for what is accepted. It must not know any setting.
"""

from dataclasses import Field, field, fields
from typing import Any, NamedTuple

from penstock.errors import SettingsError

KIB = 1024
MIB = 1024 * KIB
# Of a number that is chosen by the machine unless it is given.
AUTO = "auto"


class Accepted(NamedTuple):
    """What a setting does and which values it takes."""

    help_text: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    # May stand in no command line, log line or page.
    secret: bool = False
    may_be_empty: bool = False
    # A whole number, or `auto`, which is the default.
    is_number_or_auto: bool = False
    # Without it more people get in: a text that is empty, such as a variable that a
    # Compose file sets to nothing, is a mistake and no value.
    is_guard: bool = False
    # Of a secret: its file may hold nothing, for whoever has none yet.
    file_may_be_empty: bool = False
    # SIGHUP applies a change; see also `is_reloaded`.
    is_reloaded: bool = False
    # The value is a list of tables, each of them one of these.
    table: type | None = None

    def in_words(self) -> str:
        """Return the accepted values as a person would say them."""
        if self.choices:
            return ", ".join(self.choices)
        if self.low is not None and self.high is not None:
            before = f"{AUTO}, or " if self.is_number_or_auto else ""
            return f"{before}{self.low:,} to {self.high:,}"
        return f"{self.low:,} or more" if self.low is not None else "any"

    def check(self, name: str, value: Any) -> None:
        """Raise SettingsError, with name and range, if `value` is not taken."""
        if self.is_number_or_auto and value == AUTO:
            return
        wrong = (
            (self.low is not None and value < self.low)
            or (self.high is not None and value > self.high)
            or (bool(self.choices) and value not in self.choices)
        )
        if wrong:
            raise SettingsError(f"{name} is {value}; accepted: {self.in_words()}")


def setting(default: Any, help_text: str, **accepted: Any) -> Any:
    """Declare a dataclass field as a setting."""
    described = Accepted(help_text, **accepted)
    # A secret is in no log line, also where somebody logs the whole settings.
    return field(default=default, metadata={"is": described}, repr=not described.secret)


def is_reloaded(concern: type, each: Field[Any]) -> bool:
    """Tell whether SIGHUP applies a change of this setting, or only a restart does."""
    accepted: Accepted = each.metadata["is"]
    return accepted.is_reloaded or getattr(concern, "IS_RELOADED", False)


def check_settings(settings: Any) -> None:
    """Raise SettingsError if a field of the dataclass `settings` is out of range."""
    for each in fields(settings):
        accepted: Accepted = each.metadata["is"]
        accepted.check(each.name, getattr(settings, each.name))
