"""The Dockerfile, judged without building it; full/test_stack.py builds and runs it."""

import re
import tomllib
from pathlib import Path

from tests.deploy import tools

DOCKERFILE = tools.DEPLOY / "docker" / "Dockerfile"
REQUIREMENTS = tools.REPOSITORY / "requirements"


def dockerfile() -> str:
    """Return its instructions, a line each, without comments."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.M)
    return re.sub(r"\s*\\\n\s*", " ", text)


def pins(name: str) -> dict[str, str]:
    """Return what a lock pins, by the package's name."""
    text = (REQUIREMENTS / name).read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", text, flags=re.M))


def test_hadolint_finds_nothing() -> None:
    tools.passes("hadolint", DOCKERFILE)


def test_each_base_is_pinned_and_can_be_replaced() -> None:
    text = dockerfile()
    bases = dict(re.findall(r"^ARG (\w+_BASE)=(\S+)$", text, flags=re.M))
    assert set(bases) == {"BUILD_BASE", "RUN_BASE", "POSTGRES_BASE"}
    for image in bases.values():
        assert re.search(r":\d+\.\d+(\.\d+)?-", image), f"{image} moves"
        assert "alpine" not in image
    used = re.findall(r"^FROM (\S+)", text, flags=re.M)
    assert {*used} == {f"${{{name}}}" for name in bases}
    # What is compiled against one Python is run by the same.
    assert bases["RUN_BASE"] == bases["BUILD_BASE"].replace("-", "-slim-", 1)


def test_the_python_of_the_image_is_one_that_penstock_supports() -> None:
    project = tomllib.loads((tools.REPOSITORY / "pyproject.toml").read_text())
    found = re.search(r"python:(3\.\d+)\.", dockerfile())
    assert found is not None
    assert (
        f"Programming Language :: Python :: {found[1]}"
        in (project["project"]["classifiers"])
    )


def test_everything_installed_is_locked_by_hash() -> None:
    installs = re.findall(r"pip install ([^&]*)", dockerfile())
    assert len(installs) == 5
    for words in installs:
        is_our_wheel = words.strip() == "--no-deps dist/*.whl"
        is_locked = "--require-hashes --only-binary :all:" in words
        assert is_our_wheel or is_locked, words


def test_what_archives_is_of_the_versions_of_the_server() -> None:
    archive, run = pins("archive.txt"), pins("run.txt")
    assert archive.items() <= run.items()
    assert {"boto3", "python-dateutil"} <= set(archive)
    assert "archive.txt" in (tools.REPOSITORY / "Makefile").read_text()


def test_both_images_have_barman_where_archive_command_names_it() -> None:
    text = dockerfile()
    for stage in ("AS postgres", "AS penstock"):
        after = text.partition(stage)[2].partition("FROM ")[0]
        assert re.search(r"COPY --from=\w+ /opt/penstock /opt/penstock\n", after)


def test_nothing_runs_as_root_and_the_health_check_is_our_own() -> None:
    final = dockerfile().partition("AS penstock")[2]
    assert "\nUSER 10001:10001\n" in final
    assert 'CMD ["penstock", "health"]' in final
    assert '\nENTRYPOINT ["penstock"]\n' in final, "PID 1 is no shell"
    for name in ("title", "version", "revision", "licenses"):
        assert f"org.opencontainers.image.{name}=" in final


def test_only_what_the_image_is_made_of_gets_to_the_builder() -> None:
    lines = (tools.REPOSITORY / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {line[1:] for line in rules if line.startswith("!")}
    copied = set()
    for words in re.findall(r"^COPY (?!--from)(.+)$", dockerfile(), flags=re.M):
        copied |= set(words.split()[:-1])
    assert copied == allowed
    for name in copied:
        assert Path(tools.REPOSITORY, name).exists(), name
