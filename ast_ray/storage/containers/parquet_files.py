"""Parquet files: opened, read, and compared with the schema they should have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ast_ray.config.files import MISSING
from ast_ray.errors import AstRayError, StoreError
from ast_ray.storage.containers.opening import parsing, require_file
from ast_ray.storage.parquet_footer import check_footer


@contextmanager
def open_parquet(
    path: Path,
    *,
    hint: str = "",
    missing: str = MISSING,
    error: type[AstRayError] = StoreError,
    source: Any = None,
) -> Iterator[pq.ParquetFile]:
    """Open a file, or ``source`` in its place; footer and page checksums are verified. The block only reads through it.

    Raises:
        error: missing, not a regular file, or damaged, also when that shows inside the block.
    """
    if source is None:
        require_file(path, error, missing=missing)
    with parsing(path, error, hint=hint):
        if source is not None:
            check_footer(source, source.size())
        else:
            with path.open("rb") as whole:
                check_footer(whole, path.stat().st_size)
        options: dict[str, Any] = {"pre_buffer": True} if source is not None else {"memory_map": True}
        with pq.ParquetFile(source or path, page_checksum_verification=True, **options) as file:
            yield file


def require_columns(file: pq.ParquetFile, fields: Sequence[pa.Field]) -> None:
    """Check that a file's columns are exactly these, in this order.

    The schema is the first thing to look at: a footer that contradicts it makes pyarrow's look at single chunks
    (``metadata.row_group(n).column(m)``) end the process.

    Raises:
        ValueError: other columns.
    """
    found = file.schema_arrow.remove_metadata()
    wanted = pa.schema(fields)
    if not found.equals(wanted):
        raise ValueError(f"its columns are {_named(found)}, expected {_named(wanted)}")


def _named(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}{'' if field.nullable else ' not null'}" for field in schema)
