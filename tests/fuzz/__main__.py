"""Fuzzes the pure core: `make fuzz ARGS="--seconds 3600"`.

The invariant: no exception but ProtocolError leaves the core (wire and rows); memory
stays under the cap; whatever was whole before the damage was delivered. `judge.py` has
it in full.

With atheris, coverage leads the way; new inputs that reach further are kept in
`build/fuzz/corpus`, so that the next run begins where this one ended. Without it, the
mutator goes on alone, from the seed. An input that breaks the invariant is written to
`build/fuzz/found-...`, and `python -m tests.fuzz FILE...` judges it again.

With `--rows` an input is the entries of a message, and the invariant is that the
compiled encoder writes what the reference does. Coverage is the reference's.
"""

import argparse
import hashlib
import sys
import time
from pathlib import Path

from tests.fuzz.mutator import Mutator

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
WORKING = HERE.parents[1] / "build" / "fuzz"
# One input takes milliseconds, a compressed one that inflates to entries of the slowest
# kind three seconds. The clock is the wall's, and the machine may have other work.
MAX_INPUT_SECONDS = 90


def main() -> int:
    """Run; 0 if nothing was found."""
    arguments = _arguments()
    WORKING.mkdir(parents=True, exist_ok=True)
    if arguments.files:
        return _judge_files(arguments)
    if not arguments.plain:
        try:
            import atheris
        except ImportError:
            _say(
                "atheris is not there: its wheels are for Linux on x86-64."
                " `pip install -r requirements/fuzz.txt` has it; `make fuzz` tries to."
                " Going on with the mutator alone, without coverage."
            )
        else:
            return _run_atheris(atheris, arguments)
    return _run_plain(arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="how long to run")
    parser.add_argument("--seed", type=int, default=1, help="of the mutator")
    parser.add_argument(
        "--plain", action="store_true", help="without atheris, though it is there"
    )
    parser.add_argument(
        "--rows", action="store_true", help="entries only: the two encoders are equal"
    )
    parser.add_argument("files", nargs="*", type=Path, help="inputs to judge again")
    return parser.parse_args()


def _inputs() -> list[bytes]:
    return [path.read_bytes() for path in sorted(CORPUS.iterdir())]


def _run_plain(arguments: argparse.Namespace) -> int:
    from tests.fuzz.judge import MAX_GROWTH_BYTES, judge, judge_rows
    from tests.worst_entries import peak_bytes

    making = Mutator(_inputs(), arguments.seed)
    found: dict[str, Path] = {}
    executions = 0
    began = time.monotonic()
    first_peak_bytes = peak_bytes()
    while time.monotonic() - began < arguments.seconds:
        now = time.process_time()
        data = making.new_entries() if arguments.rows else making.new()
        executions += 1
        try:
            (judge_rows if arguments.rows else judge)(data)
            grown_bytes = peak_bytes() - first_peak_bytes
            assert grown_bytes < MAX_GROWTH_BYTES, f"grew by {grown_bytes} bytes"
            took = time.process_time() - now
            assert took < MAX_INPUT_SECONDS, f"took {took:.1f} s"
        except Exception as error:
            # Whatever it is, it is a finding: ProtocolError is caught where it may be.
            kind = f"{type(error).__name__}: {str(error)[:80]}"
            if kind not in found:
                found[kind] = _keep(data)
                _say(f"found {kind} in {found[kind]}")
    seconds = time.monotonic() - began
    _say(
        f"{executions} inputs in {seconds:.0f} s, {len(found)} findings,"
        f" {(peak_bytes() - first_peak_bytes) / 1024**2:.0f} MiB grown"
    )
    return 1 if found else 0


def _run_atheris(atheris: object, arguments: argparse.Namespace) -> int:
    from tests.fuzz.coverage import fuzz

    kept = WORKING / ("corpus-rows" if arguments.rows else "corpus")
    kept.mkdir(exist_ok=True)
    return fuzz(
        atheris,
        arguments=arguments,
        inputs=_inputs(),
        corpora=[kept, CORPUS],
        found_prefix=str(WORKING / "found-"),
    )


def _judge_files(arguments: argparse.Namespace) -> int:
    from tests.fuzz.judge import judge, judge_rows

    for file in arguments.files:
        _say(f"{file}: {file.stat().st_size} bytes")
        (judge_rows if arguments.rows else judge)(file.read_bytes())
    return 0


def _keep(data: bytes) -> Path:
    path = WORKING / f"found-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return path


def _say(text: str) -> None:
    sys.stderr.write(f"fuzz: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
