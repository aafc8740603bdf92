"""The environment, and nothing else reads it.

It owns which variables are ours: `PENSTOCK_` and the setting's name. It must not know
what a setting accepts.
"""

import os
import re
from collections.abc import Iterable

PREFIX = "PENSTOCK_"

# What Kubernetes sets in every pod beside a service called penstock: its address as a
# URL, and the parts of it (Kubernetes documentation, "Service", environment variables).
_OF_KUBERNETES = re.compile(
    r"PENSTOCK_(\w+_)?"
    r"(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)"
)
_URL_OF_KUBERNETES = ("tcp://", "udp://", "sctp://")


def environment_name(setting: str) -> str:
    """Return the environment variable of a setting."""
    return PREFIX + setting.upper()


def variable(setting: str) -> str | None:
    """Return what the environment says of a setting, None if it has no such variable.

    A variable that is set to nothing is an empty text: what that means is the
    setting's to say.
    """
    name = environment_name(setting)
    text = os.environ.get(name)
    return None if text is not None and _is_of_kubernetes(name, text) else text


def _is_of_kubernetes(name: str, text: str) -> bool:
    # PENSTOCK_PORT=tcp://10.0.0.1:24224; the same text as a key would be one.
    if name.endswith("_PORT") and text.startswith(_URL_OF_KUBERNETES):
        return True
    return _OF_KUBERNETES.fullmatch(name) is not None


def unknown_variables(known: Iterable[str]) -> list[str]:
    """Return the variables that begin like ours and are none of the known settings'."""
    ours = {environment_name(each) for each in known}
    return sorted(
        name
        for name, text in os.environ.items()
        if name.startswith(PREFIX)
        and name not in ours
        and not _is_of_kubernetes(name, text)
    )


def service_manager() -> tuple[str | None, float | None]:
    """Return the socket of systemd, and how long its watchdog waits for us, if any.

    These are systemd's variables (sd_notify(3), sd_watchdog_enabled(3)), no settings.
    """
    address = os.environ.get("NOTIFY_SOCKET") or None
    microseconds = os.environ.get("WATCHDOG_USEC", "")
    is_for_us = os.environ.get("WATCHDOG_PID") in (None, "", str(os.getpid()))
    if not is_for_us or not microseconds.isdecimal() or not int(microseconds):
        return address, None
    return address, int(microseconds) / 1_000_000


def model_access() -> tuple[str, str]:
    """Return the key and the address of the model's API, each empty if not given.

    These are the variables of Anthropic's own SDK, no settings.
    """
    return (
        os.environ.get("ANTHROPIC_API_KEY", "").strip(),
        os.environ.get("ANTHROPIC_BASE_URL", "").strip(),
    )


# What boto3, and with it barman, finds its way to S3 by: AWS's own variables, and those
# of every program that goes through a proxy or has authorities of its own.
_OF_S3 = re.compile(
    r"AWS_\w+|(https?|no|all)_proxy|(HTTPS?|NO|ALL)_PROXY"
    r"|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|SSL_CERT_(FILE|DIR)"
)


def s3_variables() -> dict[str, str]:
    """Return what a program of somebody else's has to see to reach S3 as we do.

    These are boto3's variables, no settings; they may hold secrets.
    """
    return {name: text for name, text in os.environ.items() if _OF_S3.fullmatch(name)}


def time_zone_variable() -> str:
    """Return TZ, which is POSIX's, empty if it is not set."""
    return os.environ.get("TZ", "").strip().removeprefix(":")
