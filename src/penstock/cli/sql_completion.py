"""What the prompt of `penstock sql` offers to complete.

It owns which words there are and where each is offered. It must not ask the database:
the keys of attributes are told to it.
"""

import re
from collections.abc import Collection, Iterable, Iterator

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from penstock.ask.guard import VIEWS

KEYWORDS = """
SELECT FROM WHERE AND OR NOT IN IS NULL LIKE ILIKE BETWEEN EXISTS AS ON JOIN LEFT
LATERAL GROUP BY HAVING ORDER LIMIT OFFSET DISTINCT WITH UNION ALL CASE WHEN THEN ELSE
END ASC DESC INTERVAL FILTER OVER PARTITION VALUES EXPLAIN CAST AT TIME ZONE TRUE FALSE
""".split()
FUNCTIONS = """
count sum avg min max now date_trunc date_bin percentile_cont coalesce lower upper left
length round to_char extract string_agg array_agg jsonb_object_keys jsonb_array_length
generate_series row_number lag lead regexp_replace split_part
""".split()
LEVELS = "TRACE DEBUG INFO WARN ERROR FATAL".split()

WORD = re.compile(r"\w+$")
# Behind attributes ->> ' or #>> '{, as far as the key is typed.
KEY = re.compile(r"(?:->>?\s*'|#>>?\s*'\{|\?\s*')([^'{},]*)$")
# In a text of any other kind: level names, and nothing else is known.
TEXT = re.compile(r"^(?:[^']|'[^']*')*'([^']*)$", re.DOTALL)


class SqlCompleter(Completer):
    """Views, columns, keywords and functions; keys of attributes where they stand."""

    def __init__(self) -> None:
        self.keys: Collection[str] = ()
        columns = {column for view in VIEWS.values() for column in view}
        self._names = sorted({*VIEWS, *columns, *FUNCTIONS})

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """Yield what the text before the cursor may go on as."""
        before = document.text_before_cursor
        if found := KEY.search(before):
            yield from _beginning(found[1], sorted(self.keys))
        elif found := TEXT.match(before):
            yield from _beginning(found[1], LEVELS)
        elif found := WORD.search(before):
            typed = found[0]
            is_lower = typed == typed.lower()
            words = [each.lower() if is_lower else each for each in KEYWORDS]
            yield from _beginning(typed, self._names)
            yield from _beginning(typed, words)


def _beginning(typed: str, words: Iterable[str]) -> Iterator[Completion]:
    for word in words:
        if word.lower().startswith(typed.lower()) and word != typed:
            yield Completion(word, start_position=-len(typed))
