"""deploy/grafana: the dashboard can be loaded, and asks only for what there is."""

import json
import re
from pathlib import Path

import yaml

from tests.deploy.dashboard import PATH, expressions, load, panels
from tests.deploy.tools import DEPLOY, passes
from tests.metric_names import asked_in, exposition, names_of, recorded_in

GRAFANA = DEPLOY / "grafana"
# That of Grafana 12, which deploy/compose names; it writes older ones anew by itself.
SCHEMA_VERSION = 41
COLUMNS = 24
BOOKS = (
    "Books: what was received is stored, or was stored before, or rejected,"
    " or is on its way"
)
ROWS = [
    "Ingest",
    "Ack latency",
    "Ring: received and not yet stored",
    "Spool: while PostgreSQL is away",
    "COPY into PostgreSQL",
    "Rejects and refusals",
    BOOKS,
    "PostgreSQL",
    "Backups",
    "The machine",
]
# Of the exporters that prometheus.yml scrapes: node_exporter 1.5 and 1.9,
# postgres_exporter 0.11 and 0.18 have these.
OF_EXPORTERS = {
    "node_cpu_seconds_total",
    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",
    "node_memory_MemAvailable_bytes",
    "node_memory_MemTotal_bytes",
    "pg_database_size_bytes",
    "pg_settings_max_connections",
    "pg_stat_activity_count",
    "pg_stat_activity_max_tx_duration",
    "pg_stat_database_xact_commit",
    "pg_stat_database_xact_rollback",
    "pg_up",
}
PROMETHEUS = DEPLOY / "prometheus"


def test_promtool_parses_every_expression(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": expression}
        for number, (_, expression) in enumerate(
            expressions(job="penstock", instance=".*")
        )
    ]
    assert len(rules) > 60
    path = tmp_path / "expressions.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "g", "rules": rules}]}))
    passes("promtool", "check", "rules", path)


def test_every_metric_that_a_panel_asks_for_is_there(tmp_path: Path) -> None:
    names = names_of(exposition(tmp_path))
    recorded = recorded_in((PROMETHEUS / "penstock-rules.yml").read_text())
    for title, expression in expressions(job="penstock", instance=".*"):
        assert asked_in(expression) <= names, title
        assert recorded_in(expression) <= recorded, title


def test_every_metric_of_an_exporter_is_one_that_it_has() -> None:
    """In the rules and in the dashboard."""
    asked = " ".join(text for _, text in expressions(job="penstock", instance=".*"))
    asked += (PROMETHEUS / "penstock-alerts.yml").read_text()
    found = set(re.findall(r"\b(?:node|pg)_\w+", asked))
    assert found == OF_EXPORTERS


def test_grafana_knows_the_dashboard_and_its_source() -> None:
    dashboard = load()
    assert dashboard["uid"] == "penstock"
    assert dashboard["schemaVersion"] == SCHEMA_VERSION
    assert "id" not in dashboard, "an id is of one Grafana, a uid of all"
    source, job, instance = dashboard["templating"]["list"]
    provisioning = GRAFANA / "provisioning"
    (provisioned,) = yaml.safe_load(
        (provisioning / "datasources" / "prometheus.yml").read_text()
    )["datasources"]
    assert source["type"] == "datasource" and source["query"] == provisioned["type"]
    assert source["current"]["value"] == provisioned["uid"]
    for each in (*panels(), job, instance):
        assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    for panel in panels():
        for target in panel["targets"]:
            assert target["datasource"] == panel["datasource"]
    assert instance["multi"] and instance["includeAll"]


def test_a_query_is_of_the_job_and_instance_that_were_chosen() -> None:
    for title, expression in expressions(job="JOB", instance="INSTANCE"):
        for series in asked_in(expression) | recorded_in(expression):
            begin = expression.index(series) + len(series)
            selector = expression[begin:].partition("}")[0]
            chosen = '{job="JOB", instance=~"INSTANCE"'
            assert selector.startswith(chosen), f"{title}: {series}"


def test_it_shows_what_it_promises_in_rows_that_can_be_read() -> None:
    dashboard = load()
    titles = [each["title"] for each in dashboard["panels"] if each["type"] == "row"]
    assert titles == ROWS
    ids = [each["id"] for each in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] and place["x"] + place["w"] <= COLUMNS
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies on another panel"
        taken |= cells
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["fieldConfig"]["defaults"]["unit"]


def test_compose_mounts_it_where_grafana_is_told_to_look() -> None:
    text = (GRAFANA / "provisioning" / "dashboards" / "penstock.yml").read_text()
    (provider,) = yaml.safe_load(text)["providers"]
    services = yaml.safe_load((DEPLOY / "compose" / "compose.yaml").read_text())[
        "services"
    ]
    mounts = {
        each.split(":")[1]: each.split(":")[0]
        for each in services["grafana"]["volumes"]
    }
    assert mounts[provider["options"]["path"]] == "../grafana/dashboards"
    assert mounts["/etc/grafana/provisioning"] == "../grafana/provisioning"
    targets = (PROMETHEUS / "prometheus.yml").read_text()
    for name in ("penstock", "postgres-exporter", "node-exporter"):
        assert name in services and f'"{name}:' in targets
    # The image's own directory, so that what it was built with is not in the way.
    assert "../prometheus:/etc/prometheus:ro" in services["prometheus"]["volumes"]


def test_the_file_is_written_so_that_a_change_can_be_read() -> None:
    text = PATH.read_text()
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"
