"""A deployment's directory: what Terraform is told, and where its data is.

It owns the names of these files, so that neither the clone nor the next deployment is
touched by a run. It must not start Terraform or talk to AWS. No file of it holds a
secret; the directory is its owner's all the same (mode 0700).
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from penstock.errors import ProvisionError, SettingsError

DEPLOYMENTS: Final = Path("penstock-deploy")
# Terraform's root module, in a checkout of the repository.
CHECKOUT_ROOT: Final = Path(__file__).parents[3] / "deploy" / "terraform"

# As deploy/terraform/variables.tf has it, so that it is refused before a plan.
_ENVIRONMENT: Final = re.compile(r"[a-z][a-z0-9-]{0,10}[a-z0-9]")
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+)+-\d{1,2}")
# A tenth of RFC 5322, enough for what was typed wrong: AWS writes to it at once.
_EMAIL: Final = re.compile(r"[^@\s,;]+@[^@\s,;]+\.[^@\s,;]+")


class Deployment:
    """The files of one deployment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self.variables_file = self.directory / "deployment.tfvars.json"
        self.backend_file = self.directory / "backend.hcl"
        self.data_dir = self.directory / "terraform"
        self.kept_file = self.directory / "kept.json"
        self.plan_file = self.directory / "plan.tfplan"

    def variables(self) -> dict[str, Any]:
        """Return what Terraform's root is told.

        Raises:
            ProvisionError: `deploy init` has not been here, or the file is no JSON.
        """
        try:
            found = orjson.loads(self.variables_file.read_bytes())
        except FileNotFoundError:
            raise ProvisionError(
                f"there is no deployment in {self.directory}: penstock deploy init"
                " makes one"
            ) from None
        except orjson.JSONDecodeError as error:
            raise ProvisionError(
                f"{self.variables_file} is no JSON: {error}; correct it"
            ) from error
        except OSError as error:
            raise ProvisionError(
                f"{self.variables_file} cannot be read: {error.strerror}"
            ) from error
        if not isinstance(found, dict):
            raise ProvisionError(f"{self.variables_file} is no JSON object")
        return found

    def is_there(self) -> bool:
        """Return whether `deploy init` has been here."""
        return self.variables_file.exists()

    def write_variables(self, variables: Mapping[str, Any]) -> None:
        """Write what Terraform's root is told."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = orjson.dumps(variables, option=orjson.OPT_INDENT_2)
        _replace(self.variables_file, text + b"\n")
        # The rest is fit to be kept in git; this is the provider's half a gigabyte.
        _replace(self.directory / ".gitignore", b"/terraform/\n/plan.tfplan\n")

    def kept(self) -> list[str] | None:
        """Return what a removal that was begun has to leave; None: none was begun."""
        if not self.kept_file.exists():
            return None
        try:
            return [str(each) for each in orjson.loads(self.kept_file.read_bytes())]
        except (OSError, orjson.JSONDecodeError, TypeError) as error:
            raise ProvisionError(
                f"{self.kept_file}, which says what holds data, cannot be read:"
                " penstock deploy apply first, so that it is known again"
            ) from error

    def forget_kept(self) -> None:
        """Forget what a removal had to leave: an apply has said it anew."""
        self.kept_file.unlink(missing_ok=True)

    def write_kept(self, addresses: Sequence[str]) -> None:
        """Write down what a removal has to leave, before it is begun."""
        _replace(self.kept_file, orjson.dumps(list(addresses)))

    def backend(self) -> str:
        """Return what says where Terraform's state is; nothing if it is not said."""
        try:
            return self.backend_file.read_text()
        except FileNotFoundError:
            return ""

    def write_backend(self, text: str) -> None:
        """Write where Terraform's state is."""
        _replace(self.backend_file, text.encode())

    def variable_arguments(self) -> list[str]:
        """Return what tells Terraform the variables."""
        return [f"-var-file={self.variables_file}"]


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole, or leave the one that was there."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    beside.replace(path)


def begun_deployments() -> list[Deployment]:
    """Return the deployments that are where they are by default."""
    found = sorted(DEPLOYMENTS.glob("*/deployment.tfvars.json"))
    return [Deployment(each.parent) for each in found]


def find_deployment(directory: str | None, environment: str | None) -> Deployment:
    """Return the deployment that is meant: by directory, environment, or the only one.

    Raises:
        SettingsError: there is none, or several.
    """
    if directory is not None:
        return Deployment(Path(directory))
    if environment is not None:
        return Deployment(DEPLOYMENTS / environment)
    found = begun_deployments()
    if len(found) == 1:
        return found[0]
    if not found:
        raise SettingsError(
            f"there is no deployment in {DEPLOYMENTS.absolute()}: penstock deploy init"
            " makes one, --dir says where it is"
        )
    names = ", ".join(each.directory.name for each in found)
    raise SettingsError(f"there are several deployments: say --environment {names}")


def find_root(terraform_dir: str | None) -> Path:
    """Return Terraform's root module.

    Raises:
        SettingsError: there is none.
    """
    root = Path(terraform_dir) if terraform_dir is not None else CHECKOUT_ROOT
    if any(root.glob("*.tf")):
        return root.absolute()
    if terraform_dir is None:
        raise SettingsError(
            "Terraform's files are not part of the installed package: clone the"
            " repository, and name its deploy/terraform with --terraform-dir"
        )
    raise SettingsError(f"--terraform-dir: there is no *.tf in {root}")


def check_names(root: Path, names: Iterable[str]) -> None:
    """Refuse names that the root module has no variable for.

    Terraform says no more than a warning, and somebody believes that it is set.

    Raises:
        SettingsError: there is one.
    """
    text = "\n".join(each.read_text() for each in sorted(root.glob("*.tf")))
    known = re.findall(r'^variable "(\w+)"', text, re.M)
    problems = []
    for name in sorted({*names} - {*known}):
        near = difflib.get_close_matches(name, known, 1)
        is_meant = f"; {near[0]}?" if near else ""
        problems.append(f"there is no variable {name[:60]}{is_meant}")
    if problems:
        raise SettingsError(*problems)


def problems_of(region: str, environment: str, alert_email: str) -> list[str]:
    """Return a line for each that AWS could not use."""
    found = []
    if not _REGION.fullmatch(region):
        found.append(f"region {region!r} is none: it is written as eu-central-1")
    if not _ENVIRONMENT.fullmatch(environment):
        found.append(
            f"environment {environment!r}: it is part of names, so 2 to 12 of a-z, 0-9"
            " and -, beginning with a letter and not ending with -"
        )
    if not _EMAIL.fullmatch(alert_email):
        found.append(f"alert e-mail {alert_email!r} is no address")
    return found
