"""Reading attribute maps of many spans at once."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def column(table: pa.Table, name: str, key: str) -> pa.Array:
    """The first value of `key` in each row's map; null where it is not there."""
    maps = table[name]
    found = pc.map_lookup(maps, query_key=key, occurrence="first")
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def first_of(table: pa.Table, name: str, keys: tuple[str, ...]) -> list[str | None]:
    """Per row the value of the first of `keys` that is there."""
    found: list[str | None] = pc.coalesce(*(column(table, name, key) for key in keys)).to_pylist()
    return found
