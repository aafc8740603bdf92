"""Builds the compiled encoder where there is a C compiler; see pyproject.toml for more.

Without one Penstock is installed all the same, and encodes in plain Python.
"""

from glob import glob

from setuptools import Extension, setup

try:
    from Cython.Build import cythonize
except ImportError:
    extensions = []
else:
    extensions = cythonize(
        [
            Extension(
                "penstock.rows._native",
                ["src/penstock/rows/_native.pyx"],
                depends=sorted(glob("src/penstock/rows/_native*")),
                extra_compile_args=["-O3"],
                optional=True,
            )
        ],
        build_dir="build",
    )

setup(ext_modules=extensions)
