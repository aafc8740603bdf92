"""The compose files: what they accept, what they refuse, what each container may do."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock import config
from tests.deploy import compose, tools

MIB = 1024 * 1024
INSTANCE = tools.DEPLOY / "instance"
PROFILES = "database,monitoring,collector,backup"
YAMLLINT = (
    "{extends: default, rules: {line-length: disable, document-start: disable,"
    " braces: disable, brackets: disable}}"
)
# Who reads Docker's own files needs root's eyes; nobody else is root.
ROOTS = {"fluent-bit"}
ONE_SHOTS = {"setup", "migrate"}
# Beside those on loopback.
PUBLISHED = {("penstock", "24224"), ("nginx", "443")}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return compose.services()


@pytest.mark.parametrize("path", [compose.PRODUCTION, compose.LOCAL], ids=str)
def test_compose_files_follow_the_specification(path: Path) -> None:
    tools.passes(
        "check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)
    )
    text = path.read_text()
    assert "\nversion:" not in text
    assert "container_name:" not in text


def test_the_yaml_is_clean() -> None:
    tools.passes("yamllint", "-s", "-d", YAMLLINT, compose.PRODUCTION.parent)


def test_the_example_is_accepted_as_it_stands() -> None:
    ran = compose.configured()
    assert ran.code == 0, ran.output
    assert "level=warning" not in ran.output


def test_the_local_stack_needs_no_variable() -> None:
    ran = compose.configured(
        {"COMPOSE_PROFILES": "monitoring"}, file=compose.LOCAL, env_file=None
    )
    assert ran.code == 0, ran.output


def test_every_variable_is_in_the_example_and_none_besides() -> None:
    text = compose.PRODUCTION.read_text()
    asked = compose.variables_in(text) | {"COMPOSE_PROFILES"}
    assert set(compose.variables_of(compose.EXAMPLE)) == asked


def test_every_variable_of_the_example_is_explained() -> None:
    before = ""
    for line in compose.EXAMPLE.read_text().splitlines():
        if line and not line.startswith("#") and not line.startswith("POSTGRES_"):
            assert before.startswith("#") or before.endswith(("0", "1")), line
        before = line


def required() -> list[str]:
    names = []
    for part in compose.PRODUCTION.read_text().split("${")[1:]:
        name, is_required, _ = part.partition(":?")
        if is_required and name.replace("_", "").isupper() and name.isascii():
            names.append(name)
    return sorted(set(names))


@pytest.mark.parametrize("name", required())
def test_a_missing_variable_is_named_and_explained(name: str) -> None:
    for value in (None, ""):
        ran = compose.configured({name: value})
        assert ran.code != 0
        last = ran.output.strip().splitlines()[-1]
        assert f"{name} is missing a value: " in last, ran.output
        assert len(last.rpartition(": ")[2]) > 15, "it says what to set"


def test_what_must_be_given_is_the_machines_own() -> None:
    assert required() == [
        "DATABASE_HOST",
        "DATA_DIR",
        "PENSTOCK_IMAGE",
        "PENSTOCK_MEMORY",
        "PENSTOCK_RING_BYTES",
        "SECRETS_DIR",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PENSTOCK_MEMORY", "much"),
        ("POSTGRES_SHM_SIZE", "64m"),
        ("PENSTOCK_CPUS", "all"),
        ("FORWARD_BIND", "here"),
    ],
)
def test_a_wrong_value_is_refused(name: str, value: str) -> None:
    assert compose.configured({name: value}).code != 0


def test_a_server_on_rds_has_no_postgres_and_needs_none_of_its_sizes() -> None:
    rds = {
        "COMPOSE_PROFILES": "",
        "DATABASE_HOST": "logs.abc.eu-central-1.rds.amazonaws.com",
        "READER_HOST": "replica.abc.eu-central-1.rds.amazonaws.com",
        "DATABASE_SSLMODE": "require",
    }
    absent = dict.fromkeys(
        name
        for name in compose.variables_of(compose.EXAMPLE)
        if name.startswith("POSTGRES_")
    )
    ran = compose.configured({**rds, **absent})
    assert ran.code == 0, ran.output
    found = yaml.safe_load(ran.output)["services"]
    assert set(found) == {"setup", "migrate", "penstock", "nginx"}
    settings = found["penstock"]["environment"]
    assert "@logs.abc." in settings["PENSTOCK_DATABASE_URL"]
    assert "@replica.abc." in settings["PENSTOCK_API_DATABASE_URL"]
    # What questions cost is written, which a replica is not for.
    assert "@logs.abc." in settings["PENSTOCK_ASK_DATABASE_URL"]
    for name in ("DATABASE_URL", "API_DATABASE_URL", "MAINTENANCE_DATABASE_URL"):
        assert "sslmode=require" in settings[f"PENSTOCK_{name}"]


def test_nothing_is_published_but_24224_443_and_loopback(
    services: dict[str, Any],
) -> None:
    published = {
        (name, port["published"])
        for name, service in services.items()
        for port in service.get("ports", [])
        if port["host_ip"] != "127.0.0.1"
    }
    assert published == PUBLISHED
    assert not services["postgres"].get("ports")


def test_only_what_writes_to_the_bucket_is_where_the_instances_role_is(
    services: dict[str, Any],
) -> None:
    """stack.sh closes the metadata service to every bridge but this one."""
    found = yaml.safe_load(compose.configured({"COMPOSE_PROFILES": PROFILES}).output)[
        "networks"
    ]
    bridge = found["role"]["driver_opts"]["com.docker.network.bridge.name"]
    assert f'role_bridge="{bridge}"\n' in (INSTANCE / "stack.sh").read_text()
    # The kernel's limit for an interface's name.
    assert len(bridge) <= 15
    with_role = {name for name, each in services.items() if "role" in each["networks"]}
    assert with_role == {"postgres", "penstock-backup", "penstock-wal"}
    # Else it would depend on their names by which network their packets leave.
    assert found["database"]["internal"] is True
    for name, each in services.items():
        assert len({*each["networks"]} - {"database"}) == 1, name


def test_an_image_of_somebody_else_gets_no_login_that_changes_anything(
    services: dict[str, Any],
) -> None:
    ours = {"PENSTOCK_IMAGE", "POSTGRES_IMAGE"}
    images = compose.variables_of(compose.EXAMPLE)
    for name, service in services.items():
        if service["image"] in {images[each] for each in ours}:
            continue
        held = {each["source"] for each in service.get("secrets", [])}
        assert not held & {"postgres_password", "owner_password", "writer_password"}
        for mount in service.get("volumes", []):
            assert mount["source"] not in {"/data/postgres", "/data/penstock"}, name


def test_no_container_has_more_rights_than_it_needs(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert not service.get("cap_add"), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not service.get("privileged"), name
        user = service["user"].partition(":")[0]
        assert (user == "0") == (name in ROOTS), name
        if any(mount["source"] == "/" for mount in service.get("volumes", [])):
            # /proc of the machine: of its own processes a user may read the memory.
            others = [each["user"] for each in services.values()]
            assert others.count(service["user"]) == 1, name
        for mount in service.get("volumes", []):
            is_state = mount["source"].startswith("/data/")
            assert is_state or mount.get("read_only"), f"{name}: {mount}"
            assert "docker.sock" not in mount["source"]


def test_every_container_has_a_limit_of_memory_and_rotates_its_log(
    services: dict[str, Any],
) -> None:
    for name, service in services.items():
        assert int(service["mem_limit"]) >= 64 * MIB, name
        options = service["logging"]["options"]
        assert options["max-size"] == "10m" and options["max-file"] == "3", name


def test_what_serves_is_checked_restarted_and_given_time_to_stop(
    services: dict[str, Any],
) -> None:
    assert services["penstock"]["stop_grace_period"] == "1m0s"
    assert services["postgres"]["stop_grace_period"] == "2m0s"
    # The image's own check; see test_images.
    assert "healthcheck" not in services["penstock"]
    for name in ("postgres", "nginx"):
        assert services[name]["healthcheck"]["test"], name
    for name, service in services.items():
        is_short = name in ONE_SHOTS or "backup" in service.get("profiles", [])
        assert service["restart"] == ("no" if is_short else "on-failure"), name


def test_each_service_waits_for_what_it_needs(services: dict[str, Any]) -> None:
    def waits(name: str, other: str) -> Any:
        return services[name]["depends_on"][other]["condition"]

    assert waits("setup", "postgres") == "service_healthy"
    assert waits("migrate", "setup") == "service_completed_successfully"
    assert waits("penstock", "migrate") == "service_completed_successfully"
    assert waits("nginx", "penstock") == "service_healthy"
    # With RDS there is none to wait for.
    assert services["setup"]["depends_on"]["postgres"]["required"] is False


def test_no_secret_is_in_an_environment_or_a_command_line() -> None:
    ran = compose.configured({"COMPOSE_PROFILES": PROFILES})
    for name, service in yaml.safe_load(ran.output)["services"].items():
        for key, text in service.get("environment", {}).items():
            is_secret = any(word in key for word in ("PASSWORD", "TOKEN", "KEY"))
            assert not is_secret or str(text).startswith("/run/"), f"{name}: {key}"
            if "postgresql://" in str(text):
                login = text.partition("@")[0].removeprefix("postgresql://")
                assert ":" not in login
                assert "password_file=/run/secrets/" in text
        words = [*(service.get("command") or ()), *(service.get("entrypoint") or ())]
        for word in words:
            assert "password" not in word or "/run/secrets/" in word, f"{name}: {word}"
        # Each has those that it reads, and no other.
        mounted = {each["source"] for each in service.get("secrets", [])}
        said = f"{service.get('environment')} {words}"
        configured_files = {"fluent-bit": "shared_key", "prometheus": "metrics_token"}
        named = {each for each in mounted if f"/run/secrets/{each}" in said}
        assert mounted == named | (mounted & {configured_files.get(name)}), name


def test_every_setting_of_ours_exists(services: dict[str, Any]) -> None:
    known = {config.environment_name(name) for name, _, _ in config.all_settings()}
    known |= {"PENSTOCK_DATABASE_URL", "PENSTOCK_DATA_DIR"}
    manifests = (tools.DEPLOY / "kubernetes" / "penstock.yaml").read_text()
    local = yaml.safe_load(compose.LOCAL.read_text())["services"]
    given = {
        name
        for each in (*services.values(), *local.values())
        for name in each.get("environment", {})
    } | set(re.findall(r"name: (PENSTOCK_\w+)", manifests))
    ours = {name for name in given if name.startswith("PENSTOCK_")}
    assert len(ours) > 15
    assert ours <= known


def test_the_example_for_kubernetes_keeps_the_promises() -> None:
    path = tools.DEPLOY / "kubernetes" / "penstock.yaml"
    tools.passes("yamllint", "-s", "-d", YAMLLINT, path)
    _, found = yaml.safe_load_all(path.read_text())
    assert found["kind"] == "StatefulSet", "a spool belongs to one server"
    pod = found["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= 40
    (container,) = pod["containers"]
    assert container["readinessProbe"]["exec"]["command"] == ["penstock", "health"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    (claim,) = found["spec"]["volumeClaimTemplates"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert mounts[claim["metadata"]["name"]] == "/var/lib/penstock"


def test_all_memory_that_is_given_away_is_there() -> None:
    """Of the machine of 4 GiB that the example is for, monitoring and all."""
    limits = {name: int(each["mem_limit"]) for name, each in compose.services().items()}
    always = sum(limits[name] for name in ("postgres", "penstock", "nginx"))
    exporters = ("postgres-exporter", "node-exporter")
    beside = sum(
        limits[name] for name in ("prometheus", "grafana", "fluent-bit", *exporters)
    )
    # The kernel's and the agent's are 300 MiB.
    assert always + 300 * MIB < 4096 * MIB
    assert always + beside < 4096 * MIB


def test_the_collector_does_not_tail_its_own_log(services: dict[str, Any]) -> None:
    collector = services["fluent-bit"]
    assert collector["logging"]["driver"] == "local"
    config = yaml.safe_load((compose.PRODUCTION.parent / "fluent-bit.yaml").read_text())
    (tail,) = config["pipeline"]["inputs"]
    assert tail["path"].endswith("-json.log"), "the driver local writes none"
    (forward,) = config["pipeline"]["outputs"]
    assert forward["require_ack_response"] is True
    assert forward["shared_key"] == "${SHARED_KEY}"
    assert forward["tls"] is True and forward["tls.verify"] is True
    assert forward["retry_limit"] == "no_limits"
    assert tail["storage.type"] == "filesystem"
    assert config["env"] == [
        {"name": "SHARED_KEY", "uri": "file:///run/secrets/shared_key"}
    ]


def test_images_are_pinned_by_an_exact_version() -> None:
    for path in (compose.PRODUCTION, compose.LOCAL):
        for line in path.read_text().splitlines():
            _, is_default, image = line.partition("_IMAGE:-")
            if is_default:
                tag = image.rstrip("}").partition(":")[2]
                is_ours = image.startswith("penstock")
                assert is_ours or any(each.isdigit() for each in tag), line
                assert tag != "latest"
