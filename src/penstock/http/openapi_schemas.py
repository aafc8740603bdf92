"""The schemas of the API's description: what is answered, by the names of its forms.

It owns them as data; `openapi` says which path answers with which.
"""

from penstock.http.openapi_terms import Schema, array_of, object_of, ref

LEVELS = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]
TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
TIME: Schema = {"type": "string", "format": "date-time"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
ASKED: dict[str, Schema] = {
    "filter": {"type": "string", "description": "The filter, as it was understood."},
    "window": object_of({"start": TIME, "end": TIME}),
}

SCHEMAS: Schema = {
    "Error": object_of({"error": {"type": "string", "description": "One line."}}),
    "Row": {
        "type": "object",
        "description": "The fields that were asked for; all columns by default.",
        "properties": {
            "id": {"type": "string", "pattern": "^-?[0-9]+$"},
            "ts": TIME,
            "level": {"enum": [*LEVELS, None]},
            "service": TEXT_OR_NULL,
            "host": TEXT_OR_NULL,
            "tag": TEXT,
            "message": TEXT_OR_NULL,
            "attributes": {"description": "All else of the record."},
        },
    },
    "Page": object_of(
        {
            **ASKED,
            "rows": array_of(ref("Row")),
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
    "Histogram": object_of(
        {
            **ASKED,
            "step_seconds": {"type": "number"},
            "bins": array_of(
                object_of(
                    {
                        "start": TIME,
                        "count": COUNT,
                        "levels": {
                            "type": "object",
                            "description": "By level; `none` are rows without one.",
                            "additionalProperties": COUNT,
                        },
                    }
                )
            ),
        }
    ),
    "Keys": object_of(
        {
            **ASKED,
            "fields": array_of(
                object_of(
                    {
                        "field": TEXT,
                        "path": array_of(TEXT),
                        "types": {
                            "type": "object",
                            "additionalProperties": COUNT,
                        },
                        "count": COUNT,
                    }
                )
            ),
            "distinct": COUNT,
            "sample_rows": COUNT,
        }
    ),
    "Values": object_of(
        {
            **ASKED,
            "field": TEXT,
            "values": array_of(object_of({"value": TEXT_OR_NULL, "count": COUNT})),
            "distinct": COUNT,
            "total": COUNT,
        }
    ),
    "Event": object_of(
        {
            "event": {"enum": ["row", "live", "missed"]},
            "data": {"type": "string", "description": "JSON."},
        },
        id=TEXT,
        retry={"type": "integer"},
    ),
    "Answered": object_of(
        {
            "conversation": {"type": "string", "description": "For what follows."},
            "kind": {"enum": ["sql", "ask_back", "no_answer"]},
            "reading": {
                "type": "string",
                "description": "How the question was read; or what is asked back; or"
                " why there is no answer.",
            },
            "sql": TEXT_OR_NULL,
            "assumptions": array_of(TEXT),
            "since": TEXT,
            "until": TEXT,
            "time_zone": TEXT,
            "repairs": COUNT,
            "cost_usd": {"type": ["number", "null"]},
            "result": {
                "description": "Null where the SQL was not run.",
                "oneOf": [
                    {"type": "null"},
                    object_of(
                        {
                            "columns": array_of(TEXT),
                            "types": array_of(TEXT),
                            "rows": array_of(array_of({})),
                            "is_cut": {"type": "boolean"},
                        }
                    ),
                ],
            },
        }
    ),
    "Receipt": object_of(
        {
            "stored": COUNT,
            "rejected": COUNT,
            "duplicate": COUNT,
        },
        errors=array_of(
            object_of({"line": {"type": "integer", "minimum": 1}, "error": TEXT})
        ),
    ),
}
