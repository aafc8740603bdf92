"""The search language on whatever may be typed: it is read, printed and compiled."""

import re
from datetime import UTC, datetime

import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.ask.guard import check
from penstock.search import regex, statements
from penstock.search.compile import Parameters, condition
from penstock.search.filters import Filter, FilterError, Regex, walk
from penstock.search.language import parse
from penstock.search.literals import written_out
from penstock.search.spelling import spell
from penstock.search.times import Window
from tests.filter_strategies import FILTERS, SPECIAL

DAY = Window(datetime(2026, 11, 5, tzinfo=UTC), datetime(2026, 11, 6, tzinfo=UTC))

# All that the SQL of a condition is made of: if anything of a filter were in it, it
# would not be.
SQL = re.compile(
    r"""(\$\d+|::(text|jsonb|numeric|bigint|timestamptz)(\[\])?|[(),=<>@~* -]|->>?|\#>>?
    |message|tag|service|host|level|attributes|id|ts|jsonb_typeof|ILIKE|LIKE|COLLATE
    |"C"|IS|NOT|NULL|TRUE|true|AND|OR|CASE|WHEN|THEN|END|'number'|'string'
    |'\^-\?\[0-9\][^']*')+""",
    re.VERBOSE,
)


def is_taken(filter: Filter) -> bool:
    """Whether its regular expressions are."""
    try:
        for each in walk(filter):
            if isinstance(each, Regex):
                regex.check(each.pattern)
    except FilterError:
        return False
    return True


@given(FILTERS.filter(is_taken))
def test_what_is_printed_of_a_filter_is_read_as_the_filter(filter: Filter) -> None:
    assert parse(spell(filter)) == filter


@given(FILTERS.filter(is_taken))
def test_nothing_of_a_filter_is_in_its_sql(filter: Filter) -> None:
    parameters = Parameters()

    sql = condition(filter, parameters)

    assert SQL.fullmatch(sql), sql
    numbers = {int(number) for number in re.findall(r"\$(\d+)", sql)}
    assert numbers == set(range(1, len(parameters.values) + 1))


@given(FILTERS.filter(is_taken))
def test_the_sql_that_is_shown_passes_the_guard(filter: Filter) -> None:
    check(written_out(statements.page(filter, DAY, limit=5)))


@settings(max_examples=500)
@given(
    st.one_of(
        st.text(max_size=40),
        st.lists(
            st.sampled_from(
                [*SPECIAL, "a", "level", "message", "any", "ts", ":", "/i"]
            ),
            max_size=14,
        ).map("".join),
    )
)
def test_whatever_is_typed_is_read_or_refused_in_a_line(text: str) -> None:
    try:
        filter = parse(text)
    except FilterError as error:
        assert re.match(r"at \d+: ", str(error))
        assert len(str(error).splitlines()) == 1
        assert len(str(error)) < 300
    else:
        assert parse(spell(filter)) == filter


@given(st.text(alphabet="ab[](){}*+?|^$\\-.:dwsDWSbnxi0123,é/", max_size=14))
def test_a_pattern_is_taken_by_both_or_refused(pattern: str) -> None:
    try:
        expression = regex.translate(pattern, "re2")
    except FilterError:
        return
    re2.compile(expression.text)
