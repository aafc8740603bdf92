"""What is accepted as a load, and what is refused, each in a line."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import SettingsError
from penstock.provision.load import Indexes, Load, days_of, load_of


def a_load(
    gb: float | None = None, records: float | None = None, size: float | None = None
) -> Load:
    return load_of(gb_per_day=gb, records_per_day=records, record_bytes=size)


@pytest.mark.parametrize(
    ("gb", "records", "size"),
    [(3.06, None, None), (3.06, 1e7, None), (3.06, None, 306), (None, 1e7, 306)],
)
def test_two_of_the_three_figures_say_the_third(
    gb: float | None, records: float | None, size: float | None
) -> None:
    load = a_load(gb, records, size)
    assert load.gb_per_day == pytest.approx(3.06)
    assert load.records_per_day == pytest.approx(1e7)
    assert load.record_bytes == pytest.approx(306)


@pytest.mark.parametrize(
    "flag", ["--gb-per-day", "--records-per-day", "--record-bytes"]
)
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf, -math.inf, 1e300])
def test_no_number_is_refused_in_one_line_that_names_the_flag(
    flag: str, value: float
) -> None:
    values: dict[str, float | None] = {"--gb-per-day": 1.0}
    if flag == "--gb-per-day":
        values = {}
    values[flag] = value
    with pytest.raises(SettingsError) as refused:
        a_load(
            values.get("--gb-per-day"),
            values.get("--records-per-day"),
            values.get("--record-bytes"),
        )
    (problem,) = refused.value.problems
    assert problem.startswith(flag)


@pytest.mark.parametrize("peak", [0.0, 0.5, math.nan, math.inf, 1e6])
def test_a_peak_below_the_average_is_none(peak: float) -> None:
    with pytest.raises(SettingsError, match="--peak"):
        load_of(gb_per_day=1, records_per_day=None, record_bytes=None, peak=peak)


def test_nothing_said_is_refused() -> None:
    with pytest.raises(SettingsError, match="--gb-per-day, such as 20"):
        a_load()
    with pytest.raises(SettingsError, match="--records-per-day"):
        a_load(size=300)


def test_three_figures_at_once_are_refused() -> None:
    with pytest.raises(SettingsError, match="give two of them"):
        a_load(1, 1e6, 300)


def test_a_record_that_no_message_holds_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"19,073 MiB.*max_frame_bytes"):
        a_load(gb=20, records=1)


def test_a_record_smaller_than_an_empty_one_is_refused() -> None:
    with pytest.raises(SettingsError, match="an empty one has 7"):
        a_load(gb=1, records=1e12)


def test_one_record_a_day_is_a_load() -> None:
    load = a_load(records=1)
    assert load.record_bytes == 306
    assert 0 < load.table_bytes_per_day() < 1_000


@given(st.floats(1e-6, 1e5), st.floats(7, 60e6))
def test_every_accepted_load_has_finite_sums(gb: float, size: float) -> None:
    load = a_load(gb=gb, size=size)
    both = Indexes(of_message=True, of_attributes=True)
    sums = [
        load.peak_rows_per_second,
        load.peak_cores(with_postgres=True),
        load.table_bytes_per_day(),
        load.index_bytes_per_day(both),
        load.wal_bytes_per_day(),
    ]
    assert all(math.isfinite(each) and each > 0 for each in sums)


@pytest.mark.parametrize(
    ("text", "days"),
    [("14d", 14), ("14", 14), (" 2w ", 14), ("1 year", 365), ("1D", 1), ("3 days", 3)],
)
def test_retention_is_read(text: str, days: int) -> None:
    assert days_of(text) == days


@pytest.mark.parametrize(
    "text", ["0", "0d", "-1d", "1.5d", "36501d", "200y", "12h", "", "d", "9" * 50, "∞"]
)
def test_absurd_retention_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(SettingsError, match="--retention") as refused:
        days_of(text)
    assert len(refused.value.problems) == 1
