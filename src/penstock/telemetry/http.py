"""The metrics of the HTTP side: who was not let in, and who was not waited for.

It owns their names and help. It must not know a token, nor what was asked for.
"""

from prometheus_client import CollectorRegistry, Counter

# What was wrong with the token of a request.
UNAUTHORIZED = ("no_token", "wrong_token")
# Why a connection is closed without an answer, or with none but that it is no HTTP.
HTTP_REFUSALS = ("max_connections", "open_files", "too_slow", "too_large", "not_http")


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
        for reason in UNAUTHORIZED:
            self._unauthorized.labels(reason)
        for reason in HTTP_REFUSALS:
            self._refused.labels(reason)

    def unauthorized(self, reason: str) -> None:
        """Count a request without the right token."""
        self._unauthorized.labels(reason).inc()

    def refused(self, reason: str) -> None:
        """Count a connection that is closed for a limit."""
        self._refused.labels(reason).inc()
