"""What `penstock deploy destroy` keeps can be kept: it needs nothing that goes."""

import json
import re

import pytest

from tests.deploy.terraform_runs import PATIENCE_SECONDS, Applied

# Whoever asks first waits for the apply.
pytestmark = pytest.mark.timeout(PATIENCE_SECONDS)


def test_what_is_kept_depends_on_nothing_that_goes(applied: Applied) -> None:
    """Else Terraform would remove it too; the state says what depends on what."""
    state = json.loads(applied.deployment.state.read_text())
    named = state["outputs"]["kept_on_destroy"]["value"]
    kept = {re.sub(r"\[[^]]*\]", "", each) for each in named}
    needed = {
        (address, need)
        for each in state["resources"]
        if (address := address_of(each)) in kept
        for instance in each["instances"]
        for need in instance.get("dependencies", ())
    }
    assert needed, "a bucket's policy needs its bucket, at least"
    going = {pair for pair in needed if is_made(pair[1]) and pair[1] not in kept}
    assert going == set()


def is_made(address: str) -> bool:
    """Return whether there is anything to go: not what is only read or thrown away."""
    return re.search(r"(^|\.)(data|ephemeral)\.", address) is None


def address_of(resource: dict[str, str]) -> str:
    own = f"{resource['type']}.{resource['name']}"
    module = re.sub(r"\[[^]]*\]", "", resource.get("module", ""))
    return f"{module}.{own}" if module else own
