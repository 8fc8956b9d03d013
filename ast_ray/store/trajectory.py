"""One expert's trajectory as one Parquet file: a row group per recorded epoch, so that a segment reads only its rows.

Columns: ``epoch`` int32, ``theta`` fixed-size binary of P little-endian float32 (a plain copy in and out, where a list
column would code every number), and per-epoch statistics. The schema's metadata names fingerprint, expert and P.
Pages carry checksums, which reading verifies.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ast_ray.errors import StoreError
from ast_ray.store import mirror, remote
from ast_ray.store.atomic import atomic_path

METRICS = ("train_loss", "penalty", "validation_accuracy", "move")


class TrajectoryWriter:
    """Appends epochs to an open Parquet file; made by `TrajectoryWriter.create`."""

    def __init__(self, writer: pq.ParquetWriter, schema: pa.Schema) -> None:
        self._writer, self._schema = writer, schema

    @classmethod
    @contextmanager
    def create(cls, path: Path, parameters: int, metadata: Mapping[str, Any]) -> Iterator[TrajectoryWriter]:
        """Open a writer; the file appears under its name only when the block ends without an error."""
        fields = [("epoch", pa.int32()), ("theta", pa.binary(4 * parameters))]
        fields += [(name, pa.float64()) for name in METRICS]
        encoded = {"ast_ray": json.dumps({**metadata, "parameters": parameters}, sort_keys=True)}
        schema = pa.schema(fields, metadata=encoded)
        with (
            atomic_path(path) as temporary,
            pq.ParquetWriter(
                temporary,
                schema,
                compression="none",
                use_dictionary=False,
                write_statistics=False,
                write_page_checksum=True,
            ) as writer,
        ):
            yield cls(writer, schema)

    def append(self, epoch: int, theta: np.ndarray, metrics: Mapping[str, float]) -> None:
        """Add one epoch as a row group; theta is float32 [P]."""
        row = {"epoch": [epoch], "theta": [theta.astype("<f4", copy=False).tobytes()]}
        row.update({name: [metrics.get(name)] for name in METRICS})
        self._writer.write_table(pa.table(row, schema=self._schema))


def _open(path: Path) -> pq.ParquetFile:
    address = None if path.exists() else mirror.address_of(path)
    try:
        if address is not None:  # the few numbers wanted are read at the address, without the weights
            return pq.ParquetFile(remote.open_ranges(address), page_checksum_verification=True, pre_buffer=True)
        return pq.ParquetFile(path, memory_map=True, page_checksum_verification=True)
    except FileNotFoundError:
        raise StoreError(f"{path}: no such expert") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(
            f"{path}: not a complete Parquet file ({str(error).splitlines()[0]}); delete it and it is trained again"
        ) from error


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a trajectory file.

    Raises:
        StoreError: missing, truncated, or not a trajectory of this package.
    """
    with _open(path) as file:
        found = (file.schema_arrow.metadata or {}).get(b"ast_ray")
        if found is None:
            raise StoreError(f"{path}: a Parquet file, but not a trajectory of ast-ray")
        values: dict[str, Any] = json.loads(found)
        return {**values, "epochs": file.num_row_groups - 1}


def read_metrics(path: Path) -> dict[str, list[float]]:
    """Return the per-epoch columns without touching the weights."""
    with _open(path) as file:
        table = file.read(columns=["epoch", *METRICS])
    return {name: table.column(name).to_pylist() for name in table.column_names}


def read_segment(path: Path, epochs: Sequence[int]) -> list[np.ndarray]:
    """Return theta [P] float32 at the given epochs, reading those row groups only.

    Raises:
        StoreError: an epoch was not recorded, or a page fails its checksum.
    """
    with _open(path) as file:
        last = file.num_row_groups - 1
        beyond = [epoch for epoch in epochs if not 0 <= epoch <= last]
        if beyond:
            raise StoreError(f"{path}: epoch {beyond[0]} was asked for, epochs 0..{last} are recorded")
        try:
            columns = [file.read_row_group(epoch, columns=["theta"]).column("theta") for epoch in epochs]
        except (pa.ArrowInvalid, OSError) as error:
            raise StoreError(
                f"{path}: damaged ({str(error).splitlines()[0]}); delete it and it is trained again"
            ) from error
    return [np.frombuffer(column[0].as_buffer(), "<f4") for column in columns]
