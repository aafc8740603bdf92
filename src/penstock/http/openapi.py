"""GET /api/openapi.json: what the API takes and answers, as OpenAPI 3.1 says it.

It owns the description, as data, in one place: a page can be made of it, or a client.
A test sees that each route is in it and nothing else is, and another (schemathesis)
that the server answers as it says.
"""

from typing import Any

import orjson
from aiohttp import web

from penstock import __version__
from penstock.http.answers import JSON, answer
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

Schema = dict[str, Any]

_WORDS = {
    400: "What was asked is not understood; the error says what of it, and where.",
    401: "The token is missing or wrong.",
    403: "Without a token, a request by another's page or name is not answered.",
    408: "The body did not come to its end in time.",
    404: "There is no such conversation, or it is over.",
    413: "The body is larger than it may be.",
    415: "The body's encoding is none that is understood.",
    422: "The model's SQL cannot be run, also after repairs.",
    502: "The model refuses, or what it answers is of no use.",
    503: "Not now; `Retry-After` says when to come again.",
    504: "The statement took longer than `statement_timeout_seconds`.",
}
_ERROR = {"$ref": "#/components/schemas/Error"}
_LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]


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
        "security": [{"bearer": []}, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "`http_token`, where one is set.",
                }
            },
            "schemas": _SCHEMAS,
        },
    }


def operation(
    summary: str,
    answer_schema: Schema,
    errors: tuple[int, ...],
    **more: Any,
) -> Schema:
    """Return one operation: what it answers when all is well, and what else it may."""
    responses: Schema = {
        "200": {
            "description": "All is well.",
            "content": {"application/json": {"schema": answer_schema}},
        }
    }
    return {
        "summary": summary,
        **more,
        "responses": responses | {str(each): error_response(each) for each in errors},
    }


def error_response(status: int) -> Schema:
    """Return how an error is answered."""
    response: Schema = {
        "description": _WORDS[status],
        "content": {"application/json": {"schema": _ERROR}},
    }
    header = {401: "WWW-Authenticate", 503: "Retry-After"}.get(status)
    if header is not None:
        response["headers"] = {header: {"schema": {"type": "string"}}}
    return response


def parameter(name: str, description: str, **schema: Any) -> Schema:
    """Return a parameter that stands behind the `?`."""
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": {"type": "string", **schema},
    }


def header(name: str, description: str, **schema: Any) -> Schema:
    """Return a parameter that is a header."""
    return {**parameter(name, description, **schema), "in": "header"}


def number_parameter(name: str, text: str, most: int, default: int) -> Schema:
    """Return a parameter that is a whole number, from 1."""
    return parameter(
        name, text, type="integer", minimum=1, maximum=most, default=default
    )


def _object(required: dict[str, Schema], **optional: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TIME: Schema = {"type": "string", "format": "date-time"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_ASKED: dict[str, Schema] = {
    "filter": {"type": "string", "description": "The filter, as it was understood."},
    "window": _object({"start": _TIME, "end": _TIME}),
}

_SCHEMAS: Schema = {
    "Error": _object({"error": {"type": "string", "description": "One line."}}),
    "Row": {
        "type": "object",
        "description": "The fields that were asked for; all columns by default.",
        "properties": {
            "id": {"type": "string", "pattern": "^-?[0-9]+$"},
            "ts": _TIME,
            "level": {"enum": [*_LEVELS, None]},
            "service": _TEXT_OR_NULL,
            "host": _TEXT_OR_NULL,
            "tag": _TEXT,
            "message": _TEXT_OR_NULL,
            "attributes": {"description": "All else of the record."},
        },
    },
    "Page": _object(
        {
            **_ASKED,
            "rows": _array(_ref("Row")),
            "next": {
                "type": ["string", "null"],
                "description": "The `cursor` of the next page; null on the last one.",
            },
            "is_cut": {
                "type": "boolean",
                "description": "`max_bytes` ended the page before `limit` did.",
            },
        }
    ),
    "Histogram": _object(
        {
            **_ASKED,
            "step_seconds": {"type": "number"},
            "bins": _array(
                _object(
                    {
                        "start": _TIME,
                        "count": _COUNT,
                        "levels": {
                            "type": "object",
                            "description": "By level; `none` are rows without one.",
                            "additionalProperties": _COUNT,
                        },
                    }
                )
            ),
        }
    ),
    "Keys": _object(
        {
            **_ASKED,
            "fields": _array(
                _object(
                    {
                        "field": _TEXT,
                        "path": _array(_TEXT),
                        "types": {
                            "type": "object",
                            "additionalProperties": _COUNT,
                        },
                        "count": _COUNT,
                    }
                )
            ),
            "distinct": _COUNT,
            "sample_rows": _COUNT,
        }
    ),
    "Values": _object(
        {
            **_ASKED,
            "field": _TEXT,
            "values": _array(_object({"value": _TEXT_OR_NULL, "count": _COUNT})),
            "distinct": _COUNT,
            "total": _COUNT,
        }
    ),
    "Event": _object(
        {
            "event": {"enum": ["row", "live", "missed"]},
            "data": {"type": "string", "description": "JSON."},
        },
        id=_TEXT,
        retry={"type": "integer"},
    ),
    "Answered": _object(
        {
            "conversation": {"type": "string", "description": "For what follows."},
            "kind": {"enum": ["sql", "ask_back", "no_answer"]},
            "reading": {
                "type": "string",
                "description": "How the question was read; or what is asked back; or"
                " why there is no answer.",
            },
            "sql": _TEXT_OR_NULL,
            "assumptions": _array(_TEXT),
            "since": _TEXT,
            "until": _TEXT,
            "time_zone": _TEXT,
            "repairs": _COUNT,
            "cost_usd": {"type": ["number", "null"]},
            "result": {
                "description": "Null where the SQL was not run.",
                "oneOf": [
                    {"type": "null"},
                    _object(
                        {
                            "columns": _array(_TEXT),
                            "types": _array(_TEXT),
                            "rows": _array(_array({})),
                            "is_cut": {"type": "boolean"},
                        }
                    ),
                ],
            },
        }
    ),
    "Receipt": _object(
        {
            "stored": _COUNT,
            "rejected": _COUNT,
            "duplicate": _COUNT,
        },
        errors=_array(
            _object({"line": {"type": "integer", "minimum": 1}, "error": _TEXT})
        ),
    ),
}

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
                _ref("Page"),
                _READING_ERRORS,
                operationId="search",
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
                _ref("Histogram"),
                _READING_ERRORS,
                operationId="histogram",
                parameters=[
                    *_SEARCHED,
                    number_parameter("bins", "Bins, at most.", MOST_BINS, DEFAULT_BINS),
                ],
            )
        },
        "/api/fields": {
            "get": operation(
                "The fields there are, or the values that most rows have of one",
                {"oneOf": [_ref("Keys"), _ref("Values")]},
                _READING_ERRORS,
                operationId="fields",
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
        _ref("Answered"),
        (400, 401, 403, 404, 408, 413, 422, 502, 503, 504),
        operationId="ask",
        requestBody={
            "required": True,
            "content": {"application/json": {"schema": _object({}, **body)}},
        },
    )


def _tail() -> Schema:
    described = operation(
        "Rows as they are committed, as server-sent events",
        _ref("Event"),
        _READING_ERRORS,
        operationId="tail",
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
        _ref("Receipt"),
        (400, 401, 403, 408, 413, 415, 503),
        operationId="ingest",
        parameters=[
            parameter("tag", "The tag of all of them, 1,024 bytes at most."),
            {
                **parameter("time_key", "The key that is the event's time."),
                "schema": {"type": "array", "items": _TEXT, "maxItems": 8},
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
