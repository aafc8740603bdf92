"""Builds the compiled modules where there is a C compiler; see pyproject.toml for more.

Without one Penstock is installed all the same, and does their work in plain Python.
"""

from glob import glob

from setuptools import Extension, setup

WIRE, ROWS = "src/penstock/wire", "src/penstock/rows"


def compiled(name: str, path: str) -> Extension:
    """Return a module that is built if it can be."""
    return Extension(
        name,
        [path],
        include_dirs=[WIRE, ROWS],
        depends=sorted(glob(f"{WIRE}/_*") + glob(f"{ROWS}/_*")),
        extra_compile_args=["-O3"],
        optional=True,
    )


try:
    from Cython.Build import cythonize
except ImportError:
    modules = []
else:
    modules = cythonize(
        [
            compiled("penstock.wire._lone_events", f"{WIRE}/_lone_events.pyx"),
            compiled("penstock.rows._native", f"{ROWS}/_native.pyx"),
        ],
        build_dir="build",
    )

setup(ext_modules=modules)
