"""One expert's trajectory as one Parquet file: a row group per recorded epoch, so that a segment reads only its rows.

Columns: ``epoch`` int32, ``theta`` fixed-size binary of P little-endian float32 (a plain copy in and out, where a list
column would code every number), and per-epoch statistics. Stored as bf16, only epoch 0 has a ``theta``; each later one
has ``delta``, the rounded difference to the epoch before as it will be read, so that errors do not add up. The schema's
metadata names fingerprint, expert and P. The footer carries a checksum, which is verified before it is parsed.

A row group is read through Parquet once, which verifies the checksums of its pages, and compared with the bytes of the
mapped file; from then on this process copies those bytes. What rots on the disk after that is not noticed until another
process reads it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal, NotRequired, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ast_ray.errors import StoreError
from ast_ray.storage import mirror, object_store
from ast_ray.storage.atomic import atomic_path
from ast_ray.storage.containers.documents import parsed
from ast_ray.storage.containers.opening import parsing
from ast_ray.storage.containers.parquet_files import FOOTER_KEY, UNSEALED, open_parquet, require_columns, seal_footer
from ast_ray.storage.typed import Count, checked

_STATISTICS = "ast_ray_statistics"
_KEPT = 64  # mapped files; a mapping costs address space, not memory
_open_files: dict[Path, tuple[tuple[int, ...], MappedTrajectory]] = {}
Storage = Literal["float32", "bf16"]
METRICS = ("train_loss", "penalty", "validation_accuracy", "move")
_HINT = "delete it and it is trained again"


class _Metadata(TypedDict):
    """The schema's metadata: P, and the expert's identity where it belongs to a buffer."""

    parameters: Count
    fingerprint: NotRequired[str]
    expert_id: NotRequired[Count]


def _fields(parameters: int, storage: Storage) -> list[pa.Field]:
    """The columns of a file."""
    fields = [pa.field("epoch", pa.int32()), pa.field("theta", pa.binary(4 * parameters))]
    if storage == "bf16":
        fields.append(pa.field("delta", pa.binary(2 * parameters)))
    return [*fields, *(pa.field(name, pa.float64()) for name in METRICS)]


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
        encoded = {"ast_ray": json.dumps({**metadata, "parameters": parameters}, sort_keys=True)}
        schema = pa.schema(_fields(parameters, storage), metadata=encoded)
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


def _open(path: Path) -> AbstractContextManager[pq.ParquetFile]:
    """Open a trajectory; one that lies at its address only is read there, without the weights."""
    address = None if path.exists() else mirror.address_of(path)
    source = None
    if address is not None:
        try:
            source = object_store.open_ranges(address)
        except FileNotFoundError:
            raise StoreError(f"{mirror.shown(path)}: no such expert") from None
    return open_parquet(path, hint=_HINT, missing="no such expert", source=source)


def _metadata(path: Path, file: pq.ParquetFile) -> dict[str, Any]:
    """Metadata of an open file, its columns checked: nothing else of a footer may be looked at before."""
    found = (file.schema_arrow.metadata or {}).get(b"ast_ray")
    if found is None:
        raise StoreError(f"{mirror.shown(path)}: a Parquet file, but not a trajectory of ast-ray")
    values = checked(parsed(found), _Metadata)
    require_columns(file, _fields(values["parameters"], "bf16" if "delta" in file.schema_arrow.names else "float32"))
    if not file.num_row_groups:
        raise ValueError("it holds no epoch")
    return {**values, "epochs": file.num_row_groups - 1}


def read_metadata(path: Path) -> dict[str, Any]:
    """Return the metadata of a trajectory file.

    Raises:
        StoreError: missing, truncated, or not a trajectory of this package.
    """
    with _open(path) as file:
        return _metadata(path, file)


def read_metrics(path: Path) -> dict[str, list[float]]:
    """Return the per-epoch columns without touching the weights: from the footer, which repeats them; NaN = none.

    Raises:
        StoreError: missing, damaged, or not a trajectory of this package.
    """
    with _open(path) as file:
        epochs = _metadata(path, file)["epochs"]
        repeated = (file.metadata.metadata or {}).get(_STATISTICS.encode())
        if repeated is not None:
            found = checked(parsed(repeated), dict[str, list[float | None]], "statistics")
        else:
            table = file.read(columns=["epoch", *METRICS])
            found = {name: table.column(name).to_pylist() for name in table.column_names}
        for name in ("epoch", *METRICS):
            if len(found.get(name, ())) != epochs + 1:
                raise ValueError(f"{len(found.get(name, ()))} values of {name} for {epochs + 1} epochs")
    return {name: [float("nan") if value is None else value for value in values] for name, values in found.items()}


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
    with parsing(path, StoreError, hint=_HINT):
        return mapped.read(epochs)


def _mapped(path: Path) -> MappedTrajectory:
    """The file's mapping, kept for as long as the file stays the same."""
    try:
        found = path.stat()
    except OSError:
        found = None
    known = _open_files.pop(path, None)
    if known is None or found is None or known[0] != (found.st_ino, found.st_mtime_ns, found.st_size):
        with _open(path) as file:
            _metadata(path, file)
            signature = (found.st_ino, found.st_mtime_ns, found.st_size) if found else ()
            known = (signature, MappedTrajectory(path, file.metadata))
    _open_files[path] = known
    while len(_open_files) > _KEPT:
        _open_files.pop(next(iter(_open_files)), None)
    return known[1]


class MappedTrajectory:
    """One trajectory file: where the weights of those epochs end that have passed their checksum."""

    def __init__(self, path: Path, metadata: Any) -> None:
        """Take the places from the footer: one uncompressed page per chunk, its values last."""
        self._path = path
        self._bytes = np.memmap(path, np.uint8, mode="r")
        self._metadata = metadata
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
