"""Runs tests on compiled modules that watch their memory: AddressSanitizer and UBSan.

    python -m tests.fuzz.sanitized [ARGUMENTS OF PYTEST]

A read behind a message's last byte seldom crashes by itself. So the modules are built
once more, into `build/sanitized`, by a compiler that checks each access and each
operation that C leaves undefined, and the property tests and the fuzzer's corpus run on
those. It ends with 0 if all is well, also where gcc or clang has no such libraries,
which it says.

CPython's own arenas would hide what is read behind an object: it allocates by malloc.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "build" / "sanitized"
TESTS = (
    "unit/rows/test_native.py",
    "unit/rows/test_native_memory.py",
    "unit/rows/test_plain.py",
    "property/test_native_property.py",
    "property/test_rows_property.py",
    "property/test_core_property.py",  # with the corpus
)
FUZZING = ("--seconds", "60")
# -fwrapv is among Python's own flags, and hides overflows.
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-wrapv"
DEBUG_FLAGS = "-g -O1 -fno-omit-frame-pointer"


def main(arguments: list[str]) -> int:
    """Build, and run the tests; what pytest returns."""
    preload = _sanitizer()
    if preload is None:
        _say("no compiler with AddressSanitizer: nothing is run on such modules")
        return 0
    _build()
    tests = [str(ROOT / "tests" / name) for name in TESTS]
    _say(f"{preload} watches {', '.join(TESTS)}")
    pytest = ("pytest", "-q", "-p", "no:cacheprovider", "--timeout=0")
    failed = _run(preload, *pytest, *tests, *arguments)
    _say("and what the mutator makes")
    return failed or _run(preload, "tests.fuzz", "--plain", "--rows", *FUZZING)


def is_watched() -> bool:
    """Tell whether this process runs on what is built here."""
    import penstock.rows

    return Path(penstock.rows.__file__).is_relative_to(BUILT)


def _run(preload: str, *arguments: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=os.environ
        | {
            "PYTHONPATH": str(BUILT / "src"),
            "LD_PRELOAD": preload,
            "PYTHONMALLOC": "malloc",
            # Python gives back little of what it has when it ends.
            "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=32",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        },
        check=False,
    ).returncode


def _sanitizer() -> str | None:
    """Return the library that must be loaded before all others."""
    compiler = shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    found = subprocess.run(
        [compiler, "-print-file-name=libasan.so"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout.strip()
    return found if Path(found).is_absolute() else None


def _build() -> None:
    shutil.rmtree(BUILT, ignore_errors=True)
    shutil.copytree(
        ROOT / "src",
        BUILT / "src",
        ignore=shutil.ignore_patterns("*.so", "__pycache__"),
    )
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, BUILT)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=BUILT,
        env=os.environ
        | {"CC": "gcc", "CFLAGS": f"{DEBUG_FLAGS} {FLAGS}", "LDFLAGS": FLAGS},
        check=True,
    )


def _say(text: str) -> None:
    sys.stderr.write(f"sanitized: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
