from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ast_ray.errors import ResourceError, StoreError
from ast_ray.storage.trajectory import (
    METRICS,
    TrajectoryWriter,
    from_bf16,
    read_metadata,
    read_metrics,
    read_segment,
    to_bf16,
)

P = 1000


def thetas(epochs: int = 5) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.standard_normal(P).astype(np.float32) for _ in range(epochs + 1)]


def write(path: Path, vectors: list[np.ndarray]) -> Path:
    with TrajectoryWriter.create(path, P, {"fingerprint": "abc", "expert_id": 3}) as writer:
        for epoch, theta in enumerate(vectors):
            writer.append(epoch, theta, {name: epoch + place / 10 for place, name in enumerate(METRICS)})
    return path


def place_of(path: Path, theta: np.ndarray) -> int:
    """Where a vector's bytes lie in the file."""
    content = path.read_bytes()
    assert content.count(theta.tobytes()) == 1
    return content.index(theta.tobytes())


def spoil(path: Path, start: int, length: int = 1) -> None:
    """Flip every bit of some bytes."""
    content = bytearray(path.read_bytes())
    content[start : start + length] = bytes(byte ^ 0xFF for byte in content[start : start + length])
    path.write_bytes(bytes(content))


def test_a_segment_is_exactly_the_vectors_that_were_written(tmp_path: Path) -> None:
    vectors = thetas()
    vectors[2][:4] = [np.float32(-0.0), np.finfo(np.float32).tiny / 2, np.finfo(np.float32).max, np.float32(1) / 3]
    path = write(tmp_path / "e.parquet", vectors)
    found = read_segment(path, range(1, 4))
    assert [theta.tobytes() for theta in found] == [theta.tobytes() for theta in vectors[1:4]]
    assert all(theta.dtype == np.float32 and theta.shape == (P,) for theta in found)


def test_one_row_group_per_epoch_plain_and_uncompressed(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", thetas())
    with pq.ParquetFile(path) as file:
        assert file.num_row_groups == 6
        assert {file.metadata.row_group(group).num_rows for group in range(6)} == {1}
        assert file.metadata.row_group(0).column(1).compression == "UNCOMPRESSED"


def test_reading_a_segment_touches_no_other_row_group(tmp_path: Path) -> None:
    vectors = thetas()
    path = write(tmp_path / "e.parquet", vectors)
    for epoch in (0, 1, 4, 5):
        spoil(path, place_of(path, vectors[epoch]), 4 * P)
    assert [theta.tobytes() for theta in read_segment(path, (2, 3))] == [theta.tobytes() for theta in vectors[2:4]]


@pytest.mark.parametrize("byte", [0, 4 * P // 2, 4 * P - 1])
def test_one_wrong_byte_in_what_is_read_fails_its_checksum(tmp_path: Path, byte: int) -> None:
    vectors = thetas()
    path = write(tmp_path / "e.parquet", vectors)
    spoil(path, place_of(path, vectors[2]) + byte)
    with pytest.raises(StoreError, match=r"e\.parquet: damaged .*delete it"):
        read_segment(path, (2,))


@pytest.mark.parametrize("kept", [0, 3, 4, 5000, -1])
def test_a_truncated_file_is_a_store_error(tmp_path: Path, kept: int) -> None:
    path = write(tmp_path / "e.parquet", thetas())
    path.write_bytes(path.read_bytes()[:kept])
    for read in (read_metadata, read_metrics, lambda file: read_segment(file, (0,))):
        with pytest.raises(StoreError, match=r"e\.parquet"):
            read(path)


def test_a_missing_file_and_a_missing_epoch(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no such expert"):
        read_segment(tmp_path / "none.parquet", (0,))
    path = write(tmp_path / "e.parquet", thetas())
    with pytest.raises(StoreError, match=r"epoch 6 was asked for, epochs 0\.\.5 are recorded"):
        read_segment(path, (5, 6))
    with pytest.raises(StoreError, match="epoch -1"):
        read_segment(path, (-1,))


def test_a_parquet_file_of_somebody_else(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(StoreError, match="not a trajectory of ast-ray"):
        read_metadata(tmp_path / "other.parquet")


def test_metadata_and_metrics(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", thetas())
    assert read_metadata(path) == {"fingerprint": "abc", "expert_id": 3, "parameters": P, "epochs": 5}
    metrics = read_metrics(path)
    assert metrics["epoch"] == [0, 1, 2, 3, 4, 5]
    assert metrics["move"] == [0.3, 1.3, 2.3, 3.3, 4.3, 5.3]


def test_metrics_can_be_read_when_every_weight_is_spoiled(tmp_path: Path) -> None:
    vectors = thetas()
    path = write(tmp_path / "e.parquet", vectors)
    for theta in vectors:
        spoil(path, place_of(path, theta), 4 * P)
    assert read_metrics(path)["train_loss"] == [0, 1, 2, 3, 4, 5]


def test_the_same_vectors_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.parquet", thetas()), write(tmp_path / "b.parquet", thetas())
    assert one.read_bytes() == two.read_bytes()


def test_an_error_while_training_publishes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"

    def fail() -> None:
        with TrajectoryWriter.create(path, P, {}) as writer:
            writer.append(0, thetas()[0], {})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_publishes_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 4 * P, hard))
    try:
        with pytest.raises(ResourceError, match=r"cannot write .*e\.parquet"):
            write(tmp_path / "e.parquet", thetas(epochs=40))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_the_header_is_json_any_tool_can_read(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", thetas())
    assert json.loads(pq.read_schema(path).metadata[b"ast_ray"])["parameters"] == P


def write_bf16(path: Path, vectors: list[np.ndarray]) -> Path:
    with TrajectoryWriter.create(path, P, {}, storage="bf16") as writer:
        for epoch, theta in enumerate(vectors):
            writer.append(epoch, theta, {})
    return path


def walk(epochs: int = 40) -> list[np.ndarray]:
    """A trajectory whose steps are a hundredth of its weights."""
    generator = np.random.default_rng(0)
    steps = generator.standard_normal((epochs, P), np.float32) * np.float32(0.01)
    start = generator.standard_normal(P).astype(np.float32)
    return [start, *(start + steps[: number + 1].sum(axis=0) for number in range(epochs))]


def test_bf16_starts_exact_and_its_errors_do_not_add_up(tmp_path: Path) -> None:
    vectors = walk()
    path = write_bf16(tmp_path / "e.parquet", vectors)
    found = read_segment(path, range(41))
    assert found[0].tobytes() == vectors[0].tobytes()
    for epoch in range(1, 41):
        step = np.abs(vectors[epoch] - vectors[epoch - 1])
        error = np.abs(found[epoch] - vectors[epoch])
        assert (error <= step * 2**-8 + 1e-6).all(), epoch  # half a unit of bf16's last place, and of the one before
    assert path.stat().st_size < 0.6 * write(tmp_path / "f.parquet", vectors).stat().st_size


def test_bf16_is_read_the_same_from_any_start(tmp_path: Path) -> None:
    path = write_bf16(tmp_path / "e.parquet", walk(6))
    whole = read_segment(path, range(7))
    assert [theta.tobytes() for theta in read_segment(path, (3, 4))] == [theta.tobytes() for theta in whole[3:5]]
    assert read_segment(path, (5,))[0].tobytes() == whole[5].tobytes()


def test_bf16_rounds_to_nearest_ties_to_even() -> None:
    values = np.array([1, 1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-7), 1.0 / 3, 0, -0.0, 3e38], np.float32)
    expected = torch.from_numpy(values).to(torch.bfloat16)
    assert from_bf16(to_bf16(values)).tolist() == expected.float().tolist()
    assert to_bf16(values).tobytes() == expected.view(torch.int16).numpy().tobytes()


def test_a_wrong_byte_in_a_delta_fails_its_checksum(tmp_path: Path) -> None:
    vectors = walk(3)
    path = write_bf16(tmp_path / "e.parquet", vectors)
    delta = to_bf16(vectors[1] - vectors[0]).tobytes()
    spoil(path, path.read_bytes().index(delta))
    assert read_segment(path, (0,))[0].tobytes() == vectors[0].tobytes()
    with pytest.raises(StoreError, match="damaged"):
        read_segment(path, (2,))


def test_a_file_that_is_replaced_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", thetas())
    first = read_segment(path, (1,))[0]
    write(path, [theta + 1 for theta in thetas()])
    assert (read_segment(path, (1,))[0] == first + 1).all()
    path.unlink()
    with pytest.raises(StoreError, match="no such expert"):
        read_segment(path, (1,))


def test_what_is_read_may_be_written(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", thetas())
    read_segment(path, (1,))[0][:] = 0
    assert read_segment(path, (1,))[0].tobytes() == thetas()[1].tobytes()


_FOOTERS = """
import random, sys
from pathlib import Path
from ast_ray.errors import StoreError
from ast_ray.storage.trajectory import read_metadata, read_metrics, read_segment

whole, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[1])
footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
generator, refused, read = random.Random(0), 0, 0
# The 34th byte says that a column is never empty, which its chunks contradict: pyarrow ends the process there.
places = [(footer + 34, 20), *((generator.randrange(footer, len(whole)), generator.randrange(256)) for _ in range(600))]
for place, value in places:
    path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
    try:
        epochs = read_metadata(path)["epochs"]
        read_metrics(path), read_segment(path, range(epochs + 1))
        read += 1
    except StoreError as error:
        refused += "delete it" in str(error) or "not a trajectory" in str(error) or "recorded" in str(error)
print(refused, read)
"""


def test_a_damaged_footer_is_an_error_and_ends_no_process(tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", thetas())
    done = subprocess.run([sys.executable, "-c", _FOOTERS, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    refused, read = map(int, done.stdout.split())
    assert refused + read == 601
    assert refused > 200


def test_columns_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    schema = pa.schema([("epoch", pa.int64()), ("theta", pa.binary(8))], metadata={"ast_ray": '{"parameters": 2}'})
    pq.write_table(pa.table({"epoch": [0], "theta": [bytes(8)]}, schema=schema), path)
    for reader in (read_metadata, read_metrics, lambda file: read_segment(file, (0,))):
        with pytest.raises(StoreError, match="its columns are epoch int64"):
            reader(path)


@pytest.mark.parametrize("metadata", ["{", "[]", '{"parameters": -1}', '{"parameters": 2, "expert_id": "x"}'])
def test_metadata_that_cannot_be(tmp_path: Path, metadata: str) -> None:
    path = tmp_path / "e.parquet"
    schema = pa.schema([("epoch", pa.int32())], metadata={"ast_ray": metadata})
    pq.write_table(pa.table({"epoch": [0]}, schema=schema), path)
    with pytest.raises(StoreError, match=r"damaged .*delete it"):
        read_metadata(path)
