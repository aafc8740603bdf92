"""Which handler answers a request of the API: by path, then by method.

It owns the table of routes and what is said where none fits. It must not know what a
handler does.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from aiohttp import web

from penstock.http.answers import ApiError
from penstock.http.token import Right

API_PREFIX = "/api/"

# A handler returns an answer, or raises ApiError. It is cancelled when its client goes.
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Route:
    """One path of the API.

    `right` is what a request's token has to open; None: any token will do.
    `methods` are those that are answered; HEAD is where GET is, unless the answer goes
    on (`is_stream`). `max_body_bytes` is what a request may send behind its headers,
    and `seconds` how long its answer may take to begin.
    """

    path: str
    methods: Mapping[str, Handler]
    right: Right | None
    max_body_bytes: int = 0
    seconds: float = 0.0
    is_stream: bool = False
    allowed: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        has_head = "GET" in self.methods and not self.is_stream
        allowed = (*self.methods, *(["HEAD"] if has_head else []))
        object.__setattr__(self, "allowed", tuple(sorted(allowed)))


class Router:
    """The routes by their paths."""

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self._routes: dict[str, Route] = {}
        for route in routes:
            assert route.path.startswith(API_PREFIX), route.path
            assert route.path not in self._routes, f"{route.path} twice"
            self._routes[route.path] = route

    @property
    def routes(self) -> tuple[Route, ...]:
        """Return all routes."""
        return tuple(self._routes.values())

    def find(self, path: str) -> Route | None:
        """Return the route of a path, if there is one."""
        return self._routes.get(path)


def handler_of(route: Route | None, method: str) -> Handler:
    """Return what answers.

    Raises:
        ApiError: there is no such path, or not with this method.
    """
    if route is None:
        raise ApiError(404, "no such path; GET /api/openapi.json lists those there are")
    if method not in route.allowed:
        raise ApiError(
            405,
            f"{route.path} takes {' and '.join(route.allowed)}",
            {"Allow": ", ".join(route.allowed)},
        )
    return route.methods["GET" if method == "HEAD" else method]
