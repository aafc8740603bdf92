"""Builds the compiled modules where there is a C compiler; see pyproject.toml for more.

Without one Penstock is installed all the same, and does their work in plain Python.
PENSTOCK_COMPILED=required is for wheels that others install: no compiled modules, no
wheel. PENSTOCK_COMPILED=none leaves them out.
"""

import os
import sys
from glob import glob

from setuptools import Extension, setup

WIRE, ROWS = "src/penstock/wire", "src/penstock/rows"
WANTED = os.environ.get("PENSTOCK_COMPILED", "optional")
if WANTED not in ("optional", "required", "none"):
    sys.exit(f"PENSTOCK_COMPILED is optional, required or none, not {WANTED!r}")


def compiled(name: str, path: str) -> Extension:
    """Return a module that is built if it can be, or has to be."""
    return Extension(
        name,
        [path],
        include_dirs=[WIRE, ROWS],
        depends=sorted(glob(f"{WIRE}/_*") + glob(f"{ROWS}/_*")),
        extra_compile_args=["-O3"],
        optional=WANTED == "optional",
    )


def modules() -> list[Extension]:
    """Return what is to be built."""
    if WANTED == "none":
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        if WANTED == "required":
            raise
        return []
    return cythonize(
        [
            compiled("penstock.wire._lone_events", f"{WIRE}/_lone_events.pyx"),
            compiled("penstock.rows._native", f"{ROWS}/_native.pyx"),
        ],
        build_dir="build",
    )


setup(ext_modules=modules())
