"""The routes of the API, put together.

It owns which there are, and what each may have of us. It must not know what a handler
does.
"""

from penstock.http.bodies import BODY_SECONDS
from penstock.http.ingest import Ingest, Submit
from penstock.http.routes import Route
from penstock.settings import Settings


def api_routes(settings: Settings, *, submit: Submit) -> tuple[Route, ...]:
    """Return all routes.

    Args:
        submit: stores a message, and returns when it is committed.
    """
    ingest = Ingest(
        settings.ingest, submit, most_records=settings.wire.max_chunk_entries
    )
    return (
        Route(
            "/api/ingest",
            {"POST": ingest.post},
            settings.ingest.ingest_max_body_bytes,
            BODY_SECONDS + settings.ingest.ingest_commit_seconds,
        ),
    )
