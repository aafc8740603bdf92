"""FILTER on a command line: several words are one filter, and -word is no option.

It owns how the shell's words become the filter's text. It must not know the language.
"""

from collections.abc import Sequence
from typing import Any

import click

from penstock.search.filters import Filter, FilterError
from penstock.search.language import parse

# Stands before a word of the filter that click would take for options of one letter.
_WORD = "\0"


class FilterCommand(click.Command):
    """A command whose arguments are a filter: `-word` and `-field:value` negate."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, self._marked(args))

    def _marked(self, args: Sequence[str]) -> list[str]:
        """Mark what begins with a minus and is no option, nor an option's value."""
        flags: dict[str, bool] = {}
        for parameter in self.params:
            if isinstance(parameter, click.Option):
                takes_value = not (parameter.is_flag or parameter.count)
                flags |= dict.fromkeys(parameter.opts, takes_value)
        marked: list[str] = []
        is_value = False
        for place, word in enumerate(args):
            if word == "--" and not is_value:
                return [*marked, *args[place:]]
            is_short = word.startswith("-") and not word.startswith("--")
            is_word = is_short and len(word) > 1 and not self._is_option(word, flags)
            marked.append(_WORD + word if is_word and not is_value else word)
            is_value = not is_value and flags.get(word, False)
        return marked

    def _is_option(self, word: str, flags: dict[str, bool]) -> bool:
        """Tell whether it is an option of one letter, its value behind it or not."""
        if word in flags:
            return True
        if not flags.get(word[:2], False):
            return False
        of_choice = [
            parameter.type.choices
            for parameter in self.params
            if word[:2] in parameter.opts and isinstance(parameter.type, click.Choice)
        ]
        return bool(of_choice) and word[2:] in of_choice[0]


def filter_argument(command: Any) -> Any:
    """Add FILTER... to a command."""
    return click.argument("words", nargs=-1, metavar="[FILTER]...")(command)


def read_filter(words: Sequence[str], zone: Any) -> Filter:
    """Return the filter that the words of the command line are.

    Raises:
        FilterError: they are none; the place is that in all of them, with blanks
            between.
    """
    text = " ".join(word.removeprefix(_WORD) for word in words)
    try:
        return parse(text, zone)
    except FilterError as error:
        raise FilterError(f"in the filter {error}") from None
