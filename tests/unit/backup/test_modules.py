"""The list of modules that stands before the package is the way through it."""

import re
from pathlib import Path

import penstock.backup

LISTED = re.findall(r"^    (\w+)\.py ", penstock.backup.__doc__ or "", re.MULTILINE)
HOME = Path(penstock.backup.__file__).parent
USED = re.compile(r"^from penstock\.backup(?:\.(\w+))? import (\w+)", re.MULTILINE)


def test_each_module_is_listed() -> None:
    assert sorted(LISTED) == sorted(
        file.stem for file in HOME.glob("*.py") if file.stem != "__init__"
    )


def test_each_uses_only_those_listed_before_it() -> None:
    for number, name in enumerate(LISTED):
        text = (HOME / f"{name}.py").read_text()
        used = {module or imported for module, imported in USED.findall(text)}
        assert used - {"sql"} <= set(LISTED[:number]), name
