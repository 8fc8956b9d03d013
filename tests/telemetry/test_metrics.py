from __future__ import annotations

import json
from pathlib import Path

import pytest

from ast_ray.errors import ResourceError, StoreError
from ast_ray.telemetry.metrics import MetricsLog, read_metrics
from tests import documents
from tests.damage import changed_digits, flipped_bits

ROW = {"relative_loss": 0.5, "student_lr": 0.01}


def iterations(path: Path) -> list[int]:
    return [row["iteration"] for row in read_metrics(path)]


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "distill" / "metrics.jsonl"
    rows = [{**ROW, "iteration": 1, "loss": 0.1 + 0.2, "parts": [1.0, 2.0]}, {**ROW, "iteration": 2, "loss": 1e-300}]
    with MetricsLog(path, after=0) as log:
        for row in rows:
            log.append(row)
        assert read_metrics(path) == rows  # flushed row by row
    assert read_metrics(path) == rows


def test_a_row_whose_segments_were_all_skipped_has_no_loss(tmp_path: Path) -> None:
    row = {**ROW, "iteration": 1, "relative_loss": None}
    with MetricsLog(tmp_path / "metrics.jsonl", after=0) as log:
        log.append(row)
    assert read_metrics(tmp_path / "metrics.jsonl") == [row]


def test_a_resume_cuts_back_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, after=0) as log:
        for number in range(1, 6):
            log.append({**ROW, "iteration": number, "try": 1})
    with MetricsLog(path, after=3) as log:
        assert iterations(path) == [1, 2, 3]
        log.append({**ROW, "iteration": 4, "try": 2})
    assert iterations(path) == [1, 2, 3, 4]
    assert read_metrics(path)[3]["try"] == 2


def test_a_half_written_line_is_left_out_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({**ROW, "iteration": number}) for number in (1, 2, 3)]
    path.write_text("\n".join(lines)[:-9])
    assert iterations(path) == [1, 2]
    with MetricsLog(path, after=2) as log:
        log.append({**ROW, "iteration": 3})
    assert iterations(path) == [1, 2, 3]
    assert path.read_text().count("\n") == 3


def test_a_fresh_start_forgets_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 1}\n')
    with MetricsLog(path, after=0):
        pass
    assert read_metrics(path) == []


def test_no_file_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "none.jsonl") == []


@pytest.mark.parametrize(
    ("spoilt", "told"),
    [
        (b"{", "line 2"),
        (b"[]", "line 2.*expected an object"),
        (b'{"iteration": 2, "student_lr": 0.01}', "line 2.*relative_loss is missing"),
        (b'{"iteration": -2, "relative_loss": 1, "student_lr": 0.01}', "line 2.*iteration = -2"),
        (b'{"iteration": 1, "relative_loss": 1, "student_lr": 0.01}', "line 2.*iteration 1 after 1"),
        (b"\xff", "line 2"),
    ],
)
def test_a_damaged_line_is_named_and_a_resume_goes_on_before_it(tmp_path: Path, spoilt: bytes, told: str) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, after=0) as log:
        for number in (1, 2, 3):
            log.append({**ROW, "iteration": number})
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], spoilt, lines[2], b""]))
    with pytest.raises(StoreError, match=rf"metrics\.jsonl: damaged in {told}"):
        read_metrics(path)
    with MetricsLog(path, after=1):
        pass
    assert iterations(path) == [1]


def test_infinite_numbers_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, after=0) as log:
        log.append({**ROW, "iteration": 1, "image_gradient_norm": float("inf")})
    assert read_metrics(path)[0]["image_gradient_norm"] == float("inf")


def test_a_full_disk_is_one_error_that_names_the_file(tmp_path: Path, small_files: int) -> None:
    def write() -> None:
        with MetricsLog(tmp_path / "metrics.jsonl", after=0) as log:
            for number in range(1, 3000):
                log.append({**ROW, "iteration": number})

    with pytest.raises(ResourceError, match=r"cannot write .*metrics\.jsonl: .*; free space"):
        write()
    kept = iterations(tmp_path / "metrics.jsonl")
    assert kept == list(range(1, len(kept) + 1))
    assert len(kept) > 100


def logged(path: Path, count: int = 3) -> bytes:
    with MetricsLog(path, after=0) as log:
        for number in range(1, count + 1):
            log.append({**ROW, "iteration": number, "validation_accuracy": 0.25})
    return path.read_bytes()


def test_every_changed_digit_is_named_by_its_line_and_a_resume_goes_on_before_it(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    for changed in changed_digits(logged(path)):
        path.write_bytes(changed)
        with pytest.raises(StoreError, match=r"metrics\.jsonl: damaged in line \d \(its checksum is wrong\)") as caught:
            read_metrics(path)
        with MetricsLog(path, after=3):
            pass
        assert len(read_metrics(path)) == int(str(caught.value).partition("in line ")[2][0]) - 1


def test_a_flipped_bit_loses_no_row_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    whole, refused = logged(path, 2), 0
    rows = read_metrics(path)
    for changed in flipped_bits(whole):
        path.write_bytes(changed)
        try:
            assert read_metrics(path) == rows, changed
        except StoreError:
            refused += 1
    assert refused > 6 * len(whole)


def test_rows_of_an_earlier_version_are_read_and_sealed_by_a_resume(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({**ROW, "iteration": 1}) + "\n")
    assert read_metrics(path) == [{**ROW, "iteration": 1}]
    with MetricsLog(path, after=1):
        pass
    assert list(json.loads(path.read_text()))[-1] == "checksum"
    assert documents.rows(path) == [{**ROW, "iteration": 1}]
