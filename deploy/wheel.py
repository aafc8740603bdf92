"""Makes the sdist and the wheel of a release, for the Python and system it runs on.

It owns what of the checkout goes into them: the sources, never what was built here. The
wheel is built from the sdist, so the sdist has all that building takes. Nothing is
fetched: setuptools and Cython are those of the environment, which are in the lock.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("LICENSE", "README.md", "pyproject.toml", "setup.py")
BUILT_HERE = shutil.ignore_patterns("*.so", "*.egg-info", "__pycache__")
# PEP 517's two steps, without a front end: one would want to fetch what builds.
STEP = "from setuptools import build_meta; build_meta.build_{}('..')"
NO_WHEEL = """\
make: no wheel, as said above. It takes a C compiler and Python's headers; without them
there is one that is slower: make wheel ARGS=--pure
"""
# Of a build that fails: the compiler's complaint stands at the end.
LAST_LINES = 20


def main() -> int:
    """Make both; return an exit code."""
    parser = argparse.ArgumentParser(prog="make wheel", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="DIR")
    parser.add_argument(
        "--pure",
        action="store_true",
        help="leave the compiled modules out: slower, and for any system",
    )
    chosen = parser.parse_args()
    compiled = "none" if chosen.pure else "required"
    with tempfile.TemporaryDirectory() as scratch:
        try:
            made = build(Path(scratch), compiled)
        except subprocess.CalledProcessError:
            sys.stderr.write(NO_WHEEL)
            return 1
        chosen.out.mkdir(parents=True, exist_ok=True)
        for path in made:
            sys.stdout.write(f"{shutil.copy(path, chosen.out)}\n")
    return 0


def build(scratch: Path, compiled: str) -> list[Path]:
    """Make both of a copy of the sources; return them.

    Raises:
        subprocess.CalledProcessError: it does not build; it has said why.
    """
    copy = scratch / "copy"
    copy.mkdir()
    for name in SOURCES:
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=BUILT_HERE)
    run_step("sdist", copy, "none")
    (sdist,) = scratch.glob("*.tar.gz")
    shutil.unpack_archive(sdist, scratch)
    run_step("wheel", scratch / sdist.name.removesuffix(".tar.gz"), compiled)
    (wheel,) = scratch.glob("*.whl")
    return [sdist, wheel]


def run_step(kind: str, source: Path, compiled: str) -> None:
    """Build one; show the end of what is said if it fails."""
    ended = subprocess.run(
        (sys.executable, "-c", STEP.format(kind)),
        cwd=source,
        env={**os.environ, "PENSTOCK_COMPILED": compiled},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ended.returncode:
        said = ended.stdout.splitlines()[-LAST_LINES:]
        sys.stderr.write("\n".join((*said, "")))
        ended.check_returncode()


if __name__ == "__main__":
    sys.exit(main())
