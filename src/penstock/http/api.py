"""The routes of the API, put together.

It owns which there are, and what each may have of us. It must not know what a handler
does.
"""

from penstock.http.ask import MAX_BODY_BYTES, Ask, Converse
from penstock.http.ask import SECONDS as ASK_SECONDS
from penstock.http.bodies import BODY_SECONDS
from penstock.http.ingest import Ingest, Submit
from penstock.http.openapi import handler_of_description, own_paths
from penstock.http.readers import WAIT_SECONDS, OpenSession, Readers
from penstock.http.routes import Route
from penstock.http.search import Search
from penstock.http.tail import Looking, Tail
from penstock.http.token import Right
from penstock.settings import Settings


def api_routes(
    settings: Settings,
    *,
    submit: Submit,
    open_session: OpenSession,
    looking: Looking,
    converse: Converse,
) -> tuple[Route, ...]:
    """Return all routes.

    Args:
        submit: stores a message, and returns when it is committed.
        open_session: opens a session that reads, for a block.
        looking: begins to look for rows that are committed, for a block.
        converse: begins a conversation with a model, in a time zone.
    """
    readers = Readers(open_session, settings.api.api_max_sessions)
    search, tail = Search(readers), Tail(readers, looking)
    reading_seconds = settings.reading.statement_timeout_seconds + WAIT_SECONDS
    ingest = Ingest(
        settings.ingest, submit, most_records=settings.wire.max_chunk_entries
    )
    return (
        *(
            Route(f"/api/{name}", {"GET": get}, Right.READ, seconds=reading_seconds)
            for name, get in (
                ("search", search.search),
                ("histogram", search.histogram),
                ("fields", search.fields),
            )
        ),
        Route(
            "/api/tail",
            {"GET": tail.stream},
            Right.READ,
            seconds=2 * reading_seconds,
            is_stream=True,
        ),
        Route(
            "/api/ingest",
            {"POST": ingest.post},
            Right.INGEST,
            settings.ingest.ingest_max_body_bytes,
            BODY_SECONDS + settings.ingest.ingest_commit_seconds,
        ),
        Route(
            "/api/ask",
            {"POST": Ask(converse).post},
            Right.READ,
            MAX_BODY_BYTES,
            BODY_SECONDS + ASK_SECONDS,
        ),
        Route("/api/openapi.json", {"GET": handler_of_description(own_paths())}, None),
    )
