"""`make torture`: faults for some minutes, then the tally.

    make torture ARGS="--minutes 30"        or: python -m tests.torture --minutes 30
    python -m tests.torture --seed 7 --report json
    python -m tests.torture --workers 2 --minutes 2

Exit codes: 0 nothing lost, nothing twice; 1 something was; 2 usage.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict

from tests.torture.run import Report, torture


def main(arguments: Sequence[str] | None = None) -> int:
    """Torture in one mode or in both, one after the other."""
    options = _parse(arguments)
    seconds = options.seconds or options.minutes * 60
    modes = ["serve", "up"] if options.mode == "both" else [options.mode]
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    is_good = True
    for mode in modes:
        report = torture(
            seed, mode, seconds / len(modes), workers=options.workers, say=_say
        )
        if options.report == "json":
            sys.stdout.write(json.dumps(asdict(report)) + "\n")
        else:
            sys.stdout.write(tally(report))
        sys.stdout.flush()
        is_good = is_good and report.verdict.is_good
    return 0 if is_good else 1


def tally(report: Report) -> str:
    """Write the report for a person."""
    verdict = report.verdict
    sent = f"sent {verdict.tries:,} times, {verdict.sent_again:,} of them though acked"
    kept = f"{verdict.stored:,} in logs, {verdict.rejected:,} in rejected_event"
    lives = f"{report.lives} starts, {report.failed_starts} in vain: no PostgreSQL"
    how = f"{report.mode}, workers: {report.workers}"
    lines = [
        f"penstock {how}, {report.seconds:g} s, seed {report.seed}",
        f"  chunks         {verdict.chunks:,}, {sent}",
        f"  events         {verdict.events:,}: {kept}",
        f"  spool          {report.most_spooled:,} events at most",
        f"  Penstock       {lives}",
        f"  faults         {sum(report.faults.values())}",
        *(f"    {count:4} {name}" for name, count in sorted(report.faults.items())),
        f"  lost           {verdict.lost}",
        f"  duplicated     {verdict.duplicated}",
        f"  misplaced      {verdict.misplaced}",
        "Without an ack, and missing:",
        f"  in the window  {verdict.in_the_window}, in memory at a kill -9",
        f"  not known      {verdict.unknown_missing}, on a connection that broke",
        *(f"PROBLEM: {problem}" for problem in verdict.problems),
    ]
    return "\n".join(lines) + "\n"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="torture", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seconds", type=float, help="instead of minutes")
    parser.add_argument("--seed", type=int, help="of a run that is to be repeated")
    parser.add_argument("--mode", choices=("serve", "up", "both"), default="both")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--report", choices=("text", "json"), default="text")
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
