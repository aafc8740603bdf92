"""Entries in, binary COPY tuples out, in one pass. Pure, and the hot path.

`reference` is the definition of what a row holds, in plain Python. `columns` says
which keys fill which column, `times` what an event's time means, `plain` turns any
msgpack value into one that PostgreSQL's jsonb accepts. A second, compiled
implementation of the same contract may stand beside `reference`; what is written
to PostgreSQL must be the same to the byte.
"""

from penstock.rows.reference import RowEncoder, RowStream

__all__ = ["RowEncoder", "RowStream"]
