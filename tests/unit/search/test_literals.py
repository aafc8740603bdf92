"""The SQL that is shown is the SQL that runs, with its values in it."""

from datetime import UTC, datetime, timedelta

from penstock.search import statements
from penstock.search.language import parse
from penstock.search.literals import written_out
from penstock.search.times import Window

START = datetime(2026, 11, 5, tzinfo=UTC)
DAY = Window(START, START + timedelta(days=1))


def test_a_page_is_written_out_as_somebody_would_type_it() -> None:
    filter = parse("it's level:>=warn status:500 a.b:x* duration:>1.5")

    assert written_out(statements.page(filter, DAY, limit=5)) == (
        "SELECT id, ts, level, service, host, tag, message, attributes\n"
        "FROM logs\n"
        "WHERE ts >= timestamptz '2026-11-05 00:00:00+00:00'"
        " AND ts < timestamptz '2026-11-06 00:00:00+00:00'\n"
        "  AND (message ILIKE '%it''s%' AND level >= 'WARN'"
        """ AND (((attributes -> 'status') = '"500"'::jsonb"""
        """ OR (attributes -> 'status') = '500'::jsonb)"""
        """ AND (attributes @> '{"status": "500"}'::jsonb"""
        """ OR attributes @> '{"status": 500}'::jsonb))"""
        " AND (attributes #>> ARRAY['a', 'b']::text[]) LIKE 'x%'"
        " AND CASE WHEN jsonb_typeof((attributes -> 'duration')) = 'number'"
        " OR jsonb_typeof((attributes -> 'duration')) = 'string'"
        " AND (attributes ->> 'duration')"
        r" ~ '^-?[0-9]{1,100}(\.[0-9]{1,100})?([eE][+-]?[0-9]{1,3})?$'"
        " THEN (attributes ->> 'duration')::numeric > 1.5 END)\n"
        "ORDER BY ts DESC, id DESC\n"
        "LIMIT 5"
    )


def test_a_histogram_is_written_out_too() -> None:
    step = timedelta(minutes=2)
    query = statements.histogram(parse(""), DAY, step=step, origin=START)

    assert written_out(query) == (
        "SELECT date_bin(make_interval(secs => 120.0), ts,"
        " timestamptz '2026-11-05 00:00:00+00:00') AS start, level, count(*)\n"
        "FROM logs\n"
        "WHERE ts >= timestamptz '2026-11-05 00:00:00+00:00'"
        " AND ts < timestamptz '2026-11-06 00:00:00+00:00'\n"
        "GROUP BY 1, 2\n"
        "ORDER BY 1, 2"
    )
