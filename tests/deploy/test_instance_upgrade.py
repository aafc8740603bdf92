"""An image replaces another only where it is healthy; else the one before runs again.

The real stack does this in full/test_stack.py; here compose is a stand-in, so that
every way to fail has its test.
"""

import signal
import time

import pytest

from tests.deploy.instance_machine import NEW, OLD, POSTGRES, Machine


@pytest.fixture
def machine(tmp_path) -> Machine:
    made = Machine(tmp_path)
    made.has_stack()
    return made


def test_an_upgrade_runs_the_new_image_and_remembers_both(machine):
    ran = machine.sh(f"main upgrade {NEW}")
    assert ran.code == 0, ran.output
    assert machine.running() == NEW
    assert (machine.root / "state" / "image").read_text() == f"{NEW}\n"
    assert (machine.root / "state" / "image.previous").read_text() == f"{OLD}\n"
    assert ran.output.splitlines()[-1].endswith(
        f"{NEW} runs and is healthy; {OLD} was before"
    )


def test_the_old_is_drained_before_the_new_starts_and_after_the_migration(machine):
    machine.sh(f"main upgrade {NEW}")
    calls = [each.split("compose.yaml ")[-1] for each in machine.calls("compose.yaml")]
    migrated = calls.index("run --rm --no-deps -T migrate")
    stopped = calls.index("stop penstock")
    begun = next(i for i, each in enumerate(calls) if each.startswith("up "))
    assert migrated < stopped < begun


def test_an_image_that_is_not_healthy_is_rolled_back_with_one_last_line(machine):
    machine.write_stub("bad", f"{NEW}\n")
    ran = machine.sh(f"main upgrade {NEW}")
    assert ran.code == 1
    assert machine.running() == OLD
    assert (machine.root / "state" / "image").read_text() == f"{OLD}\n"
    assert f"PENSTOCK_IMAGE={OLD}" in (machine.root / "run" / "stack.env").read_text()
    last = ran.output.splitlines()[-1]
    assert f"upgrade to {NEW} failed (penstock is unhealthy" in last
    assert last.endswith(f": {OLD} runs again")


def test_a_roll_back_brings_back_the_files_of_before(machine):
    machine.write_stub("bad", f"{NEW}\n")
    compose = machine.stub / "bucket" / "stack" / "compose" / "compose.yaml"
    before = (machine.root / "opt" / "compose" / "compose.yaml").read_text()
    compose.write_text("services: {}\n")
    assert machine.sh(f"main upgrade {NEW}").code == 1
    assert (machine.root / "opt" / "compose" / "compose.yaml").read_text() == before


def test_an_upgrade_brings_what_was_set_since_the_machine_was_made(machine):
    settings = machine.stub / "bucket" / "stack" / "instance.env"
    set_since = machine.instance | {"RETENTION_DAYS": "7", "PROFILES": "database"}
    settings.write_text("".join(f"{k}={v}\n" for k, v in set_since.items()))
    assert machine.sh(f"main upgrade {OLD}").code == 0
    environment = (machine.root / "run" / "stack.env").read_text()
    assert "RETENTION_DAYS=7\n" in environment
    assert "COMPOSE_PROFILES=database\n" in environment
    assert machine.sh("main environment").code == 0
    assert (machine.root / "run" / "stack.env").read_text() == environment


def test_a_roll_back_goes_back_to_what_was_set_before(machine):
    machine.write_stub("bad", f"{NEW}\n")
    settings = machine.stub / "bucket" / "stack" / "instance.env"
    (machine.root / "opt" / "instance.env").write_text("RETENTION_DAYS=20\n")
    settings.write_text("RETENTION_DAYS=7\n")
    assert machine.sh(f"main upgrade {NEW}").code == 1
    environment = (machine.root / "run" / "stack.env").read_text()
    assert "RETENTION_DAYS=20\n" in environment


def test_another_image_of_postgresql_comes_with_an_upgrade_or_nothing_changes(machine):
    settings = machine.stub / "bucket" / "stack" / "instance.env"
    settings.write_text("POSTGRES_IMAGE=registry.test/postgres:18.7\n")
    ran = machine.sh(f"main upgrade {NEW}")
    assert ran.code == 1
    assert "registry.test/postgres:18.7 cannot be had" in ran.output.splitlines()[-1]
    assert machine.running() == OLD
    assert not machine.calls(" stop ")
    registry = (machine.stub / "registry").read_text()
    machine.write_stub("registry", f"{registry}registry.test/postgres:18.7\n")
    assert machine.sh(f"main upgrade {NEW}").code == 0
    environment = (machine.root / "run" / "stack.env").read_text()
    assert "POSTGRES_IMAGE=registry.test/postgres:18.7\n" in environment


def test_no_empty_database_of_another_major_version_is_begun(machine):
    # The second is what somebody in the container would have people read.
    for name in ("18", "20\x1b]0;all is well\n"):
        (machine.root / "data" / "postgres" / name / "docker").mkdir(parents=True)
    other = "registry.test/postgres:19.1"
    machine.write_stub("local", (machine.stub / "local").read_text() + f"{other}\n")
    settings = machine.stub / "bucket" / "stack" / "instance.env"
    settings.write_text(f"POSTGRES_IMAGE={other}\n")
    said = "is PostgreSQL 19, and the data here are of 18: a new deployment"
    ran = machine.sh(f"main upgrade {NEW}")
    assert ran.code == 1
    assert said in ran.output.splitlines()[-1]
    assert machine.running() == OLD
    assert POSTGRES in (machine.stub / "environment").read_text()
    (machine.stub / "environment").unlink()
    ran = machine.sh(f"load_instance; POSTGRES_IMAGE={other}; stack_start")
    assert ran.code == 1
    assert said in ran.output
    assert not (machine.stub / "environment").exists()


def test_a_roll_back_that_fails_too_says_so(machine):
    machine.write_stub("bad", f"{NEW}\n{OLD}\n")
    ran = machine.sh(f"main upgrade {NEW}")
    assert ran.code == 1
    assert f"and so did going back to {OLD}" in ran.output.splitlines()[-1]


def test_a_migration_that_fails_stops_nothing(machine):
    machine.write_stub("unmigrated", f"{NEW}\n")
    ran = machine.sh(f"main upgrade {NEW}")
    assert ran.code == 1
    assert "its migration failed" in ran.output.splitlines()[-1]
    assert machine.running() == OLD
    assert not machine.calls("stop penstock")


def test_an_image_that_cannot_be_had_changes_nothing(machine):
    ran = machine.sh("main upgrade registry.test/penstock:404")
    assert ran.code == 1
    assert "nothing was changed" in ran.output.splitlines()[-1]
    assert machine.running() == OLD
    assert not machine.calls(" stop ") and not machine.calls(" up ")


def test_files_that_cannot_be_had_change_nothing(machine):
    (machine.stub / "bucket").rename(machine.stub / "elsewhere")
    ran = machine.sh(f"main upgrade {NEW}")
    assert ran.code == 1
    assert "could not be copied from s3://stack/stack/" in ran.output
    assert machine.running() == OLD
    assert not machine.calls(" stop ") and not machine.calls(" up ")


def test_an_upgrade_that_is_interrupted_goes_back(machine):
    machine.write_stub("hang", "")
    running = machine.start(f"main upgrade {NEW}")
    while not machine.calls(" up "):
        assert running.poll() is None
        time.sleep(0.05)
    # As Systems Manager cancels a command. bash sees to it when compose has ended.
    running.send_signal(signal.SIGTERM)
    (machine.stub / "hang").unlink()
    output, _ = running.communicate(timeout=40)
    assert running.returncode == 1
    assert "it was interrupted" in output.splitlines()[-1]
    assert machine.running() == OLD


def test_two_upgrades_at_once_are_one(machine):
    held = machine.start("take_turn 0; echo held; sleep 30")
    assert held.stdout is not None and held.stdout.readline() == "held\n"
    try:
        ran = machine.sh(f"main upgrade {NEW}")
    finally:
        held.kill()
        held.communicate()
    assert ran.code == 1
    assert "another upgrade or a start is under way" in ran.output
    assert machine.running() == OLD


def test_a_machine_without_an_image_so_far_is_given_its_first(machine):
    (machine.root / "state" / "image").unlink()
    (machine.stub / "state" / "penstock").unlink()
    assert machine.sh(f"main upgrade {NEW}").code == 0
    assert machine.running() == NEW


def test_images_that_neither_run_nor_ran_before_are_removed(machine):
    oldest, other = "registry.test/penstock:0", "registry.test/postgres:17"
    local = (machine.stub / "local").read_text()
    machine.write_stub("local", f"{oldest}\n{other}\n{local}")
    machine.sh(f"main upgrade {NEW}")
    left = (machine.stub / "local").read_text().split()
    assert not {oldest, other} & set(left)
    assert {OLD, NEW, POSTGRES} <= set(left)


@pytest.mark.parametrize("image", ["", "$(reboot)", "a b", "-f", "a;b"])
def test_what_is_no_image_is_refused(machine, image):
    ran = machine.sh(f"main upgrade '{image}'")
    assert ran.code == 2
    assert ran.output == (
        "penstock-instance: upgrade takes one image, as in registry/name:tag\n"
    )


# ---- starting


def test_a_start_runs_what_ran_whatever_is_wanted_meanwhile(machine):
    machine.write_stub("image_parameter", NEW)
    ran = machine.sh("main stack-start")
    assert ran.code == 0, ran.output
    assert machine.running() == OLD


def test_the_roles_credentials_are_closed_to_the_containers_before_they_start(machine):
    for _ in range(2):
        ran = machine.sh("main stack-start")
        assert ran.code == 0, ran.output
    asked = [each for each in machine.calls() if " -I " in each or " up " in each]
    assert asked[0] == (
        "iptables -w 10 -I DOCKER-USER -d 169.254.169.254/32"
        " ! -i penstock-role -j REJECT"
    )
    assert len([each for each in asked if each.startswith("iptables")]) == 1


def test_nothing_starts_where_they_cannot_be_closed(machine):
    machine.write_stub("no-iptables", "")
    ran = machine.sh("main stack-start")
    assert ran.code == 1
    assert "metadata service could not be closed" in ran.output.splitlines()[-1]
    assert not [each for each in machine.calls() if " up " in each]


def test_an_image_that_is_not_pushed_yet_is_one_line(machine):
    (machine.root / "state" / "image").unlink()
    machine.write_stub("image_parameter", "registry.test/penstock:0.9")
    ran = machine.sh("main stack-start")
    assert ran.code == 1
    assert ran.output == (
        "penstock-instance: registry.test/penstock:0.9 cannot be had (not found): not"
        " pushed yet? `penstock deploy push`; tried again each minute\n"
    )


def test_a_start_needs_no_registry_for_what_is_here(machine):
    machine.write_stub("registry", "")
    assert machine.sh("main stack-start").code == 0
    assert not machine.calls("docker pull") and not machine.calls("docker login")


def test_no_start_on_an_empty_directory_where_a_volume_should_be(tmp_path):
    machine = Machine(tmp_path, DATA_VOLUME_ID="vol-0123456789abcdef0")
    machine.has_stack()
    ran = machine.sh("main stack-start")
    assert ran.code == 1
    assert "vol-0123456789abcdef0 is not attached" in ran.output
    assert not machine.calls(" up ")


def test_the_registry_is_logged_in_to_through_a_pipe_and_in_memory(machine):
    ecr = "123456789012.dkr.ecr.us-east-1.amazonaws.com/penstock:2"
    machine.write_stub("registry", f"{ecr}\n")
    machine.environment["DOCKER_CONFIG"] = "/elsewhere"
    assert machine.sh(f"main upgrade {ecr}").code == 0
    (login,) = machine.calls("docker login")
    assert login == f"docker login --username AWS --password-stdin {ecr.split('/')[0]}"
    assert (machine.root / "run" / "docker").is_dir()
    assert not machine.calls("a-password")


def test_no_other_registry_is_told_the_login_whatever_it_is_called(machine):
    theirs = "123456789012.dkr.ecr.us-east-1.amazonaws.com.example.com/penstock:2"
    machine.write_stub("registry", f"{theirs}\n")
    assert machine.sh(f"main upgrade {theirs}").code == 0
    assert not machine.calls("login")


def test_a_stop_is_left_alone_by_the_watchdog_until_the_next_start(machine):
    assert machine.sh("main stack-stop").code == 0
    machine.write_stub("is-active", "inactive")
    machine.sh("main watchdog")
    assert not machine.calls("systemctl start")
    machine.sh("main stack-start")
    machine.sh("main watchdog")
    assert machine.calls("systemctl start --no-block penstock-stack.service")


# ---- the watchdog


def test_the_watchdog_restarts_what_stays_unhealthy(machine):
    machine.set_state("nginx", "running unhealthy 0")
    looks = [machine.sh("main watchdog").output for _ in range(3)]
    assert looks[:2] == ["", ""]
    assert "nginx is running, unhealthy, for 3 minutes: restarting it" in looks[2]
    assert [each.split("yaml ")[1] for each in machine.calls(" restart ")] == [
        "restart nginx"
    ]


def test_the_watchdog_stops_restarting_what_it_does_not_help(machine):
    for _ in range(4):
        machine.set_state("nginx", "running unhealthy 0")
        last = [machine.sh("main watchdog").output for _ in range(3)][-1]
    assert len(machine.calls(" restart ")) == 3
    assert "restarted 3 times within an hour and left alone now" in last


def test_the_watchdog_starts_what_ended_and_leaves_what_runs_once(machine):
    machine.set_state("fluent-bit", "exited unchecked 0")
    machine.set_state("migrate", "exited unchecked 0")
    for _ in range(3):
        machine.sh("main watchdog")
    assert [each.split("yaml ")[1] for each in machine.calls(" restart ")] == [
        "restart fluent-bit"
    ]


def test_postgresql_that_has_ended_is_not_waited_for_as_one_that_recovers(machine):
    """Docker that was killed starts nothing again that it had."""
    machine.set_state("postgres", "exited unchecked 0")
    for _ in range(3):
        machine.sh("main watchdog")
    assert [each.split("yaml ")[1] for each in machine.calls(" restart ")] == [
        "restart postgres"
    ]


def test_penstock_is_not_restarted_for_a_database_that_is_away(machine):
    machine.set_state("penstock", "running unhealthy 0")
    machine.set_state("postgres", "running unhealthy 0")
    outputs = [machine.sh("main watchdog").output for _ in range(4)]
    assert not machine.calls(" restart ")
    assert "penstock is unhealthy, and so is postgres: waiting for that" in outputs[0]


def test_a_watchdog_does_not_meddle_with_an_upgrade(machine):
    machine.set_state("nginx", "running unhealthy 0")
    held = machine.start("take_turn 0; echo held; sleep 30")
    assert held.stdout is not None and held.stdout.readline() == "held\n"
    try:
        for _ in range(3):
            assert machine.sh("main watchdog").code == 0
    finally:
        held.kill()
        held.communicate()
    assert not machine.calls(" restart ")


# ---- backups


def test_backups_run_in_their_service_and_nothing_is_removed(machine):
    for what in ("create", "verify", "base"):
        assert machine.sh(f"main backup {what}").code == 0
    ran = [each.split("-T ")[1] for each in machine.calls(" run --rm")]
    assert ran == [
        "penstock-backup create",
        "penstock-backup verify --last",
        "penstock-wal wal-enable",
        "penstock-wal base",
    ]


def test_commands_of_penstocks_run_as_the_tables_owner(machine):
    assert machine.sh("main penstock rejected list --count").code == 0
    assert machine.sh("main wal wal-status").code == 0
    owner, superuser = (
        each.split("yaml ")[1] for each in machine.calls(" run --rm --no-deps")
    )
    assert owner == (
        "--profile backup run --rm --no-deps -T --entrypoint penstock penstock-backup"
        " rejected list --count"
    )
    assert superuser.endswith(" penstock-wal wal-status")


@pytest.mark.parametrize(("age_hours", "is_made"), [(2, False), (20, True)])
def test_receivers_make_one_backup_a_night_together(tmp_path, age_hours, is_made):
    machine = Machine(tmp_path, VARIANT="receivers", DATABASE="rds")
    machine.has_stack()
    at = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() - age_hours * 3600))
    machine.write_stub("backups", f'{{"id": "{at}-77f0"}}\n')
    assert machine.sh("main backup create").code == 0
    assert bool(machine.calls("penstock-backup create")) is is_made
