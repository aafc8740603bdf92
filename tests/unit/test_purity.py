"""The pure core stays pure, and only one module reads the environment.

Read from the source by AST, so that an import inside a function is found too. Who
imports whom is import-linter's part (pyproject.toml); this one adds what an import
alone does not show: clocks that hide in datetime, and reads of the environment.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "src" / "penstock"

PURE_PACKAGES = ("wire", "rows", "buffer")

# And these modules of packages that are not: the guard and what it is made of.
GUARD = (
    "allowed", "bounds", "expressions", "guard", "names", "nodes", "output_names",
    "queries", "reasons", "refusal", "scopes", "sizes",
)  # fmt: skip

# Time, randomness and bytes come to the pure packages as arguments.
IMPURE_MODULES = {
    "asyncio",
    "logging",
    "multiprocessing",
    "os",
    "random",
    "secrets",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "subprocess",
    "threading",
    "time",
}
CLOCKS = {
    "datetime.date.today",
    "datetime.datetime.now",
    "datetime.datetime.today",
    "datetime.datetime.utcnow",
}
IMPURE_CALLS = {"breakpoint", "input", "open", "print"}

ENVIRONMENT = {"os.environ", "os.environb", "os.getenv", "os.getenvb"}
# click reads the environment for a parameter or a command that names one of these.
ENVIRONMENT_KEYWORDS = {"envvar", "auto_envvar_prefix"}
# Where the environment is read, relative to src/penstock; design.md section 4 allows
# one module. An exception is added here with its reason, and there is none.
ENVIRONMENT_READERS = {"config/environment.py"}


def imported_names(tree: ast.AST) -> dict[str, str]:
    """Map each name that an import binds to what it stands for, `dt` to `datetime`."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def dotted_name(node: ast.AST, names: dict[str, str]) -> str | None:
    """The full name that an expression such as `dt.datetime.now` refers to."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = dotted_name(node.value, names)
        return owner and f"{owner}.{node.attr}"
    return None


def uses(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name from another module that the code imports or mentions, by line."""
    names = imported_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"
        elif isinstance(node, ast.Name | ast.Attribute):
            name = dotted_name(node, names)
            if name is not None:
                yield node.lineno, name


def impurities(source: str) -> list[str]:
    """What a module of a pure package must not have, as `line: name`."""
    tree = ast.parse(source)
    found = {
        (line, name)
        for line, name in uses(tree)
        if name.partition(".")[0] in IMPURE_MODULES or name in CLOCKS
    }
    found |= {
        (node.lineno, f"{node.func.id}()")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in IMPURE_CALLS
    }
    return [f"{line}: {name}" for line, name in sorted(found)]


def environment_reads(source: str) -> list[str]:
    """Where a module reads the environment, as `line: name`."""
    tree = ast.parse(source)
    found = {(line, name) for line, name in uses(tree) if name in ENVIRONMENT}
    found |= {
        (node.value.lineno, f"{node.arg}=")
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg in ENVIRONMENT_KEYWORDS
    }
    return [f"{line}: {name}" for line, name in sorted(found)]


def modules(*folders: str) -> list[str]:
    """The Python files below these folders of src/penstock, relative to it."""
    return sorted(
        path.relative_to(SOURCE).as_posix()
        for folder in folders
        for path in (SOURCE / folder).rglob("*.py")
    )


@pytest.mark.parametrize(
    "module",
    [*modules(*PURE_PACKAGES), *(f"ask/{name}.py" for name in GUARD)],
)
def test_pure_module_has_no_clock_no_io_no_randomness(module: str) -> None:
    assert impurities((SOURCE / module).read_text()) == []


@pytest.mark.parametrize(
    "module", [m for m in modules(".") if m not in ENVIRONMENT_READERS]
)
def test_only_config_reads_the_environment(module: str) -> None:
    assert environment_reads((SOURCE / module).read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio",
        "import os.path",
        "from time import monotonic",
        "import logging as quiet",
        "def late():\n    import random",
        "from datetime import datetime\nnow = datetime.now",
        "from datetime import datetime as d, UTC\nd.now(UTC)",
        "import datetime\ndatetime.datetime.utcnow()",
        "import datetime as dt\ndt.date.today()",
        "print(1)",
        "open('f')",
    ],
)
def test_an_impurity_is_found(source: str) -> None:
    assert impurities(source)


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import UTC, datetime\ndatetime.fromtimestamp(0, UTC)",
        "def due(self, now): return self.now < now",
        "from penstock.wire import time",
        "def load(zone): return zone.open()",
    ],
)
def test_what_is_pure_passes(source: str) -> None:
    assert impurities(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.environ['HOME']",
        "import os\nos.getenv('HOME')",
        "from os import environ as e",
        "import click\nclick.option('--port', envvar='PENSTOCK_PORT')",
    ],
)
def test_a_read_of_the_environment_is_found(source: str) -> None:
    assert environment_reads(source)
