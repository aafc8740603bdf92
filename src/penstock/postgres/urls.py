"""URLs of PostgreSQL servers, taken apart and put together.

It owns how a URL is changed. It must not connect.
"""

from urllib.parse import quote, urlsplit


def url_as(url: str, role: str) -> str:
    """Return the embedded server's URL for another of its roles: its socket trusts all.

    Whatever else stands before the path is lost, so it is for no other server.
    """
    return urlsplit(url)._replace(netloc=f"{quote(role)}@").geturl()
