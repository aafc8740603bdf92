"""Which names a place in a statement can see: relations, their columns, WITH queries.

It follows PostgreSQL's rules (parse_relation.c: the nearest level that has the name) so
closely because a name it resolved otherwise could call a function: `l.x`, where l has
no column x, is x(l). It owns the scopes, and must not decide what is allowed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from penstock.ask.allowed import VIEWS_SCHEMA


class Guess(str):
    """The name of a column that may not be there.

    `unnest` of an array has one column, and of an array of rows it has theirs. So the
    name counts alone, where it is a column or the whole row, and not behind a dot.
    """


@dataclass(frozen=True, slots=True)
class Item:
    """What a name in FROM stands for.

    `name` is None where none can be used; `view` is set where the item is a view under
    its own name, so that the schema may stand before it. `is_row` is whether the name
    alone is a row: that of `generate_series(1, 3) AS n(x)` is a number, and `(n).x` is
    x(n), a call. `is_stored` is whether its columns are those of a view's rows, and not
    what a query has made.
    """

    name: str | None
    columns: tuple[str, ...]
    view: str | None = None
    is_row: bool = True
    is_stored: bool = False

    def has(self, name: str) -> bool:
        """Tell whether a name behind the dot is certain to be a column."""
        return has_surely(self.columns, name)


@dataclass(frozen=True, slots=True)
class With:
    """A WITH query: its columns, and how many relations a mention of it adds."""

    columns: tuple[str, ...]
    relations: int = 1


@dataclass(frozen=True, slots=True)
class Source:
    """One thing in FROM: the names it gives, and its columns in the order of `*`."""

    items: tuple[Item, ...]
    columns: tuple[str, ...]


@dataclass(slots=True)
class Scope:
    """One level of a statement."""

    parent: "Scope | None" = None
    withs: Mapping[str, With] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)

    def add(self, source: Source) -> None:
        """Let what stands in FROM be seen."""
        self.items += source.items
        self.columns += source.columns

    def seeing(self, sources: Sequence[Source]) -> "Scope":
        """Return this level with only these things in FROM: what ON and LATERAL see."""
        scope = Scope(self.parent, self.withs)
        for source in sources:
            scope.add(source)
        return scope

    def find_with(self, name: str) -> With | None:
        """Find the WITH query that a name in FROM means; None: it is of a schema."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.withs:
                return scope.withs[name]
            scope = scope.parent
        return None

    def find_item(self, name: str, schema: str | None = None) -> Item | None:
        """Find what stands before a dot."""
        scope: Scope | None = self
        while scope is not None:
            for item in scope.items:
                if schema is None and item.name == name:
                    return item
                if schema == VIEWS_SCHEMA and item.view == name:
                    return item
            scope = scope.parent
        return None

    def has_column(self, name: str) -> bool:
        """Tell whether a name alone is a column, here or further out."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.columns:
                return True
            scope = scope.parent
        return False

    def is_stored(self, names: Sequence[str]) -> bool:
        """Tell whether a name can only be a column of a view's."""
        *owner, column = names
        if owner:
            item = self.find_item(owner[-1], *owner[:-1])
            return item is not None and item.is_stored
        holders = [item for item in self.visible() if column in item.columns]
        return bool(holders) and all(item.is_stored for item in holders)

    def visible(self) -> list[Item]:
        """Return all items that can be seen, the nearest first."""
        found: list[Item] = []
        scope: Scope | None = self
        while scope is not None:
            found += scope.items
            scope = scope.parent
        return found


def has_surely(columns: Sequence[str], name: str) -> bool:
    """Tell whether columns have one of a name, by no guess."""
    return any(each == name and type(each) is str for each in columns)


def renamed(columns: Sequence[str], names: Sequence[str]) -> tuple[str, ...]:
    """Return columns with the names of an alias's list, which may be shorter."""
    return (*names, *columns[len(names) :])


def joined(left: Source, right: Source, using: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of a join in the order of `*`: those of USING come first."""
    return (
        *using,
        *(each for each in left.columns if each not in using),
        *(each for each in right.columns if each not in using),
    )
