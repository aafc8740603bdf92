"""What `append` returned for is there after SIGKILL, whatever the moment."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from penstock.sink.spool import Spool
from tests.spool_child import MAX_BYTES
from tests.spool_parts import number_of, part_of

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 8
# Lines that it says, and what it has time for behind the last: the moment is drawn anew
# in each round.
LINES = range(10, 60)
LONGEST_REST_SECONDS = 0.02
LIFE_NUMBERS = 100_000  # more than a life has time for


def live_and_die(directory: Path, first: int, seed: int) -> list[str]:
    """Run the child on the directory, kill it, and return what it had said."""
    command = [sys.executable, "-m", "tests.spool_child"]
    child = subprocess.Popen(
        [*command, str(directory), str(first), str(seed)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "+ \n"
        rng = random.Random(seed)
        said = [child.stdout.readline() for _ in range(rng.choice(LINES))]
        # The pipe takes what comes meanwhile, and holds the child when it is full.
        time.sleep(rng.uniform(0, LONGEST_REST_SECONDS))
        child.kill()
        return "".join([*said, child.stdout.read()]).splitlines()


def numbers_said(lines: list[str], sign: str) -> set[int]:
    return {
        int(number)
        for line in lines
        if line.startswith(sign)
        for number in line.split()[1:]
    }


@pytest.mark.parametrize("seed", [random.randrange(1 << 32)])
def test_all_that_was_acknowledged_is_there_after_kill_9(
    tmp_path: Path, seed: int
) -> None:
    """The seed is new each time, and in the test's name."""
    appended: set[int] = set()
    done: set[int] = set()
    cuts = 0
    for number in range(ROUNDS):
        # Killed before it could say so, a part may be there all the same: no number
        # of one life is another's.
        first = number * LIFE_NUMBERS
        lines = live_and_die(tmp_path / "spool", first, seed + number)
        appended |= numbers_said(lines, "+")
        done |= numbers_said(lines, "-")
        spool = Spool(tmp_path / "spool", max_bytes=MAX_BYTES)
        spool.open()
        found = [part for _, part in spool.read(None, MAX_BYTES)]
        there = [number_of(part) for part in found]
        missing = appended - done - set(there)
        assert not missing, f"round {number}: lost {sorted(missing)}"
        assert there == sorted(set(there)), "not in order, or twice"
        assert all(
            part == part_of(number_of(part), len(part.encoded.data + part.encoded[4]))
            for part in found
        )
        assert spool.damaged_bytes == 0
        cuts += spool.cut_bytes > 0
        spool.close()
    assert len(appended) > 5 * ROUNDS
    assert done
    sys.stdout.write(f"{len(appended)} parts, {len(done)} done, {cuts} torn tails\n")
