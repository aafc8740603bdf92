"""The wheels that a release ships: what is in them, and that it works from there."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from penstock.rows import IS_BUILT
from tests import msgpack_bytes as m
from tests.deploy.tools import absent
from tests.pure_core import parts_of

ROOT = Path(__file__).resolve().parents[2]
COMPILED = ["penstock/rows/_native", "penstock/wire/_lone_events"]
# Asked of what is installed, beside the tests' own helpers.
ASKED = """
import penstock
from penstock.rows import IS_BUILT, RowEncoder
from penstock.settings import ColumnSettings
from penstock.sink.sql import load_migrations
from penstock.wire import frames
from tests import msgpack_bytes as m
from tests.pure_core import parts_of
(part,) = parts_of(3 * m.entry({"a": 1}, m.uint32(m.T)))
is_native = RowEncoder(ColumnSettings(), receiver=1).is_native
assert load_migrations()
print(penstock.__file__, IS_BUILT, frames.IS_BUILT, is_native, part.data.hex())
"""
# Twelve seconds of compiling, on a machine that does something else too.
pytestmark = pytest.mark.timeout(300)


def make(out: Path, *arguments: str, **environment: str) -> Path:
    """Make a wheel as `make wheel` does; return it."""
    ended = subprocess.run(
        [sys.executable, ROOT / "deploy/wheel.py", "--out", out, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    sdist, wheel = map(Path, ended.stdout.split())
    assert sdist.is_file()
    return wheel


def files_of(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as opened:
        return opened.namelist()


def compiled_in(wheel: Path) -> list[str]:
    names = files_of(wheel)
    return sorted(name.partition(".")[0] for name in names if name.endswith(".so"))


def installed(wheel: Path, target: Path) -> dict[str, str]:
    """Install it where nothing else of us is; return an environment that finds it."""
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install")
    options = ("--quiet", "--no-index", "--no-deps", "--target", target)
    subprocess.run((*pip, *options, wheel), check=True)
    paths = os.pathsep.join((str(target), str(ROOT)))
    return {**os.environ, "PYTHONPATH": paths, "PYTHONSAFEPATH": "1"}


def answers(environment: dict[str, str]) -> list[str]:
    ended = subprocess.run(
        [sys.executable, "-c", ASKED],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


def row_bytes() -> str:
    (part,) = parts_of(3 * m.entry({"a": 1}, m.uint32(m.T)))
    return part.data.hex()


@pytest.fixture(scope="module")
def pure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("pure"), "--pure")


def test_a_wheel_has_the_compiled_modules_and_uses_them(tmp_path: Path) -> None:
    if not IS_BUILT:
        absent("a C compiler, or Python's headers", "apt-get install gcc python3-dev")
    wheel = make(tmp_path)
    assert compiled_in(wheel) == COMPILED
    assert "any" not in wheel.name
    environment = installed(wheel, tmp_path / "there")
    where, *is_compiled, data = answers(environment)
    assert Path(where).is_relative_to(tmp_path)
    assert is_compiled == ["True", "True", "True"]
    assert data == row_bytes()


def test_a_pure_wheel_has_none_of_the_checkouts_and_works(
    pure: Path, tmp_path: Path
) -> None:
    assert compiled_in(pure) == []
    assert pure.name.endswith("-py3-none-any.whl")
    where, *is_compiled, data = answers(installed(pure, tmp_path))
    assert Path(where).is_relative_to(tmp_path)
    assert is_compiled == ["False", "False", "False"]
    assert data == row_bytes()


def test_a_wheel_has_all_that_is_no_code_and_nothing_else_of_the_checkout(
    pure: Path,
) -> None:
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "penstock").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so"
    }
    names = {name for name in files_of(pure) if ".dist-info/" not in name}
    assert any(name.endswith(".sql") for name in wanted)
    assert names == wanted


def test_its_command_runs(pure: Path, tmp_path: Path) -> None:
    environment = installed(pure, tmp_path)
    said = subprocess.check_output(
        [tmp_path / "bin/penstock", "--version"], env=environment, text=True
    )
    assert pure.name.split("-")[1] in said


def test_where_nothing_compiles_there_is_no_wheel_unless_asked_for(
    tmp_path: Path,
) -> None:
    # As where Cython is missing, which is found sooner than that a compiler is.
    (tmp_path / "Cython.py").touch()
    ended = subprocess.run(
        [sys.executable, ROOT / "deploy/wheel.py", "--out", tmp_path / "out"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert "make wheel ARGS=--pure" in ended.stderr
    assert not (tmp_path / "out").exists()
