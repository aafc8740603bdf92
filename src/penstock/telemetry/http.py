"""The metrics of the HTTP side: who was not let in, and who was not waited for.

It owns their names and help. It must not know a token, nor what was asked for.
"""

from collections.abc import Container, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram

from penstock.telemetry.receive import SECONDS_BUCKETS

# What was wrong with the token of a request; the last: it opens other doors.
UNAUTHORIZED = ("no_token", "wrong_token", "no_right")
# Why a connection is closed without an answer, or with none but that it is no HTTP.
HTTP_REFUSALS = ("max_connections", "open_files", "too_slow", "too_large", "not_http")

# The label of all paths that there are not.
OTHER_PATH = "other"


class HttpMetrics:
    """What the HTTP side tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._unauthorized = Counter(
            "penstock_http_unauthorized_total",
            "HTTP requests that were refused for their token, by reason.",
            ["reason"],
            registry=registry,
        )
        self._refused = Counter(
            "penstock_http_connections_refused_total",
            "HTTP connections that were closed for a limit, by reason.",
            ["reason"],
            registry=registry,
        )
        self._answers = Counter(
            "penstock_http_api_answers_total",
            "Answers of the API, by path and status.",
            ["path", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "penstock_http_api_seconds",
            "From a request's headers to its answer, by path; of /api/ingest that is"
            " after COMMIT. /api/tail, which goes on, is not in it.",
            ["path"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._timed: set[str] = set()
        for reason in UNAUTHORIZED:
            self._unauthorized.labels(reason)
        for reason in HTTP_REFUSALS:
            self._refused.labels(reason)

    def unauthorized(self, reason: str) -> None:
        """Count a request without the right token."""
        self._unauthorized.labels(reason).inc()

    def serves(self, paths: Iterable[str], streams: Container[str] = ()) -> None:
        """Be told the paths of the API, so that each is there from the start.

        Args:
            streams: those whose answers go on for as long as somebody reads, so that
                how long one took says nothing.
        """
        for path in paths:
            self._answers.labels(path, "200")
            if path not in streams:
                self._timed.add(path)
                self._seconds.labels(path)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count an answer of the API; `path` is one that there is, or `other`."""
        self._answers.labels(path, str(status)).inc()
        if path in self._timed:
            self._seconds.labels(path).observe(seconds)

    def refused(self, reason: str) -> None:
        """Count a connection that is closed for a limit."""
        self._refused.labels(reason).inc()
