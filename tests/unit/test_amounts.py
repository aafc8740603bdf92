"""One is one."""

from penstock.amounts import amount


def test_only_one_has_no_s() -> None:
    assert [amount(count, "row") for count in (0, 1, 2, 1_000_000)] == [
        "0 rows",
        "1 row",
        "2 rows",
        "1,000,000 rows",
    ]
