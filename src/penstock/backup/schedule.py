"""What makes backups by itself: units of systemd, a service of compose, lines of cron.

It owns their text: a backup every night and a prune after it, a verify every week. It
must not write it anywhere. No secret is in it: those are in /etc/penstock.env, or in
the environment that compose reads.
"""

import shlex
from collections.abc import Iterable, Mapping
from datetime import time
from typing import Final, NamedTuple

from penstock.errors import SettingsError

ENVIRONMENT_FILE: Final = "/etc/penstock.env"
WEEKDAYS: Final = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")  # as cron counts
# By then the night's backup is made, of whatever size it is worth having.
VERIFY_MINUTES_LATER: Final = 150
SCRATCH: Final = "/var/cache/penstock-backup"
MARK: Final = "# Written by penstock backup schedule, which writes it anew."

CREATE: Final = "penstock-backup"
VERIFY: Final = "penstock-backup-verify"
BASE: Final = "penstock-backup-base"
# A weekly one, and the one before it: whatever moment of two weeks is asked for, there
# is a base backup from before it.
BASE_KEEP_DAYS: Final = 14
# Nobody is verifying any more, nor making the night's backup.
BASE_MINUTES_LATER: Final = 300

# As in deploy/systemd/penstock.service, whose reasons hold here too: pg_dump and the
# PostgreSQL of a verify need no more than Penstock and its PostgreSQL.
_HARDENED: Final = """\
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""


class Schedule(NamedTuple):
    """When backups are made and verified, by whom, and with which settings."""

    program: str  # absolute
    user: str
    environment: Mapping[str, str]  # by name; no secrets
    # Directories besides its own that it writes to: the store, the metrics' place.
    writable: tuple[str, ...] = ()
    at: time = time(2, 15)
    verify_on: str = "Sun"
    # The day of base backups; none are made without it.
    base_on: str = ""

    def later(self, minutes: int) -> time:
        """Return the time of day so long after the night's backup."""
        minutes += self.at.hour * 60 + self.at.minute
        return time(minutes // 60 % 24, minutes % 60)

    def check(self) -> None:
        """Raise SettingsError for what none of the forms can hold."""
        texts = [self.program, self.user, *self.environment.values(), *self.writable]
        for each in texts:
            if not each.isprintable():
                raise SettingsError(f"{each!r} has signs that no unit can hold")


# --- systemd


def units_of(schedule: Schedule) -> dict[str, str]:
    """Return systemd's units by their file names.

    systemd.service(5): of several ExecStart of a oneshot each is run when the one
    before it has succeeded, so that nothing is pruned after a backup that failed.
    """
    schedule.check()
    create = _commands(schedule, "create", "prune")
    verify = _commands(schedule, f"verify --last --scratch-dir {SCRATCH}")
    after_it = f"CacheDirectory={SCRATCH.rpartition('/')[2]}\nCacheDirectoryMode=0700\n"
    units = {
        f"{CREATE}.service": _service(
            schedule, "back up what is stored, then remove what no rule keeps", create
        ),
        f"{CREATE}.timer": _timer(
            "a backup every night", f"*-*-* {schedule.at:%H:%M}:00"
        ),
        f"{VERIFY}.service": _service(
            schedule, "restore the newest backup to try it", verify + after_it
        ),
        f"{VERIFY}.timer": _timer(
            "a backup is tried every week",
            _weekly(schedule, schedule.verify_on, VERIFY_MINUTES_LATER),
        ),
    }
    if schedule.base_on:
        base = _commands(schedule, f"base --keep-days {BASE_KEEP_DAYS}")
        units |= {
            f"{BASE}.service": _service(schedule, "copy PostgreSQL's files", base),
            f"{BASE}.timer": _timer(
                "a base backup every week",
                _weekly(schedule, schedule.base_on, BASE_MINUTES_LATER),
            ),
        }
    return units


def _weekly(schedule: Schedule, day: str, minutes_later: int) -> str:
    return f"{day} *-*-* {schedule.later(minutes_later):%H:%M}:00"


def _commands(schedule: Schedule, *commands: str) -> str:
    program = _unit_word(schedule.program)
    return "".join(f"ExecStart={program} backup {each}\n" for each in commands)


def _service(schedule: Schedule, does: str, commands: str) -> str:
    settings = "".join(
        f"Environment={_unit_word(f'{name}={value}')}\n"
        for name, value in schedule.environment.items()
    )
    paths = [_unit_word(each) for each in schedule.writable]
    mounts = f"RequiresMountsFor={' '.join(paths)}\n" if paths else ""
    writable = f"ReadWritePaths={' '.join(paths)}\n" if paths else ""
    return f"""\
{MARK}
# Changes of yours go into a drop-in: systemctl edit.
[Unit]
Description=Penstock: {does}
Wants=network-online.target
After=network-online.target penstock.service
{mounts}
[Service]
Type=oneshot
User={schedule.user}
Group={schedule.user}
# The database's URL, and AWS_... where the machine has no role. It counts before what
# stands here.
EnvironmentFile=-{ENVIRONMENT_FILE}
{settings}{commands}# A long history takes long; a stop ends pg_dump and its uploads.
TimeoutStartSec=infinity
TimeoutStopSec=60
KillMode=mixed
# Who receives logs goes first.
Nice=10
IOSchedulingPriority=7

{_HARDENED}{writable}"""


def _timer(what: str, calendar: str) -> str:
    return f"""\
{MARK}
[Unit]
Description=Penstock: {what}

[Timer]
OnCalendar={calendar}
# Not all machines at once.
RandomizedDelaySec=30min
# One that was missed, the machine being off, is made up for.
Persistent=true

[Install]
WantedBy=timers.target
"""


def _unit_word(text: str) -> str:
    """Return a text as one word of a unit (systemd.syntax(7), "Quoting").

    In the places where it is used a `$` is one (systemd.exec(5), "Environment").
    """
    text = text.replace("%", "%%")
    if text and not set(text) & set(" '\"\\;#"):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


# --- cron


def crontab_of(schedule: Schedule) -> str:
    """Return a file for /etc/cron.d (crontab(5)).

    What a command prints on stdout is dropped and --quiet leaves the rest away, so that
    cron writes a mail only of what went wrong.
    """
    schedule.check()
    settings = "".join(f"{n}={v}\n" for n, v in schedule.environment.items())
    lines = [
        _cron_line(schedule, schedule.at, "*", "create", "prune"),
        _cron_line(
            schedule,
            schedule.later(VERIFY_MINUTES_LATER),
            f"{WEEKDAYS.index(schedule.verify_on)}",
            "verify --last",
        ),
    ]
    if schedule.base_on:
        lines.append(
            _cron_line(
                schedule,
                schedule.later(BASE_MINUTES_LATER),
                f"{WEEKDAYS.index(schedule.base_on)}",
                f"base --keep-days {BASE_KEEP_DAYS}",
            )
        )
    return f"""\
{MARK}
# It is read as sh reads it: quote what has other signs than letters and digits.
#   {ENVIRONMENT_FILE}, readable by {schedule.user}
SHELL=/bin/sh
PATH=/usr/local/bin:/usr/bin:/bin
{settings}
{"".join(lines)}"""


def _cron_line(schedule: Schedule, at: time, day: str, *commands: str) -> str:
    program = shlex.quote(schedule.program).replace("%", "\\%")
    read = f"[ ! -r {ENVIRONMENT_FILE} ] || {{ set -a; . {ENVIRONMENT_FILE}; }}"
    run = " && ".join(
        f"{program} backup {each} --quiet >/dev/null" for each in commands
    )
    return f"{at.minute} {at.hour} * * {day} {schedule.user} {read}; {run}\n"


# --- compose


def compose_of(schedule: Schedule) -> str:
    """Return a service for a compose file; its hours are UTC's.

    An image has no cron; a shell that sleeps until it is time needs none. What it has
    started it ends when it is stopped, and waits until uploads are taken back.
    """
    schedule.check()
    if schedule.base_on:
        raise SettingsError(
            "a container that is not PostgreSQL's cannot copy its files: leave the base"
            " backups to the machine that has them"
        )
    environment = [
        "PENSTOCK_DATABASE_URL: ${PENSTOCK_DATABASE_URL:?of the database to back up}",
        *(f"{name}: {_yaml(value)}" for name, value in schedule.environment.items()),
        "# Passed on where they are set; a role of the machine needs none of them.",
        *(f"{name}:" for name in _OF_AWS),
    ]
    volumes = [
        "- penstock-backup-scratch:/scratch",
        *(f"- {_yaml(f'{each}:{each}')}" for each in schedule.writable),
    ]
    return f"""\
{MARK}
services:
  penstock-backup:
    image: ${{PENSTOCK_IMAGE:?the image that has penstock in it}}
    init: true
    restart: unless-stopped
    stop_grace_period: 60s
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    environment:
{_indented(environment, 6)}
    volumes:
{_indented(volumes, 6)}
    entrypoint:
      - sh
      - -c
      - |
{_indented(shell_loop(schedule).replace("$", "$$").splitlines(), 8)}
volumes:
  penstock-backup-scratch:
"""


_OF_AWS: Final = (
    "AWS_REGION",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)


def shell_loop(schedule: Schedule) -> str:
    """Return the commands that compose's service runs until it is stopped."""
    # $! is set with the fork itself: a variable of ours would be a moment late for a
    # stop that comes right then, and the command would be waited for, not ended.
    second = schedule.at.hour * 3600 + schedule.at.minute * 60
    day = WEEKDAYS.index(schedule.verify_on)
    return f"""\
trap 'kill "$!" 2>/dev/null; wait; exit 143' TERM INT
run() {{ "$@" & wait "$!"; }}
while :; do
  run sleep "$(( ({second} - $(date +%s) % 86400 + 86399) % 86400 + 1 ))"
  day=$(date -u +%w)
  run penstock backup create && run penstock backup prune
  [ "$day" != {day} ] || run penstock backup verify --last --scratch-dir /scratch
done
"""


def _yaml(text: str) -> str:
    """Return a text as YAML's double-quoted one, with compose's `$`."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "$$")
    return f'"{escaped}"'


def _indented(lines: Iterable[str], by: int) -> str:
    return "\n".join(f"{' ' * by}{line}" for line in lines)
