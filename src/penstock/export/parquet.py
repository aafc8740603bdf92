"""Pages of rows as Parquet, by pyarrow, which is an extra of the installation.

It owns the types of the columns. A Parquet file cannot be gone on with after a kill,
for what finds its rows stands at its end; so parts are written, each a whole file, and
put together at the end, one in memory at a time.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from penstock.errors import PenstockError
from penstock.export.forms import json_text
from penstock.search.statements import PAGE_COLUMNS

# Rows that are found together, and skipped together, by who reads the file; no more
# bytes than are well in memory.
GROUP_ROWS = 100_000
GROUP_BYTES = 32 * 1024 * 1024
# zstd is as fast to read as pyarrow's default, and takes half the room for logs.
COMPRESSION = "zstd"


class Parquet:
    """Writes parts, and puts them together.

    Raises:
        PenstockError: pyarrow is not installed.
    """

    def __init__(self) -> None:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError as error:
            raise PenstockError(
                "Parquet needs pyarrow: pip install penstock[export]"
            ) from error
        self._pa: Any = pa
        self._pq: Any = pq
        types: dict[str, Any] = {"id": pa.int64(), "ts": pa.timestamp("us", tz="UTC")}
        self._schema = pa.schema(
            [(name, types.get(name, pa.string())) for name in PAGE_COLUMNS]
        )

    def write_part(self, path: Path, rows: Sequence[Sequence[Any]]) -> None:
        """Write rows as a file of one row group."""
        *columns, attributes = zip(*rows, strict=True)
        arrays = [
            self._pa.array(values, field.type)
            for values, field in zip(
                (*columns, [json_text(each) for each in attributes]),
                self._schema,
                strict=True,
            )
        ]
        table = self._pa.Table.from_arrays(arrays, schema=self._schema)
        with path.open("wb") as file:
            self._pq.write_table(table, file, compression=COMPRESSION)
            file.flush()
            os.fsync(file.fileno())

    def put_together(self, parts: Iterable[Path], whole: Path) -> None:
        """Write the rows of all parts, in their order, as one file."""
        with (
            whole.open("wb") as file,
            self._pq.ParquetWriter(
                file, self._schema, compression=COMPRESSION
            ) as writer,
        ):
            group: list[Any] = []
            for part in parts:
                group.append(self._pq.read_table(part, schema=self._schema))
                if (
                    sum(each.num_rows for each in group) >= GROUP_ROWS
                    or sum(each.nbytes for each in group) >= GROUP_BYTES
                ):
                    writer.write_table(self._pa.concat_tables(group))
                    group.clear()
            if group:
                writer.write_table(self._pa.concat_tables(group))
