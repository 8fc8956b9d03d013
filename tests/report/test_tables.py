from __future__ import annotations

import dataclasses
from pathlib import Path

from ast_ray.report import tables
from ast_ray.report.figures import running_mean
from ast_ray.report.page import render
from ast_ray.report.records import RunRecord, read_run


def with_settings(record: RunRecord, **distill: object) -> RunRecord:
    changed = dataclasses.replace(record.config.distill, **distill)  # type: ignore[arg-type]
    return dataclasses.replace(record, config=dataclasses.replace(record.config, distill=changed))


def test_running_mean_uses_fewer_values_at_the_ends() -> None:
    assert running_mean([1.0, 2.0, 6.0, 3.0], 3) == [1.5, 3.0, 11 / 3, 4.5]


def test_percent_shows_the_deviation_only_when_there_is_one() -> None:
    assert tables.percent(0.12345, 0.0061) == "12.3 ± 0.6"
    assert tables.percent(0.12345) == "12.3"
    assert tables.percent(None) == "–"


def test_bars_end_within_the_scale() -> None:
    row = {"set": "ast", "network": "convnet", "protocol": "strict", "mean": 0.99, "std": 0.03, "n": 2, "images": 10}
    (line,) = tables.results([row])
    assert line["bar"]["high"] == 100.0
    assert line["bar"]["low"] == 96.0


def test_scores_get_columns_and_peak_says_what_it_is() -> None:
    base = {"set": "ast", "network": "vgg11-bn", "protocol": "strict", "mean": 0.5, "std": None, "n": 1, "images": 10}
    rows = [{**base, "ior": 0.256, "lrs": 0.31249}, {**base, "protocol": "peak"}]
    assert tables.score_titles(rows) == ["IOR %", "LRS"]
    first, second = tables.results(rows)
    assert (first["network"], first["scores"], second["scores"]) == ("VGG-11-bn", ["25.6", "0.312"], ["–", "–"])
    assert second["protocol"] == "peak: best pass on the test set"


def test_other_architectures_stand_beside_the_papers_columns(run: Path) -> None:
    record = read_run(run)
    extra = {"set": "ast", "network": "vgg11", "protocol": "strict", "mean": 0.5, "std": 0.125, "n": 3}
    table = tables.architectures(dataclasses.replace(record, rows=[*record.rows, extra]))
    assert table["networks"] == ["ConvNet", "ResNet-18", "VGG-11", "AlexNet"]
    ours = next(line["cells"] for line in table["ours"] if line["title"] == "AST")
    assert ours[1:] == ["–", "50.0 ± 12.5", "–"]
    paper = next(line["cells"] for line in table["paper"] if line["title"] == "AST")
    assert paper == ["74.6±0.5", "67.3±0.4", "60.3±0.5", "56.7±0.3"]
    assert table["several"]
    assert not table["comparable"]


def test_the_papers_accuracy_is_shown_for_the_same_data_only(run: Path) -> None:
    record = read_run(run)
    assert tables.paper_accuracy(record) is None
    data = dataclasses.replace(record.config.data, source="cifar10")
    same = dataclasses.replace(record, config=dataclasses.replace(record.config, data=data))
    assert tables.paper_accuracy(with_settings(same, ipc=2)) is None
    found = tables.paper_accuracy(with_settings(same, ipc=10))
    assert found is not None
    assert found["cells"]["AST"] == "67.1±0.4"


def test_ablation_names_what_differs_and_the_distance(run: Path) -> None:
    record = read_run(run)
    better = [{**row, "mean": row["mean"] + 0.05} if row["set"] == "ast" else row for row in record.rows]
    other = dataclasses.replace(with_settings(record, rho=0.5), rows=better, name="other")
    assert tables.varied([record, other]) == {"distill.rho": [0.01, 0.5]}
    table = tables.ablation([record, other])
    lines = table["lines"]
    assert [(line["run"], line["method"]) for line in lines] == [
        ("first", "AST"),
        ("first", "MTT"),
        ("other", "AST"),
        ("other", "MTT"),
    ]
    assert lines[2]["settings"] == ["distill.rho = 0.5"]
    assert table["settings"] == [{"name": "distill.rho", "values": ["0.01", "0.5"]}]
    assert [line["difference"] for line in lines] == ["–", "–", "+5.0", "+0.0"]


def test_no_distance_between_different_data(run: Path) -> None:
    record = read_run(run)
    other = dataclasses.replace(record, manifest={**record.manifest, "data_id": "another"})
    assert {line["difference"] for line in tables.ablation([record, other])["lines"]} == {"–"}


def test_rows_of_sets_with_soft_labels_are_marked_in_every_table(run: Path) -> None:
    record = read_run(run)
    plain = [tables.results(record.rows), tables.architectures(record), tables.ablation([record, record])]
    assert not any("†" in str(table) or "‡" in str(table) for table in plain)
    rows = [{**row, "targets": "soft"} if row["set"] == "ast" else row for row in record.rows]
    marked = dataclasses.replace(record, rows=rows)
    assert {line["set"] for line in tables.results(rows)} >= {"AST†", "MTT"}
    ours = tables.architectures(marked)
    assert any("†" in cell for line in ours["ours"] if line["title"] == "AST" for cell in line["cells"])
    assert not any("†" in cell for line in ours["ours"] if line["title"] == "MTT" for cell in line["cells"])
    side = tables.ablation([marked, marked])
    assert {line["method"]: "†" in line["test"] for line in side["lines"]} == {"AST": True, "MTT": False}
    for table in (ours, side):
        assert [note[0] for note in table["notes"]] == ["†"]
    page = render([marked, marked])
    assert page.count("† soft labels: the set has them, and networks are trained on them.") == 5
