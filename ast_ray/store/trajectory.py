"""One expert's trajectory as one Parquet file: a row group per recorded epoch, so that a segment reads only its rows.

Columns: ``epoch`` int32, ``theta`` fixed-size binary of P little-endian float32 (a plain copy in and out, where a list
column would code every number), and per-epoch statistics. Stored as bf16, only epoch 0 has a ``theta``; each later one
has ``delta``, the rounded difference to the epoch before as it will be read, so that errors do not add up. The schema's
metadata names fingerprint, expert and P. Pages carry checksums, which reading verifies (`store.mapped`), and the footer
carries its own (`store.parquet_footer`), which is verified before the footer is parsed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ast_ray.errors import StoreError
from ast_ray.store import mirror, remote
from ast_ray.store.atomic import atomic_path
from ast_ray.store.mapped import Mapped, from_bf16, to_bf16
from ast_ray.store.parquet_footer import FOOTER_KEY, UNSEALED, check_footer, seal_footer

_STATISTICS = "ast_ray_statistics"
_KEPT = 64  # mapped files; a mapping costs address space, not memory
_open_files: dict[Path, tuple[tuple[int, ...], Mapped]] = {}
Storage = Literal["float32", "bf16"]
METRICS = ("train_loss", "penalty", "validation_accuracy", "move")


class TrajectoryWriter:
    """Appends epochs to an open Parquet file; made by `TrajectoryWriter.create`."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer, self._schema = writer, schema
        self.statistics: dict[str, list[float | None]] = {name: [] for name in ("epoch", *METRICS)}
        self._readable: np.ndarray | None = None  # the last epoch as it will be read; bf16 only

    @classmethod
    @contextmanager
    def create(
        cls, path: Path, parameters: int, metadata: Mapping[str, Any], *, storage: Storage = "float32"
    ) -> Iterator[TrajectoryWriter]:
        """Open a writer; the file appears under its name only when the block ends without an error."""
        fields = [("epoch", pa.int32()), ("theta", pa.binary(4 * parameters))]
        if storage == "bf16":
            fields.append(("delta", pa.binary(2 * parameters)))
        fields += [(name, pa.float64()) for name in METRICS]
        encoded = {"ast_ray": json.dumps({**metadata, "parameters": parameters}, sort_keys=True)}
        schema = pa.schema(fields, metadata=encoded)
        with atomic_path(path) as temporary:
            with pq.ParquetWriter(
                temporary,
                schema,
                compression="none",
                use_dictionary=False,
                write_statistics=False,
                write_page_checksum=True,
            ) as writer:
                recorder = cls(writer, schema)
                yield recorder
                writer.add_key_value_metadata({_STATISTICS: json.dumps(recorder.statistics), FOOTER_KEY: UNSEALED})
            seal_footer(temporary)

    def append(self, epoch: int, theta: np.ndarray, metrics: Mapping[str, float]) -> None:
        """Add one epoch as a row group; theta is float32 [P]."""
        theta = theta.astype("<f4", copy=False)
        row: dict[str, list[Any]] = {"epoch": [epoch], "theta": [theta.tobytes()]}
        if "delta" in self._schema.names:
            row |= {"theta": [None], "delta": [self._delta(theta)]} if epoch else {"delta": [None]}
            if self._readable is None:
                self._readable = theta.copy()
        row.update({name: [metrics.get(name)] for name in METRICS})
        for name, values in self.statistics.items():
            value = epoch if name == "epoch" else metrics.get(name)
            values.append(None if value is None or value != value else value)
        self._writer.write_table(pa.table(row, schema=self._schema))

    def _delta(self, theta: np.ndarray) -> bytes:
        """The difference to the last epoch as it will be read, rounded to bf16."""
        assert self._readable is not None, "epoch 0 comes first"
        delta = to_bf16(theta - self._readable)
        self._readable += from_bf16(delta)
        return delta.tobytes()


def _open(path: Path) -> pq.ParquetFile:
    address = None if path.exists() else mirror.address_of(path)
    try:
        if address is not None:  # the few numbers wanted are read at the address, without the weights
            ranges = remote.open_ranges(address)
            check_footer(ranges, ranges.size())
            return pq.ParquetFile(ranges, page_checksum_verification=True, pre_buffer=True)
        with path.open("rb") as file:
            check_footer(file, path.stat().st_size)
        return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    except FileNotFoundError:
        raise StoreError(f"{mirror.shown(path)}: no such expert") from None
    except (ValueError, OSError) as error:  # Arrow's errors are among them
        told = f"not a complete Parquet file ({str(error).splitlines()[0]}); delete it and it is trained again"
        raise StoreError(f"{mirror.shown(path)}: {told}") from error


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a trajectory file.

    Raises:
        StoreError: missing, truncated, or not a trajectory of this package.
    """
    with _open(path) as file:
        found = (file.schema_arrow.metadata or {}).get(b"ast_ray")
        if found is None:
            raise StoreError(f"{mirror.shown(path)}: a Parquet file, but not a trajectory of ast-ray")
        values: dict[str, Any] = json.loads(found)
        return {**values, "epochs": file.num_row_groups - 1}


def read_metrics(path: Path) -> dict[str, list[float]]:
    """Return the per-epoch columns without touching the weights: from the footer, which repeats them; NaN = none."""
    with _open(path) as file:
        repeated = (file.metadata.metadata or {}).get(_STATISTICS.encode())
        if repeated is not None:
            found: dict[str, list[float | None]] = json.loads(repeated)
            return {
                name: [float("nan") if value is None else value for value in values] for name, values in found.items()
            }
        table = file.read(columns=["epoch", *METRICS])
    return {name: table.column(name).to_pylist() for name in table.column_names}


def read_segment(path: Path, epochs: Sequence[int]) -> list[np.ndarray]:
    """Return theta [P] float32 at the given epochs, in memory of their own, reading those row groups only.

    Stored as bf16, epochs before the first one are read as well, at half their size.

    Raises:
        StoreError: an epoch was not recorded, or a page fails its checksum.
    """
    mapped = _mapped(path)
    beyond = [epoch for epoch in epochs if not 0 <= epoch <= mapped.last]
    if beyond:
        told = f"epoch {beyond[0]} was asked for, epochs 0..{mapped.last} are recorded"
        raise StoreError(f"{mirror.shown(path)}: {told}")
    try:
        return mapped.read(epochs)
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(
            f"{mirror.shown(path)}: damaged ({str(error).splitlines()[0]}); delete it and it is trained again"
        ) from error


def _mapped(path: Path) -> Mapped:
    """The file's mapping, kept for as long as the file stays the same."""
    try:
        found = path.stat()
    except OSError:
        found = None
    known = _open_files.pop(path, None)
    if known is None or found is None or known[0] != (found.st_ino, found.st_mtime_ns, found.st_size):
        with _open(path) as file:
            signature = (found.st_ino, found.st_mtime_ns, found.st_size) if found else ()
            known = (signature, Mapped(path, file.metadata))
    _open_files[path] = known
    while len(_open_files) > _KEPT:
        _open_files.pop(next(iter(_open_files)), None)
    return known[1]
