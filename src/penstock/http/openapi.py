"""GET /api/openapi.json: what the API takes and answers, as OpenAPI 3.1 says it.

It owns the description, as data, in one place: a page can be made of it, or a client.
A test sees that each route is in it and nothing else is, and another (schemathesis)
that the server answers as it says.
"""

import orjson
from aiohttp import web

from penstock import __version__
from penstock.http.answers import JSON, answer
from penstock.http.openapi_schemas import SCHEMAS, TEXT
from penstock.http.openapi_terms import (
    Schema,
    header,
    number_parameter,
    object_of,
    operation,
    parameter,
    ref,
)
from penstock.http.routes import Handler
from penstock.http.search import (
    DEFAULT_BINS,
    DEFAULT_ROWS,
    DEFAULT_VALUES,
    MOST_BINS,
    MOST_ROWS,
    MOST_VALUES,
    ORDERS,
)
from penstock.http.tail import MOST_ROWS as MOST_HISTORY_ROWS
from penstock.http.token import OPENS, Right


def handler_of_description(paths: Schema) -> Handler:
    """Return what answers with the description of these paths."""
    body = orjson.dumps(description(paths))

    async def describe(request: web.BaseRequest) -> web.StreamResponse:
        return answer(200, body, JSON)

    return describe


def description(paths: Schema) -> Schema:
    """Return the description of these paths."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Penstock",
            "version": __version__,
            "description": "Search logs, follow them, and send them, over HTTP.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"securitySchemes": _schemes(), "schemas": SCHEMAS},
    }


def _schemes() -> Schema:
    """Return what there may be of tokens, by the names of their settings."""
    what = {right.token_name: f"may {right.in_words}" for right in Right}
    return {
        name: {
            "type": "http",
            "scheme": "bearer",
            "description": f"The token that {what.get(name, 'opens all')}, if one is"
            f" set: `{name}`.",
        }
        for name in OPENS
    }


def _opened_by(right: Right | None) -> list[Schema]:
    """Return which tokens open a path; the last: none, where there are none."""
    return [
        *({name: []} for name, opens in OPENS.items() if right in {None, *opens}),
        {},
    ]


_SEARCHED = [
    parameter("q", "The filter; docs/search.md has the language."),
    parameter("since", "Where the window begins: 15m, 2h..1h, 14:30, a time."),
    parameter("until", "Where it ends; by default now."),
    parameter("last", "How long it is; by default an hour."),
    parameter("tz", "The time zone of a clock and a day.", default="UTC"),
]
_READING_ERRORS = (400, 401, 403, 503, 504)


def own_paths() -> Schema:
    """Return the description of all paths but those that others describe."""
    return {
        "/api/search": {
            "get": operation(
                "A page of rows",
                ref("Page"),
                _READING_ERRORS,
                operationId="search",
                security=_opened_by(Right.READ),
                parameters=[
                    *_SEARCHED,
                    number_parameter("limit", "Rows.", MOST_ROWS, DEFAULT_ROWS),
                    parameter(
                        "cursor", "`next` of the page before; it has its window."
                    ),
                    parameter("fields", "Fields of the rows, with commas between."),
                    parameter("order", "By time.", enum=ORDERS, default=ORDERS[0]),
                ],
            )
        },
        "/api/histogram": {
            "get": operation(
                "Rows by time and level",
                ref("Histogram"),
                _READING_ERRORS,
                operationId="histogram",
                security=_opened_by(Right.READ),
                parameters=[
                    *_SEARCHED,
                    number_parameter("bins", "Bins, at most.", MOST_BINS, DEFAULT_BINS),
                ],
            )
        },
        "/api/fields": {
            "get": operation(
                "The fields there are, or the values that most rows have of one",
                {"oneOf": [ref("Keys"), ref("Values")]},
                _READING_ERRORS,
                operationId="fields",
                security=_opened_by(Right.READ),
                parameters=[
                    *_SEARCHED,
                    parameter("field", "Of which the values are asked for."),
                    number_parameter(
                        "limit", "Fields or values.", MOST_VALUES, DEFAULT_VALUES
                    ),
                ],
            )
        },
        "/api/tail": {"get": _tail()},
        "/api/ingest": {"post": _ingest()},
        "/api/ask": {"post": _ask()},
        "/api/openapi.json": {
            "get": operation(
                "This description",
                {"type": "object"},
                (401, 403),
                operationId="openapi",
                security=_opened_by(None),
            )
        },
    }


def _ask() -> Schema:
    body: dict[str, Schema] = {
        "question": {"type": "string", "description": "In any language."},
        "conversation": {
            "type": "string",
            "description": "Of an answer before: the question follows it.",
        },
        "run": {
            "type": "boolean",
            "default": False,
            "description": "Run the SQL; without a question, that of the last answer.",
        },
        "time_zone": {"type": "string", "default": "UTC"},
    }
    return operation(
        "SQL for a question in plain language, and its rows",
        ref("Answered"),
        (400, 401, 403, 404, 408, 413, 422, 502, 503, 504),
        operationId="ask",
        security=_opened_by(Right.READ),
        requestBody={
            "required": True,
            "content": {"application/json": {"schema": object_of({}, **body)}},
        },
    )


def _tail() -> Schema:
    described = operation(
        "Rows as they are committed, as server-sent events",
        ref("Event"),
        _READING_ERRORS,
        operationId="tail",
        security=_opened_by(Right.READ),
        description=(
            "`row`: a row as JSON, with its id. `live`, once: what was committed before"
            " has been sent, `history` rows of it; `is_cut` says that there are more."
            " `missed`: so many `rows` were not sent, and the `reason`: slow_reader,"
            " busy, worker_ended. docs/tail.md says more."
        ),
        parameters=[
            *(each for each in _SEARCHED if each["name"] != "until"),
            parameter(
                "rows",
                "How many of those before are sent first: of the last hour, or window.",
                type="integer",
                minimum=0,
                maximum=MOST_HISTORY_ROWS,
            ),
            parameter(
                "after",
                "An id: what came in since then, and up to a minute before, is sent"
                " first. As Last-Event-ID.",
                pattern="^[0-9]{1,19}$",
            ),
            header("Last-Event-ID", "The id of the last row.", pattern="^[0-9]{0,19}$"),
        ],
    )
    content = described["responses"]["200"]["content"]
    content["text/event-stream"] = content.pop("application/json")
    return described


def _ingest() -> Schema:
    record: Schema = {"type": "object"}
    return operation(
        "Store records; answered when they are committed",
        ref("Receipt"),
        (400, 401, 403, 408, 413, 415, 503),
        operationId="ingest",
        security=_opened_by(Right.INGEST),
        parameters=[
            parameter("tag", "The tag of all of them, 1,024 bytes at most."),
            {
                **parameter("time_key", "The key that is the event's time."),
                "schema": {"type": "array", "items": TEXT, "maxItems": 8},
                "explode": True,
            },
            header("Fluent-Tag", "The tag, where the address has none."),
            header(
                "Idempotency-Key",
                "The same body with the same key is stored once.",
                maxLength=197,
                pattern="^[!-~]*$",
            ),
            header(
                "Content-Encoding",
                "How the body is compressed.",
                enum=["identity", "gzip", "zstd"],
            ),
        ],
        requestBody={
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "oneOf": [
                            record,
                            # What is none among others is rejected alone.
                            {"type": "array", "items": {}, "minItems": 1},
                        ]
                    }
                },
                "application/x-ndjson": {"schema": {}},
                "application/msgpack": {"schema": {}},
            },
        },
    )
