"""Reads the Grafana dashboard: its panels, and what each asks Prometheus."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.deploy.tools import DEPLOY

PATH = DEPLOY / "grafana" / "dashboards" / "penstock.json"


def load() -> dict[str, Any]:
    """Return the dashboard."""
    found: dict[str, Any] = json.loads(PATH.read_text())
    return found


def panels() -> list[dict[str, Any]]:
    """Return its panels without the rows' heads."""
    return [panel for panel in load()["panels"] if panel["type"] != "row"]


def expressions(**variables: str) -> Iterator[tuple[str, str]]:
    """Yield each panel's title with each of its expressions, variables filled in."""
    values = {"__rate_interval": "1m", **variables}
    for panel in panels():
        for target in panel["targets"]:
            expression = re.sub(
                r"\$(\w+)", lambda found: values[found[1]], target["expr"]
            )
            yield panel["title"], expression
