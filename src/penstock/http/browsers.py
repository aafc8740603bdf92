"""Requests that a browser makes for a page of somebody else's.

Whoever has a browser open on the machine could be made to write to us, or, by a name
that is pointed to 127.0.0.1 (DNS rebinding), to read. A token keeps both out: a page
does not know it. It owns what is looked at where there is none.
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit


def why_not_from(headers: Mapping[str, str], *, has_token: bool) -> str | None:
    """Return why a request is not answered for where it comes from, or None.

    Args:
        has_token: the request has borne the right one.
    """
    if has_token:
        return None
    host = headers.get("Host", "")
    origin = headers.get("Origin")
    if origin is not None and _place_of(origin) != host.lower():
        return "a page of another origin asks for this; set http_token to allow that"
    if not _is_of_this_machine(host):
        return (
            "without http_token the server answers to `localhost` and addresses only,"
            " and this request names another host"
        )
    return None


def _place_of(origin: str) -> str | None:
    """Return the host and port of an origin, None where it has none."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _is_of_this_machine(host: str) -> bool:
    """Tell whether a Host header names no name that somebody else can point to us."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    # RFC 6761, 6.3: these names are this machine for every resolver.
    if not name or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
