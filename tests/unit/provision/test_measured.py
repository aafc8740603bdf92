"""The figures that sizes follow from are those of docs/performance.md."""

import re
from pathlib import Path

import pytest

from penstock.provision import measured
from penstock.provision.measured import ByRecord, Figure

PAGE = (Path(__file__).parents[3] / "docs" / "performance.md").read_text()
# Another run on another day may differ by so much before sizes have to follow.
MOST_APART = 1.5

# The section's title, the row and the column, from 0, where each stands.
PLACES: dict[str, tuple[Figure, str, str, int]] = {
    "rate": (measured.ROWS_PER_SECOND.usual, "End to end", "end to end", 1),
    "Penstock's CPU": (measured.PENSTOCK_CPU.usual, "End to end", "CPU", 1),
    "PostgreSQL's CPU": (
        measured.POSTGRES_CPU.usual,
        "End to end",
        "PostgreSQL's CPU",
        1,
    ),
    "a row": (measured.ROW_BYTES.usual, "On disk", "sealed", 4),
    "dump": (measured.DUMP_SECONDS, "Backups", "create, all", 3),
    "verify": (measured.VERIFY_SECONDS, "Backups", "verify", 3),
    "restore": (
        measured.RESTORE_SECONDS,
        "Backups",
        "restore, a fresh data directory",
        3,
    ),
}


def on_page(section: str, row: str, column: int) -> float:
    """Return the number that stands in a section's first table."""
    found = re.search(rf"^### {section}.*?(?=^###? |^<!-- end)", PAGE, re.M | re.S)
    assert found, f"no section {section}"
    line = re.search(rf"^\| {re.escape(row)} \|.*$", found[0], re.M)
    assert line, f"no row {row} in {section}"
    return float(line[0].strip("|").split("|")[column].strip().replace(",", ""))


@pytest.mark.parametrize("name", PLACES)
def test_a_figure_is_the_one_on_the_performance_page(name: str) -> None:
    figure, section, row, column = PLACES[name]
    said = on_page(section, row, column)
    assert said / MOST_APART <= figure.value <= said * MOST_APART


def test_every_figure_says_where_it_was_measured() -> None:
    figures: list[Figure] = []
    for told in vars(measured).values():
        if isinstance(told, ByRecord):
            figures += [told.usual, told.long]
        elif isinstance(told, Figure):
            figures.append(told)
    assert len(figures) > 15
    for figure in figures:
        is_page = figure.source.startswith("docs/performance.md, ")
        assert is_page or re.match(r"make bench .*, 2026-\d\d-\d\d$", figure.source)
        assert figure.unit and figure.value > 0


def test_what_was_measured_is_met_exactly() -> None:
    near, far = measured.USUAL_BYTES, measured.LONG_BYTES
    assert measured.ROW_BYTES.at(near) == measured.ROW_BYTES.usual.value
    assert measured.ROW_BYTES.at(far) == pytest.approx(measured.ROW_BYTES.long.value)
    assert measured.most_rows_per_second(near) == pytest.approx(227_701)
    assert measured.most_rows_per_second(far) == pytest.approx(45_428)


def test_no_rate_above_the_measured_one_is_promised() -> None:
    assert measured.most_rows_per_second(7) == pytest.approx(227_701)


def test_records_of_a_few_bytes_still_cost_a_row() -> None:
    assert measured.MESSAGE_INDEX_BYTES.at(7) > 0
    assert measured.cpu_seconds_per_row(7, with_postgres=True) > 0
