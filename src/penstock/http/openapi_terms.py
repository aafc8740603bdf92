"""The pieces of an OpenAPI description: operations, parameters, schemas' forms.

It owns how they are written. It must not know a path, nor what stands in a row.
"""

from typing import Any

Schema = dict[str, Any]

_WORDS = {
    400: "What was asked is not understood; the error says what of it, and where.",
    401: "The token is missing or wrong.",
    403: "The token is for something else; or there need be none, and the request is"
    " by another's page or name.",
    408: "The body did not come to its end in time.",
    404: "There is no such conversation, or it is over.",
    413: "The body is larger than it may be.",
    415: "The body's encoding is none that is understood.",
    422: "The model's SQL cannot be run, also after repairs.",
    502: "The model refuses, or what it answers is of no use.",
    503: "Not now; `Retry-After` says when to come again.",
    504: "The statement took longer than `statement_timeout_seconds`.",
}
# The 403 has it where a token was borne.
_HEADERS = {
    401: "WWW-Authenticate",
    403: "WWW-Authenticate",
    503: "Retry-After",
}
_ERROR = {"$ref": "#/components/schemas/Error"}


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
    header = _HEADERS.get(status)
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


def object_of(required: dict[str, Schema], **optional: Schema) -> Schema:
    """Return the form of an object with these keys and no others."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": list(required),
        "additionalProperties": False,
    }


def ref(name: str) -> Schema:
    """Return what stands for a schema by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def array_of(items: Schema) -> Schema:
    """Return the form of an array of these."""
    return {"type": "array", "items": items}
