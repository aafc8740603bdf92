"""URLs of PostgreSQL servers, taken apart and put together.

It owns how a URL is changed. It must not connect.
"""

from urllib.parse import quote, unquote, urlsplit


def url_as(url: str, role: str) -> str:
    """Return the embedded server's URL for another of its roles: its socket trusts all.

    Whatever else stands before the path is lost, so it is for no other server.
    """
    return urlsplit(url)._replace(netloc=f"{quote(role)}@").geturl()


def split_password(url: str) -> tuple[str, str]:
    """Return the URL without its password, and the password; empty where it has none.

    Of the two places where it may stand, the login's goes before the parameter's, as
    asyncpg has it.

    Raises:
        ValueError: it holds the password of a client's key, which libpq takes in no
            other way that hides it.
    """
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    authority, slash, path = place.partition("/")
    login, at, hosts = authority.rpartition("@")
    user, _, password = login.partition(":")
    kept = []
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        match unquote(name):
            case "password":
                password = password or value
            case "sslpassword":
                raise ValueError("sslpassword cannot be hidden from other processes")
            case _:
                kept.append(pair)
    shown = f"{scheme}://{user}{at}{hosts}{slash}{path}"
    return shown + ("?" if kept else "") + "&".join(kept), unquote(password)
