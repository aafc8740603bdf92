"""The configurations for Prometheus are those that docs/production.md shows."""

from pathlib import Path

import pytest

from penstock.settings import HttpSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "production.md").read_text()
DEPLOY = ROOT / "deploy" / "prometheus"


def body(name: str) -> str:
    """Return a configuration without the comment at its head."""
    lines = (DEPLOY / name).read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("name", ["scrape.yml", "scrape-with-token.yml"])
def test_each_is_in_production_md_as_it_is(name: str) -> None:
    assert f"```yaml\n{body(name)}```\n" in PAGE
    assert f"(../deploy/prometheus/{name})" in PAGE
    http = HttpSettings()
    assert f'targets: ["{http.http_host}:{http.http_port}"]' in body(name)
    for rules in ("penstock-rules.yml", "penstock-alerts.yml"):
        assert f"  - {rules}\n" in body(name)
        assert (DEPLOY / rules).exists()


def test_they_differ_in_the_token_alone() -> None:
    """`authorization` sends `Bearer` and the file's content, without its line end."""
    token = (
        "    authorization:\n      credentials_file: /etc/prometheus/penstock.token\n"
    )
    assert body("scrape-with-token.yml").replace(token, "") == body("scrape.yml")
