"""Writes statements at random: most of what it writes is sound, some of it is not.

It knows what is in scope, so that many statements pass the guard and run; and now and
then it takes a name that is something else elsewhere, or a piece that does harm. Names
of aliases and columns are those of functions and tables of the canary's.
"""

from random import Random

# Each is a column here, an alias there, and a function or a table in `public`.
NAMES = (
    "l", "x", "logs", "leak_row", "leak_text", "secrets", "touch", "message", "value",
    "secdef_leak", "lower",
)  # fmt: skip
VIEWS = {
    "logs": ["id", "ts", "tag", "level", "service", "host", "message", "attributes"],
    "rejected_event": ["id", "received_at", "sender", "tag", "reason", "sqlstate"],
}
FUNCTIONS = (
    ("generate_series(1, 2)", None),
    ("string_to_table('x y', ' ')", None),
    ("unnest(ARRAY['x', 'y'])", None),
    ("unnest(ARRAY[{}])", None),
    ("jsonb_array_elements_text('[\"x\"]')", ["value"]),
    ("jsonb_each('{{\"a\": 1}}')", ["key", "value"]),
    ("ROWS FROM (generate_series(1, 2), jsonb_each('{{}}'))", None),
)
CALLS = (
    "to_jsonb({})", "md5({}::text)", "row_to_json({})", "concat({}, {})", "({})::text",
    "jsonb_build_object('a', {})", "coalesce({}, {})", "ROW({}, {})", "({} IS NULL)",
    "CASE WHEN {} IS NULL THEN {} END", "length({}::text)", "json_object('a': {})",
)  # fmt: skip
LITERALS = ("1", "'a'", "NULL", "'{}'::jsonb", "'x'::text", "now()", "true")
EVIL = (
    "touch('x')", "public.touch('x')", "secdef_leak()", "nextval('counting')",
    "pg_advisory_lock(1)", "lo_unlink(4242)", "set_config('work_mem', '1MB', false)",
    "query_to_xml('SELECT secdef_leak()', true, true, '')", "pg_notify('a', 'b')",
    "(SELECT secret FROM secrets LIMIT 1)", 'U&"touch"(\'x\')', "txid_current()",
    "json_populate_record(NULL::secrets, '{}')", "'x'::text ### 'x'", "$1",
    "ARRAY(SELECT touch('x'))", "'secrets'::regclass", "penstock_read.logs.leak_row",
    "(ROW(1)).leak_row", "('x'::text).leak_text",
)  # fmt: skip
EVIL_SOURCES = (
    "secrets", "public.secrets", "public.logs", "secdef_leak() AS x", "touch('x') AS x",
    "leak_text('x') AS x(a)",
)  # fmt: skip

Scope = list[tuple[str, list[str]]]


class SqlWriter:
    """Writes one statement after the other, as chance says."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def statement(self) -> str:
        sql, _ = self._query(3, [], {})
        return sql

    def _chance(self, percent: int) -> bool:
        return self._random.randrange(100) < percent

    def _name(self) -> str:
        return self._random.choice(NAMES)

    # --- expressions

    def _expression(self, scope: Scope, depth: int = 2) -> str:
        if self._chance(2):
            return self._random.choice(EVIL)
        if depth == 0 or self._chance(45):
            return self._reference(scope) if scope else self._random.choice(LITERALS)
        if self._chance(15):
            return self._random.choice(LITERALS)
        call = self._random.choice(CALLS)
        count = call.count("{}")
        return call.format(*(self._expression(scope, depth - 1) for _ in range(count)))

    def _reference(self, scope: Scope) -> str:
        """Write a column, mostly; or a whole row, or a name that is not there."""
        alias, columns = self._random.choice(scope)
        column = self._random.choice(columns or [alias])
        if self._chance(4):
            column = self._name()
        if self._chance(3):
            alias = self._name()
        form = self._random.choice(
            ["{a}.{c}"] * 6
            + ["{c}"] * 2
            + ["({a}).{c}", "{a}", "({a}.{c})", "({c}).{a}"]
        )
        return form.format(a=alias, c=column)

    # --- FROM

    def _source(
        self, depth: int, scope: Scope, outer: Scope, withs: dict[str, list[str]]
    ) -> tuple[str, Scope]:
        alias = self._name()
        if self._chance(2):
            return self._random.choice(EVIL_SOURCES), [(alias, [])]
        kind = self._random.randrange(10)
        if kind < 2 and depth:
            lateral = self._chance(40)
            around = [*scope, *outer] if lateral else outer
            sql, columns = self._query(depth - 1, around, withs)
            names, columns = self._renamed(columns)
            before = "LATERAL " if lateral else ""
            return f"{before}({sql}) AS {alias}{names}", [(alias, columns)]
        if kind < 4:
            call, known = self._random.choice(FUNCTIONS)
            around = scope or [("x", ["y"])]
            call = call.format(self._random.choice(around)[0])
            columns = known or [alias]
            more = " WITH ORDINALITY" if self._chance(20) else ""
            if more:
                columns = [*columns, "ordinality"]
            names, columns = self._renamed(columns)
            return f"{call}{more} AS {alias}{names}", [(alias, columns)]
        relation = self._random.choice([*VIEWS, "logs", *withs])
        columns = withs.get(relation) or VIEWS.get(relation) or []
        schema = "penstock_read." if relation not in withs and self._chance(20) else ""
        if self._chance(50):
            return f"{schema}{relation}", [(relation, columns)]
        names, columns = self._renamed(columns)
        return f"{schema}{relation} AS {alias}{names}", [(alias, columns)]

    def _renamed(self, columns: list[str]) -> tuple[str, list[str]]:
        if not columns or self._chance(60):
            return "", columns
        name = self._name()
        return f"({name})", [name, *columns[1:]]

    def _from(
        self, depth: int, outer: Scope, withs: dict[str, list[str]]
    ) -> tuple[str, Scope]:
        sql, scope = self._source(depth, [], outer, withs)
        for _ in range(self._random.choice((0, 0, 0, 1, 1, 2))):
            more, seen = self._source(depth, scope, outer, withs)
            if {name for name, _ in seen} & {name for name, _ in scope}:
                continue
            joined = [*scope, *seen]
            if self._chance(50):
                sql = f"{sql} CROSS JOIN {more}"
            elif self._chance(50):
                sql = (
                    f"{sql} LEFT JOIN {more} ON ({self._expression(joined, 1)}) IS NULL"
                )
            else:
                sql = f"{sql}, {more}"
            scope = joined
        return sql, scope

    # --- queries

    def _query(
        self, depth: int, outer: Scope, withs: dict[str, list[str]]
    ) -> tuple[str, list[str]]:
        if depth and self._chance(25):
            name = self._name()
            inner, columns = self._query(depth - 1, outer, withs)
            words = self._random.choice(["", "", "MATERIALIZED ", "NOT MATERIALIZED "])
            recursive = self._random.choice(["", "", "RECURSIVE "])
            sql, result = self._query(depth - 1, outer, {**withs, name: columns})
            return f"WITH {recursive}{name} AS {words}({inner}) {sql}", result
        sources, scope = self._from(depth, outer, withs)
        around = [*scope, *outer]
        targets, columns = [], []
        for _ in range(self._random.choice((1, 1, 2))):
            if self._chance(12):
                targets.append(f"{scope[0][0]}.*")
                columns += scope[0][1]
                continue
            name = self._name()
            targets.append(f"{self._expression(around)} AS {name}")
            columns.append(name)
        sql = f"SELECT {', '.join(targets)} FROM {sources}"
        if self._chance(20):
            sql += f" WHERE ({self._expression(around, 1)}) IS NOT NULL"
        if self._chance(15):
            sql += f" ORDER BY {self._expression(around, 1)}"
        return f"{sql} LIMIT {self._random.choice((1, 3))}", columns
