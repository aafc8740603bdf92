"""Rules about the repository's own files."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"
LOCKS = ("lock.txt", "run.txt", "dev.txt", "fuzz.txt")

# A file that names one of these works only where that host is reached. Put together
# here from halves, for this file is searched too.
REGISTRY_HOSTS = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("yarnpkg", "com"),
        ("deb", "debian", "org"),
        ("archive", "ubuntu", "com"),
    )
]
# Paths of the machines we work on. Lookbehind: not the tail of an address or of a
# relative path.
MACHINE_PATH = re.compile(rb"(?<![\w.~-])/(?:work/(?:main|shared|\.)|root/[\w.])")

# Past this a module has two jobs (house rule: a reader finds a step by its file).
MAX_SOURCE_LINES = 450


def tracked_files() -> list[Path]:
    """The files git has or would take."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    paths = {ROOT / name.decode() for name in listed.split(b"\0") if name}
    return sorted(path for path in paths if path.is_file())


def source_files(*suffixes: str) -> list[str]:
    return sorted(
        path.relative_to(SOURCE).as_posix()
        for path in (SOURCE / "penstock").rglob("*")
        if path.suffix in suffixes
    )


def machine_traces(content: bytes) -> list[str]:
    """Registry hosts and paths of this machine that a file names."""
    home = str(Path.home()).encode()
    found = [host for host in REGISTRY_HOSTS if host.encode() in content]
    found += [match.decode() for match in MACHINE_PATH.findall(content)]
    # Not a home of one level, which occurs in innocent text and is dealt with above.
    if home.count(b"/") > 1 and home + b"/" in content:
        found.append(home.decode())
    return found


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git checkout: a tarball")
def test_no_file_names_a_registry_or_this_machine() -> None:
    traces = {
        str(path.relative_to(ROOT)): found
        for path in tracked_files()
        if (found := machine_traces(path.read_bytes()))
    }
    assert traces == {}


@pytest.mark.parametrize(
    "text",
    [
        f"--index-url https://{REGISTRY_HOSTS[0]}/simple",
        "cd /" + "work/main && make",
        "see '/" + "root/.cache'",
    ],
)
def test_a_trace_of_the_machine_is_found(text: str) -> None:
    assert machine_traces(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        "GET /" + "root HTTP/1.1",
        "https://example.com/" + "work/main",
        "src/" + "root/file",
    ],
)
def test_innocent_text_is_no_trace(text: str) -> None:
    assert machine_traces(text.encode()) == []


@pytest.mark.parametrize("name", source_files(".py", ".pyx", ".sql"))
def test_no_source_file_is_too_long(name: str) -> None:
    assert len((SOURCE / name).read_text().splitlines()) <= MAX_SOURCE_LINES


@pytest.mark.parametrize("name", source_files(".py"))
def test_every_module_says_what_it_owns(name: str) -> None:
    docstring = ast.get_docstring(ast.parse((SOURCE / name).read_text()))
    assert docstring, f"src/{name} has no docstring"


@pytest.mark.parametrize("name", source_files(".py", ".pyx"))
def test_no_check_is_switched_off_in_source(name: str) -> None:
    source = (SOURCE / name).read_text()
    assert re.findall(r"#\s*(?:type:\s*ignore|noqa|pragma: no cover)", source) == []


def lock_entries(name: str) -> dict[str, tuple[Requirement, str]]:
    """A lock's requirements by name, each with its whole entry, hashes included."""
    text = (ROOT / "requirements" / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and line.strip()[0] != "#"]
    entries: dict[str, tuple[Requirement, str]] = {}
    for line in lines:
        requirement = Requirement(line.partition("--hash")[0].strip())
        entries[canonicalize_name(requirement.name)] = (requirement, line)
    return entries


def wanted(*, extras: list[str], groups: list[str]) -> list[Requirement]:
    """What pyproject.toml asks for."""
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = metadata["project"]
    texts = [*metadata["build-system"]["requires"], *project["dependencies"]]
    for extra in extras:
        texts += project["optional-dependencies"][extra]
    for group in groups:
        texts += metadata["dependency-groups"][group]
    return [Requirement(text) for text in texts]


@pytest.mark.parametrize("name", LOCKS)
def test_every_locked_requirement_is_exact_and_has_hashes(name: str) -> None:
    entries = lock_entries(name)
    assert entries
    for requirement, line in entries.values():
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", line), line
        assert requirement.url is None, line


@pytest.mark.parametrize(
    ("name", "extras", "groups"),
    [("run.txt", ["embedded"], []), ("dev.txt", ["embedded"], ["dev"])],
)
def test_the_lock_has_what_pyproject_asks_for(
    name: str, extras: list[str], groups: list[str]
) -> None:
    entries = lock_entries(name)
    for requirement in wanted(extras=extras, groups=groups):
        locked, _ = entries[canonicalize_name(requirement.name)]
        (pin,) = locked.specifier
        assert pin.version in requirement.specifier, f"run `make lock`: {requirement}"


def test_both_locks_agree() -> None:
    run, dev = lock_entries("run.txt"), lock_entries("dev.txt")
    pins = {name: (run[name][0].specifier, dev[name][0].specifier) for name in run}
    assert {name: pair for name, pair in pins.items() if pair[0] != pair[1]} == {}


def test_the_fuzzers_lock_has_what_its_group_asks_for() -> None:
    metadata = tomllib.loads((ROOT / "pyproject.toml").read_text())
    entries = lock_entries("fuzz.txt")
    for text in metadata["dependency-groups"]["fuzz"]:
        wanted_one = Requirement(text)
        (pin,) = entries[canonicalize_name(wanted_one.name)][0].specifier
        assert pin.version in wanted_one.specifier
