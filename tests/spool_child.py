"""A process that spools and says so, to be killed: `python -m tests.spool_child`.

Arguments: the directory, the first number, a seed. It writes a line `+ 1 2 3` when
`append` has returned for parts 1, 2 and 3, and `- 1 2` before it calls `done`.
"""

import os
import random
import sys
from pathlib import Path

from penstock.sink.spool import Spool
from tests.spool_parts import number_of, part_of

MAX_BYTES = 1 << 30
# The large ones so that some kills come in the middle of a write.
PART_BYTES = (50, 2_000, 40_000, 900_000)
SEGMENT_BYTES = 128 * 1024


def say(sign: str, numbers: list[int]) -> None:
    # One write below PIPE_BUF: all of it is in the pipe or nothing.
    os.write(1, f"{sign} {' '.join(map(str, numbers))}\n".encode())


def run(directory: Path, number: int, rng: random.Random) -> None:
    """Append, read and be done for ever."""
    spool = Spool(directory, max_bytes=MAX_BYTES, segment_bytes=SEGMENT_BYTES)
    spool.open()
    say("+", [])
    while True:
        sizes = [rng.choice(PART_BYTES) for _ in range(rng.randint(1, 8))]
        numbers = list(range(number, number + len(sizes)))
        number += len(sizes)
        spool.append(list(map(part_of, numbers, sizes)))
        say("+", numbers)
        if rng.random() < 0.3:
            found = spool.read(None, 3_000_000)
            found = rng.sample(found, len(found) * 2 // 3)
            say("-", [number_of(part) for _, part in found])
            spool.done([position for position, _ in found])


if __name__ == "__main__":
    run(Path(sys.argv[1]), int(sys.argv[2]), random.Random(sys.argv[3]))
