"""What a table leaves out, and that it says so."""

import pytest

from penstock.cli.output import MOST_CELLS, MOST_CHARACTERS, print_csv, print_table


def test_a_table_has_as_many_rows_as_somebody_looks_through_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [(number, "x") for number in range(MOST_CELLS)]
    print_table(["n", "x"], rows)
    told = capsys.readouterr()
    assert str(MOST_CELLS // 2 - 1) in told.out
    assert str(MOST_CELLS // 2) not in told.out
    assert "the first 10,000 of 20,000 rows" in told.err


def test_of_one_row_with_more_columns_than_that_all_are_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(["a", "b"], [(1, 2)])
    assert "the first" not in capsys.readouterr().err


def test_a_very_long_value_is_cut_in_a_table_and_nowhere_else(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [("한" * (MOST_CHARACTERS + 1),)]
    print_table(["a"], rows)
    assert f"한... ({MOST_CHARACTERS + 1:,} characters)" in capsys.readouterr().out
    print_csv(["a"], rows)
    assert "..." not in capsys.readouterr().out


def test_an_id_is_in_one_piece_on_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal
    monkeypatch.setenv("COLUMNS", "40")
    backup_id = "20261130T021500Z-00aa"
    print_table(["backup", "a", "b"], [(backup_id, "x" * 60, "y")], has_ids=True)
    assert backup_id in capsys.readouterr().out
