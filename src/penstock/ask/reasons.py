"""Why a name is refused, and what to write instead, for the guard's one line.

Nothing here decides: what is allowed is in `allowed`. A name without an entry is
refused all the same, with a general reason.
"""

from collections.abc import Mapping

_READS_SERVER = "it tells about the server, not about logs"
_RUNS_TEXT = "it runs a text as SQL"
_WAITS = "it waits, and holds a session meanwhile"
_FILES = "it reads or writes the server's files"
_LOCKS = "it takes locks that others wait for"
_SETTINGS = "it reads or changes settings"
_WRITES = "it writes"
_ADMIN = "it acts on the server or on other sessions"
_ELSEWHERE = "it connects to another server"
_CATALOG = "it tells about objects outside the views"
_XML = "XML is left out: its parser reads entities, and its functions run SQL"
_ROW_TYPE = "it takes its columns from a type"

# The longest beginning that fits counts.
_FUNCTION_REASONS: Mapping[str, str] = {
    "array_fill": "it makes values of any size; ARRAY[...] writes one out",
    "bt_": _FILES,
    "connectby": _RUNS_TEXT,
    "crosstab": f"{_RUNS_TEXT}; write sum(...) FILTER (WHERE ...) for each column",
    "current_": _READS_SERVER,
    "current_setting": _SETTINGS,
    "currval": _CATALOG,
    "cursor_to_xml": _RUNS_TEXT,
    "database_to_xml": _RUNS_TEXT,
    "dblink": _ELSEWHERE,
    "factorial": "it computes for minutes",
    "format_type": _CATALOG,
    "get_raw_page": _FILES,
    "has_": _CATALOG,
    "heap_page": _FILES,
    "inet_client": _READS_SERVER,
    "inet_server": _READS_SERVER,
    "json_populate": f"{_ROW_TYPE}; write json_to_record(...) AS t(a text, b int)",
    "jsonb_populate": f"{_ROW_TYPE}; write jsonb_to_record(...) AS t(a text, b int)",
    "lastval": _CATALOG,
    "lo_": f"{_FILES} or large objects",
    "loread": "it reads large objects",
    "lowrite": _WRITES,
    "nextval": _WRITES,
    "obj_description": _CATALOG,
    "col_description": _CATALOG,
    "shobj_description": _CATALOG,
    "pg_": _READS_SERVER,
    "pg_advisory": _LOCKS,
    "pg_cancel": _ADMIN,
    "pg_current_xact": _WRITES,
    "pg_export": _ADMIN,
    "pg_file": _FILES,
    "pg_get": _CATALOG,
    "pg_input": "it tells whether a name exists, through a type",
    "pg_logical": _ADMIN,
    "pg_ls": _FILES,
    "pg_notify": "it sends messages to other sessions",
    "pg_promote": _ADMIN,
    "pg_read": _FILES,
    "pg_reload": _ADMIN,
    "pg_replication": _ADMIN,
    "pg_rotate": _ADMIN,
    "pg_sleep": _WAITS,
    "pg_stat_file": _FILES,
    "pg_stat_reset": _ADMIN,
    "pg_switch": _ADMIN,
    "pg_terminate": _ADMIN,
    "pg_try_advisory": _LOCKS,
    "pg_typeof": "its result is compared with names of types; write jsonb_typeof()",
    "query_to_xml": _RUNS_TEXT,
    "regclass": _CATALOG,
    "schema_to_xml": _RUNS_TEXT,
    "set_config": _SETTINGS,
    "set_limit": _SETTINGS,
    "setseed": _SETTINGS,
    "setval": _WRITES,
    "show_limit": _SETTINGS,
    "table_to_xml": _RUNS_TEXT,
    "to_reg": _CATALOG,
    "ts_debug": _CATALOG,
    "ts_rewrite": _RUNS_TEXT,
    "ts_stat": _RUNS_TEXT,
    "txid": _WRITES,
    "version": _READS_SERVER,
    "xml": _XML,
    "xpath": _XML,
    "xslt": _XML,
}
# What other databases call something that PostgreSQL has.
_INSTEAD: Mapping[str, str] = {
    "approx_count_distinct": "count(DISTINCT ...)",
    "count_if": "count(*) FILTER (WHERE ...)",
    "countif": "count(*) FILTER (WHERE ...)",
    "date_format": "to_char(ts, ...)",
    "date_diff": "a - b, or extract(epoch FROM a - b)",
    "datediff": "a - b, or extract(epoch FROM a - b)",
    "dateadd": "ts + interval '1 hour'",
    "getdate": "now()",
    "group_concat": "string_agg(..., ',')",
    "hour": "extract(hour FROM ts)",
    "if": "CASE WHEN ... THEN ... ELSE ... END",
    "iff": "CASE WHEN ... THEN ... ELSE ... END",
    "ifnull": "coalesce(...)",
    "instr": "strpos(...)",
    "json_extract": "attributes #>> '{a,b}'",
    "json_extract_string": "attributes #>> '{a,b}'",
    "len": "length(...)",
    "median": "percentile_cont(0.5) WITHIN GROUP (ORDER BY ...)",
    "minute": "extract(minute FROM ts)",
    "nvl": "coalesce(...)",
    "percentile": "percentile_cont(0.95) WITHIN GROUP (ORDER BY ...)",
    "quantile": "percentile_cont(0.95) WITHIN GROUP (ORDER BY ...)",
    "regexp_extract": "substring(message FROM '...')",
    "row_to_jsonb": "to_jsonb(...)",
    "strftime": "to_char(ts, ...)",
    "time_bucket": "date_bin('5 minutes', ts, '2000-01-01')",
    "try_cast": "CASE WHEN x ~ '^[0-9]+$' THEN x::int END",
}
_TYPE_INSTEAD: Mapping[str, str] = {
    "char": "text",
    "datetime": "timestamptz",
    "double": "float8",
    "log_level": "compare with a plain text: level >= 'WARN'",
    "name": "text",
    "string": "text",
    "xml": _XML,
}
_STATEMENTS: Mapping[str, str] = {
    "CallStmt": "CALL",
    "CopyStmt": "COPY",
    "CreateTableAsStmt": "CREATE TABLE AS",
    "DeclareCursorStmt": "DECLARE",
    "DoStmt": "DO",
    "ExplainStmt": "EXPLAIN",
    "InsertStmt": "INSERT",
    "TransactionStmt": "a statement about transactions",
    "VariableSetStmt": "SET",
    "VariableShowStmt": "SHOW",
}


def function_reason(name: str) -> str:
    """Say why a function may not be called."""
    if name in _INSTEAD:
        return f"PostgreSQL has none; write {_INSTEAD[name]}"
    for end in range(len(name), 0, -1):
        if name[:end] in _FUNCTION_REASONS:
            return _FUNCTION_REASONS[name[:end]]
    return "it is not among those that are known to only compute (docs/sql.md has them)"


def type_reason(name: str) -> str:
    """Say why a type may not be named."""
    if name.startswith("reg") or name in ("oid", "xid", "cid", "tid"):
        return _CATALOG
    if name in _TYPE_INSTEAD:
        return f"write {_TYPE_INSTEAD[name]}" if name != "xml" else _XML
    return "it is not among the types that a statement may name"


def relation_reason(schema: str | None, name: str, views: str) -> str:
    """Say why a relation may not be read, and what may."""
    if schema == "public" and name in views.split(", "):
        return f"write {name} alone, which is the view of it"
    if name.startswith("pg_") or schema in ("pg_catalog", "information_schema"):
        return f"the catalog is not read here; there are {views}"
    return f"there are {views}"


def statement_name(node_name: str) -> str:
    """Return what a statement's node is called in SQL."""
    if node_name in _STATEMENTS:
        return _STATEMENTS[node_name]
    words = "".join(
        f" {each}" if each.isupper() else each
        for each in node_name.removesuffix("Stmt")
    )
    return words.strip().upper()
