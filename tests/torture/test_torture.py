"""A short run of `make torture`: nothing is lost, nothing is there twice."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.torture.__main__ import tally
from tests.torture.director import Plan
from tests.torture.run import Report, torture

# Fixed, so that a run that fails can be had again; `make torture` draws its own.
SEED = 20_260_801
SECONDS = 13.0
STALL = "PostgreSQL stalled"
# A stall takes ten seconds, or Penstock does not notice: one run has it.
PLANS = {
    "serve": Plan(haste=3.0, begin_with=STALL, has_each_once=True),
    "up": Plan(haste=3.0, without=(STALL,), has_each_once=True),
}


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    """Both modes, side by side: most of the time they wait."""
    with ThreadPoolExecutor(len(PLANS)) as threads:
        runs = {
            mode: threads.submit(torture, SEED, mode, SECONDS, plan)
            for mode, plan in PLANS.items()
        }
        return {mode: run.result() for mode, run in runs.items()}


@pytest.mark.timeout(480)  # some starts, and what waits at the end
@pytest.mark.parametrize("mode", list(PLANS))
def test_a_random_schedule_of_faults_loses_nothing_and_stores_nothing_twice(
    reports: dict[str, Report], mode: str
) -> None:
    report = reports[mode]
    told = tally(report)
    sys.stdout.write(told)
    assert report.verdict.is_good, told
    assert len(report.faults) >= 9, told
    assert report.verdict.stored > 1000, told
