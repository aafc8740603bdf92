"""deploy/prometheus: its rules hold what docs/alerts.md promises, in a real Prometheus.

A real server scrapes a real Penstock by our own prometheus.yml; only addresses, the
token's place and the interval are other than on a machine.
"""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.acceptance.forward_sender import ForwardSender, pack
from tests.acceptance.penstock_process import Penstock
from tests.deploy.dashboard import expressions
from tests.deploy.tools import DEPLOY, passes, tool
from tests.metric_names import asked_in, names_of, recorded_in
from tests.ports import free_port

PROMETHEUS = DEPLOY / "prometheus"
RULES = ("penstock-rules.yml", "penstock-alerts.yml")
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
TOKEN = "a-token-of-the-tests"
# Two scrapes for a rate; two cores start a PostgreSQL and a Prometheus in some seconds.
PATIENCE_SECONDS = 40.0
POLL_SECONDS = 0.2


def alerts() -> dict[str, dict[str, Any]]:
    """Return the alerts by name."""
    groups = yaml.safe_load((PROMETHEUS / "penstock-alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_promtool_takes_the_rules() -> None:
    passes("promtool", "check", "rules", *(PROMETHEUS / name for name in RULES))


@pytest.mark.parametrize("name", ["prometheus.yml", "scrape.yml"])
def test_promtool_takes_the_configuration(name: str, tmp_path: Path) -> None:
    _configuration(tmp_path, name)
    passes("promtool", "check", "config", tmp_path / name)


def test_each_alert_fires_when_it_should_and_not_when_it_should_not() -> None:
    passes("promtool", "test", "rules", *TESTS)


def test_each_alert_is_tried_both_ways() -> None:
    fires: set[str] = set()
    does_not: set[str] = set()
    for path in TESTS:
        for group in yaml.safe_load(path.read_text())["tests"]:
            for each in group.get("alert_rule_test", []):
                (fires if each["exp_alerts"] else does_not).add(each["alertname"])
    assert fires == does_not == set(alerts())


def test_each_alert_says_how_soon_somebody_has_to_look() -> None:
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"critical", "warning"}, name
        assert len(rule["annotations"]["summary"]) > 20, name


class Scraped(NamedTuple):
    """A Prometheus that has scraped a Penstock, and what that serves."""

    url: str
    exposition: str

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}") as answer:
            return json.load(answer)["data"]


def _configuration(directory: Path, name: str, **replaced: str) -> None:
    """Write a configuration, its rules and its token into a directory of the test's."""
    (directory / "token").write_text(TOKEN)
    for rules in RULES:
        (directory / rules).write_text((PROMETHEUS / rules).read_text())
    text = (PROMETHEUS / name).read_text()
    text = text.replace("/run/secrets/metrics_token", str(directory / "token"))
    for before, after in replaced.items():
        assert before in text
        text = text.replace(before, after)
    (directory / name).write_text(text)


def _wait(condition: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, f"not within {PATIENCE_SECONDS:.0f} s: {what}"
        time.sleep(POLL_SECONDS)


def _send_logs(port: int) -> None:
    """Send five rows, one event that is none, and wait for the acks."""
    entries = [[1_700_000_000 + second, {"n": second}] for second in range(5)]
    entries.append([1_700_000_000, "no record"])
    with ForwardSender(port) as sender:
        sender.send(pack(["seen", entries, {"chunk": "c2VlbmluZw=="}]))
        assert sender.read_ack() == "c2VlbmluZw=="


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    """A real Prometheus, with our configuration, of a real Penstock with a token."""
    program = tool("prometheus")
    directory = tmp_path_factory.mktemp("prometheus")
    (directory / "token").write_text(TOKEN)
    penstock = Penstock()
    try:
        penstock.start("--http-token-file", str(directory / "token"))
        _send_logs(penstock.port)
        with _Prometheus(program, directory, penstock.http_port) as url:
            request = urllib.request.Request(
                f"http://127.0.0.1:{penstock.http_port}/metrics",
                headers={"Authorization": f"Bearer {TOKEN}"},
            )
            with urllib.request.urlopen(request) as answer:
                exposition = answer.read().decode()
            yield Scraped(url, exposition)
    finally:
        penstock.remove()


class _Prometheus:
    """A Prometheus that runs for the block, and has recorded a rate."""

    def __init__(self, program: str, directory: Path, scraped_port: int) -> None:
        self._directory = directory
        self._port = free_port()
        _configuration(
            directory,
            "prometheus.yml",
            **{
                "penstock:8000": f"127.0.0.1:{scraped_port}",
                "127.0.0.1:9090": f"127.0.0.1:{self._port}",
                ": 15s": ": 1s",
            },
        )
        self._command = [
            program,
            f"--config.file={directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]

    def __enter__(self) -> str:
        url = f"http://127.0.0.1:{self._port}"
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        try:
            _wait(lambda: self._has_recorded(url), "Prometheus has recorded a rate")
        except AssertionError as error:
            self.__exit__()
            error.add_note((self._directory / "log").read_text()[-3000:])
            raise
        return url

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)

    def _has_recorded(self, url: str) -> bool:
        try:
            data = Scraped(url, "").ask(
                "query", query="instance:penstock_copy_rows:rate5m"
            )
        except OSError:
            return False
        return bool(data["result"])


def test_a_real_prometheus_scrapes_a_real_penstock(scraped: Scraped) -> None:
    targets = scraped.ask("targets")["activeTargets"]
    health = {each["labels"]["job"]: each["health"] for each in targets}
    assert health["penstock"] == "up"
    assert health["prometheus"] == "up"
    (stored,) = scraped.ask("query", query="penstock_copy_rows_total")["result"]
    assert stored["value"][1] == "5"


def test_it_evaluates_every_rule_without_error(scraped: Scraped) -> None:
    rules = [
        rule
        for group in scraped.ask("rules")["groups"]
        if group["name"].startswith("penstock")
        for rule in group["rules"]
    ]
    assert len(rules) > 40
    troubles = {
        rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"
    }
    assert troubles == {}
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    # The exporters are not there, but ten minutes have not passed.
    assert firing == set()


def test_every_expression_of_the_dashboard_is_answered(scraped: Scraped) -> None:
    empty = []
    for title, expression in expressions(job="penstock", instance=".*"):
        asked = asked_in(expression) | recorded_in(expression)
        if not scraped.ask("query", query=expression)["result"] and asked:
            empty.append(title)
    # No worker of its own, no backup yet, no WAL archived: series that are not there;
    # and nothing comes meanwhile.
    assert set(empty) <= {
        "Newest backup",
        "By worker",
        "Part of what comes that came before",
        "Age of the newest",
        "WAL waits for the store",
        "Size",
        "The last one verified",
        "Failures, and connections opened again",
        "Connections closed or not taken",
        "Last maintained without failure",
    }


def test_what_the_rules_ask_is_served(scraped: Scraped) -> None:
    """But for what is there at times only: backups, WAL, workers, a spool."""
    asked = set()
    for name in RULES:
        for group in yaml.safe_load((PROMETHEUS / name).read_text())["groups"]:
            asked |= {
                metric for rule in group["rules"] for metric in asked_in(rule["expr"])
            }
    missing = asked - names_of(scraped.exposition)
    assert {name for name in missing if "backup" not in name} <= {
        "penstock_worker_ends_total"
    }
