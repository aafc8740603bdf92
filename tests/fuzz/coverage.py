"""The part of the fuzzer that has atheris to lead it.

It owns libFuzzer's options and what atheris watches: penstock's wire and rows, not the
tests around them.
"""

import argparse
import random
import sys
from pathlib import Path
from typing import Any

from tests.fuzz.mutator import MAX_INPUT_BYTES, Mutator

# A larger process is a finding: Python, the core, its largest message.
RSS_LIMIT_MIB = 512
MAX_INPUT_SECONDS = 20


def fuzz(
    atheris: Any,
    *,
    arguments: argparse.Namespace,
    inputs: list[bytes],
    corpora: list[Path],
    found_prefix: str,
) -> int:
    """Run libFuzzer for so many seconds; it ends the process, with 0 if all is well."""
    assert "penstock.wire" not in sys.modules, "too late to watch it"
    with atheris.instrument_imports(include=["penstock.wire", "penstock.rows"]):
        import penstock.rows
        import penstock.wire.messages  # noqa: F401
    from tests.fuzz.judge import judge, judge_rows

    making = Mutator(inputs, arguments.seed)
    new = making.new_entries if arguments.rows else making.new

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        # By turns: libFuzzer's own mutations reach what nobody has thought of, ours
        # what lies behind a checksum.
        kind = random.Random(seed).randrange(4)
        if kind == 0:
            return new()[:max_size]
        if kind == 1:
            return making.mutate(data)[:max_size]
        mutated: bytes = atheris.Mutate(data, max_size)
        return mutated

    atheris.Setup(
        [
            "fuzz",
            f"-max_total_time={arguments.seconds}",
            f"-seed={arguments.seed}",
            f"-max_len={MAX_INPUT_BYTES}",
            f"-rss_limit_mb={RSS_LIMIT_MIB}",
            f"-timeout={MAX_INPUT_SECONDS}",
            f"-artifact_prefix={found_prefix}",
            "-print_final_stats=1",
            *map(str, corpora),
        ],
        judge_rows if arguments.rows else judge,
        custom_mutator=mutate,
    )
    atheris.Fuzz()
    return 0
