"""Entries in, binary COPY tuples out, in one pass. Pure, and the hot path.

`encoder` begins, `stream` cuts a message into parts. `reference` is the definition of
what a row holds, in plain Python; the compiled `_native` writes the same to the byte,
where there is one. `entries` reads what is unusual. `columns` says which keys fill
which column, `times` what an event's time means, `plain` turns any msgpack value into
one that PostgreSQL's jsonb accepts, `part` puts a row together.
"""

from penstock.rows.encoder import RowEncoder
from penstock.rows.native import IS_BUILT
from penstock.rows.stream import RowStream

__all__ = ["IS_BUILT", "RowEncoder", "RowStream"]
