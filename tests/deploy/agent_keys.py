"""What the CloudWatch agent's configuration may say, of what we use: our own schema.

The agent's own (translator/config/schema.json of aws/amazon-cloudwatch-agent) takes
almost any key in a section of metrics, so that a misspelt one passes and what it should
have set is not set. This one knows each key that we use, and no other.
"""

import re
from collections.abc import Iterator
from typing import Any

# A key's value is of this type, or a section of its own. `*` is any key.
Schema = dict[str, Any]
_MEASURED: Schema = {
    "measurement": [str],
    "append_dimensions": {"Deployment": str},
    "drop_original_metrics": [str],
}
KEYS: Schema = {
    "agent": {"metrics_collection_interval": int, "run_as_user": str},
    "metrics": {
        "namespace": str,
        "append_dimensions": {"InstanceId": str},
        "aggregation_dimensions": [[str]],
        "metrics_collected": {
            "cpu": {"totalcpu": bool, "resources": [str], **_MEASURED},
            "mem": _MEASURED,
            "disk": {"resources": [str], "drop_device": bool, **_MEASURED},
        },
    },
    "logs": {
        "force_flush_interval": int,
        "logs_collected": {
            "files": {
                "collect_list": [
                    {
                        "file_path": str,
                        "log_group_name": str,
                        "log_stream_name": str,
                        "retention_in_days": int,
                        "publish_multi_logs": bool,
                    }
                ]
            }
        },
        "metrics_collected": {
            "prometheus": {
                "prometheus_config_path": str,
                "log_group_name": str,
                "emf_processor": {
                    "metric_namespace": str,
                    "metric_declaration_dedup": bool,
                    "metric_declaration": [
                        {
                            "source_labels": [str],
                            "label_matcher": str,
                            "dimensions": [[str]],
                            "metric_selectors": [str],
                        }
                    ],
                },
            }
        },
    },
}
# What the agent's plugins call their metrics (its documentation, "Metrics collected by
# the CloudWatch agent"): one that is misspelt is not collected, and nobody is told.
MEASUREMENTS = {
    "cpu": {"cpu_usage_active", "cpu_usage_iowait"},
    "mem": {"mem_used_percent"},
    "disk": {"disk_used_percent"},
}


def troubles(configuration: dict[str, Any]) -> list[str]:
    """Return what is wrong with it, a line each; nothing if it is as it should be."""
    found = list(_wrong(configuration, KEYS, ""))
    collected = configuration.get("metrics", {}).get("metrics_collected", {})
    for plugin, section in collected.items():
        unknown = set(section.get("measurement", [])) - MEASUREMENTS.get(plugin, set())
        place = f"/metrics/metrics_collected/{plugin}"
        found.extend(f"{place} measures no {name}" for name in sorted(unknown))
    cpu = collected.get("cpu", {})
    if cpu.get("totalcpu") is not True and "*" not in cpu.get("resources", []):
        found.append("/metrics/metrics_collected/cpu collects nothing")
    return found


def _wrong(value: Any, schema: Any, place: str) -> Iterator[str]:
    if isinstance(schema, dict):
        if not isinstance(value, dict):
            yield f"{place} is no section"
            return
        for key, each in value.items():
            if key not in schema:
                yield f"{place}/{key} is no key of the agent that we use"
            else:
                yield from _wrong(each, schema[key], f"{place}/{key}")
    elif isinstance(schema, list):
        if not isinstance(value, list) or not value:
            yield f"{place} is no list, or an empty one"
            return
        for number, each in enumerate(value):
            yield from _wrong(each, schema[0], f"{place}/{number}")
    elif type(value) is not schema:
        yield f"{place} is no {schema.__name__}"


def selected(configuration: dict[str, Any]) -> dict[str, list[list[str]]]:
    """Return the metrics of Penstock that are sent on, each with its dimensions."""
    prometheus = configuration["logs"]["metrics_collected"]["prometheus"]
    found: dict[str, list[list[str]]] = {}
    for each in prometheus["emf_processor"]["metric_declaration"]:
        for selector in each["metric_selectors"]:
            # Anchored: without it one that another begins with goes along, and costs.
            name = re.fullmatch(r"\^(\w+)\$", selector)
            assert name is not None, selector
            found.setdefault(name[1], []).extend(each["dimensions"])
    return found


def of_host(configuration: dict[str, Any]) -> dict[str, list[set[str]]]:
    """Return the machine's metrics that are sent, each with its sets of dimensions.

    As the agent does it (plugins/outputs/cloudwatch/cloudwatch.go, ProcessRollup): the
    metric with all its dimensions, unless it is dropped, and once for each aggregation
    that has fewer, all of them the metric's.
    """
    metrics = configuration["metrics"]
    own = {"cpu": {"cpu"}, "mem": set(), "disk": {"path", "fstype"}}
    found: dict[str, list[set[str]]] = {}
    for plugin, section in metrics["metrics_collected"].items():
        raw = own[plugin] | set(metrics["append_dimensions"])
        raw |= set(section.get("append_dimensions", {}))
        if plugin == "disk" and not section.get("drop_device"):
            raw.add("device")
        rolled = [
            set(each)
            for each in metrics["aggregation_dimensions"]
            if set(each) < raw and len(each) < len(raw)
        ]
        for name in section["measurement"]:
            is_dropped = name in section.get("drop_original_metrics", [])
            found[name] = ([] if is_dropped else [raw]) + rolled
    return found
