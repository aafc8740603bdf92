"""Writes `corpus/`: the conformance cases and the recordings, each of some size.

    python -m tests.fuzz.make_corpus

It is committed; run this when one of them has changed.
"""

import hashlib
import json
from pathlib import Path

from tests.data.recordings import RECORDINGS

DATA = Path(__file__).parents[1] / "data"
CORPUS = Path(__file__).parent / "corpus"
# Longer ones are mostly the same byte again and again.
MAX_BYTES = 2_500


def corpus() -> dict[str, bytes]:
    """Return the inputs by the names of their files."""
    inputs = []
    for case in json.loads((DATA / "forward_cases.json").read_text()):
        pieces = case["hex"]
        if isinstance(pieces, str):
            inputs.append(bytes.fromhex(pieces))
        else:
            inputs.append(b"".join(bytes.fromhex(one) * times for one, times in pieces))
    inputs += [recording.data for recording in RECORDINGS]
    return {
        hashlib.sha256(data).hexdigest()[:16]: data
        for data in inputs
        if len(data) <= MAX_BYTES
    }


if __name__ == "__main__":
    CORPUS.mkdir(exist_ok=True)
    for old in CORPUS.iterdir():
        old.unlink()
    for name, data in corpus().items():
        (CORPUS / name).write_bytes(data)
