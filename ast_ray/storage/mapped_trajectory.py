"""An expert's file mapped into memory: weights are copied out of the page cache, without Parquet in between.

A row group is read through Parquet once, which verifies its checksum, and compared with the mapped bytes; from then on
this process copies those bytes. What rots on the disk after that is not noticed until another process reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class Mapped:
    """One trajectory file: where the weights of those epochs end that have passed their checksum."""

    def __init__(self, path: Path, metadata: Any) -> None:
        """Take the places from the footer: one uncompressed page per chunk, its values last."""
        self._path, self._bytes, self._metadata = path, np.memmap(path, np.uint8, mode="r"), metadata
        self.last = metadata.num_row_groups - 1
        names = metadata.schema.names
        self._columns = {name: names.index(name) for name in ("theta", "delta") if name in names}
        self._ends: dict[tuple[str, int], int] = {}
        self.parameters = metadata.schema.column(self._columns["theta"]).length // 4

    def read(self, epochs: Sequence[int]) -> list[np.ndarray]:
        """Return theta [P] float32 of each epoch, copied.

        Raises:
            pyarrow.ArrowInvalid or OSError: a page fails its checksum.
        """
        if "delta" not in self._columns:
            return [np.array(self._values("theta", epoch).view("<f4")) for epoch in epochs]
        wanted, found = set(epochs), {}
        theta = np.array(self._values("theta", 0).view("<f4"))
        for epoch in range(max(epochs) + 1):
            if epoch:
                theta += from_bf16(self._values("delta", epoch).view("<u2"))
            if epoch in wanted:
                found[epoch] = theta.copy()
        return [found[epoch] for epoch in epochs]

    def _values(self, column: str, epoch: int) -> np.ndarray:
        size = self.parameters * (4 if column == "theta" else 2)
        end = self._ends.get((column, epoch))
        if end is None:
            read = self._read(column, epoch)  # first: pyarrow ends the process at a chunk it could not read
            chunk = self._metadata.row_group(epoch).column(self._columns[column])
            end = chunk.data_page_offset + chunk.total_compressed_size
            if read is None or not np.array_equal(np.frombuffer(read, np.uint8), self._bytes[max(end - size, 0) : end]):
                raise pa.ArrowInvalid(f"epoch {epoch} is not where the footer says")
            self._ends[column, epoch] = end
        values: np.ndarray = self._bytes[end - size : end]
        return values

    def _read(self, column: str, epoch: int) -> Any:
        """Return the buffer of an epoch's values through Parquet, its checksum verified; None for none."""
        with pq.ParquetFile(
            self._path, metadata=self._metadata, memory_map=True, page_checksum_verification=True
        ) as file:
            rows = file.read_row_group(epoch, columns=[column]).column(column)
        return rows[0].as_buffer() if len(rows) else None


def to_bf16(values: np.ndarray) -> np.ndarray:
    """Float32 rounded to the nearest bf16, ties to even, as its 16 bits; finite values only."""
    bits = np.ascontiguousarray(values, "<f4").view("<u4")
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype("<u2")


def from_bf16(bits: np.ndarray) -> np.ndarray:
    """The float32 numbers that 16 bits of bf16 stand for."""
    return (bits.astype("<u4") << np.uint32(16)).view("<f4")
