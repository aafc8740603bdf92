"""What the HTTP side answers: with a body, with a status alone, with an error.

It owns the headers that every answer has, and the form of errors. It must not know what
is asked for.
"""

import json
from collections.abc import Mapping

from aiohttp import web

from penstock.errors import PenstockError

TEXT = "text/plain; charset=utf-8"
JSON = "application/json; charset=utf-8"
# Nothing here is a page. Whatever a browser is made to show of it, somebody's log lines
# among it, runs nothing, is in no frame, and is kept nowhere.
SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # Without it aiohttp says which version of it and of Python there is.
    "Server": "penstock",
}


class ApiError(PenstockError):
    """A request is not answered as asked: its status, and one line that says why."""

    def __init__(
        self, status: int, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(" ".join(message.splitlines()))
        self.status = status
        self.headers = dict(headers or {})


def answer(
    status: int,
    body: bytes,
    content_type: str,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """Return an answer, the last one on its connection."""
    response = web.Response(
        status=status,
        body=body,
        headers={"Content-Type": content_type, **SECURITY_HEADERS, **(headers or {})},
    )
    response.force_close()
    return response


def plain_answer(
    status: int, headers: Mapping[str, str] | None = None, why: str = ""
) -> web.Response:
    """Return an answer that holds no more than its status, and why."""
    words = f"{status} {web.Response(status=status).reason}"
    body = (f"{words}: {why}\n" if why else f"{words}\n").encode()
    return answer(status, body, TEXT, headers)


def json_answer(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a value as JSON."""
    return answer(status, json.dumps(value).encode(), JSON, headers)


def error_answer(error: ApiError) -> web.Response:
    """Return an error as the API says it."""
    return json_answer({"error": str(error)}, error.status, error.headers)
