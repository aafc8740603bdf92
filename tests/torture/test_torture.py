"""A short run of `make torture`: nothing is lost, nothing is there twice."""

import sys

import pytest

from tests.torture.__main__ import tally
from tests.torture.run import torture

# Fixed, so that a run that fails can be had again; `make torture` draws its own.
SEED = 20_260_801
SECONDS = {"serve": 30.0, "up": 12.0}


@pytest.mark.timeout(240)  # some starts, and what waits at the end
@pytest.mark.parametrize("mode", list(SECONDS))
def test_a_random_schedule_of_faults_loses_nothing_and_stores_nothing_twice(
    mode: str,
) -> None:
    report = torture(SEED, mode, SECONDS[mode])
    told = tally(report)
    sys.stdout.write(told)
    assert report.verdict.is_good, told
    assert sum(report.faults.values()) >= 3, told
    assert report.verdict.stored > 1000, told
