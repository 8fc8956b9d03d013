from __future__ import annotations

from pathlib import Path

from ast_ray.telemetry.metrics import MetricsLog, read_metrics


def iterations(path: Path) -> list[int]:
    return [row["iteration"] for row in read_metrics(path)]


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "distill" / "metrics.jsonl"
    rows = [{"iteration": 1, "loss": 0.1 + 0.2, "parts": [1.0, 2.0]}, {"iteration": 2, "loss": 1e-300}]
    with MetricsLog(path, after=0) as log:
        for row in rows:
            log.append(row)
        assert read_metrics(path) == rows  # flushed row by row
    assert read_metrics(path) == rows


def test_a_resume_cuts_back_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, after=0) as log:
        for number in range(1, 6):
            log.append({"iteration": number, "try": 1})
    with MetricsLog(path, after=3) as log:
        assert iterations(path) == [1, 2, 3]
        log.append({"iteration": 4, "try": 2})
    assert iterations(path) == [1, 2, 3, 4]
    assert read_metrics(path)[3]["try"] == 2


def test_a_half_written_line_is_left_out_and_replaced(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"iteration": 1}\n{"iteration": 2}\n{"iterat')
    assert iterations(path) == [1, 2]
    with MetricsLog(path, after=2) as log:
        log.append({"iteration": 3})
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
