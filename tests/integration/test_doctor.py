"""`penstock doctor`: each finding is what `up` would meet, with its mend."""

from itertools import pairwise
from pathlib import Path

import pytest

from tests.integration.conftest import Here, as_another_user


def failures(stdout: str) -> list[str]:
    """Return what is to be mended: each finding with the line that says how."""
    lines = stdout.splitlines()
    return [
        f"{line} {following.strip()}"
        for line, following in pairwise(lines)
        if line.startswith("fail")
    ]


@pytest.mark.parametrize("below", ["closed/data", "closed/far/below"])
def test_a_parent_directory_that_is_closed_to_us_is_a_finding(
    here: Here, home: Path, below: str
) -> None:
    home.chmod(0o755)
    (home / "closed" / "data").mkdir(parents=True)
    question = ("doctor", "--data-dir", str(home / below))
    here(*question)  # what it imports may be closed to the other user
    with as_another_user(home / "closed"):
        ended = here(*question)
    assert ended.returncode == 1
    (finding,) = failures(ended.stdout)
    assert str(home / "closed") in finding
    assert "Permission denied" in finding
    assert "--data-dir" in finding


def test_a_place_where_up_can_make_no_files_is_a_finding(here: Here) -> None:
    ended = here("doctor", "--data-dir", "/proc/penstock")
    assert ended.returncode == 1
    (finding,) = failures(ended.stdout)
    assert "/proc cannot be written" in finding


@pytest.mark.parametrize(
    ("url", "mend"),
    [
        ("postgresql://127.0.0.1:1/logs", "-> start it, or correct --database-url"),
        ("foo://x", "-> correct --database-url"),
        ("postgresql://h:port/x", "-> correct --database-url"),
    ],
)
def test_the_mend_fits_what_is_wrong_with_the_database(
    here: Here, url: str, mend: str
) -> None:
    ended = here("doctor", "--database-url", url)
    assert ended.returncode == 1
    (finding,) = failures(ended.stdout)
    assert mend in finding
    assert "Errno" not in finding
