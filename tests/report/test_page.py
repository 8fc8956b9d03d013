from __future__ import annotations

import dataclasses
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ast_ray.report.page import LIMIT, _state, render
from ast_ray.report.records import read_run
from ast_ray.telemetry.failure import Failure
from tests import documents

HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&"


class Elements(HTMLParser):
    """Every element with its attributes, and the text outside script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._inside = "", ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="module")
def page(run: Path) -> str:
    return render([read_run(run)])


def test_nothing_is_loaded_from_outside(page: str) -> None:
    elements = Elements(page).found
    for tag, attributes in elements:
        for name in ("src", "href", "data", "srcset", "action"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, value)
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(", page)
    policy = next(a["content"] for t, a in elements if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_alpha_is_told_where_it_is_learned(run: Path) -> None:
    record = read_run(run)
    for method in record.methods:
        assert method.outcome
        told = f"%, alpha {method.outcome['student_lr']:.4g}"
        assert told in _state(method)
        assert "alpha" not in _state(dataclasses.replace(method, name="dm"))
        assert told in _state(dataclasses.replace(method, name="of-another-version"))


def test_every_picture_and_control_has_a_name(page: str) -> None:
    elements = Elements(page).found
    images = [attributes for tag, attributes in elements if tag == "img"]
    assert len(images) == 2 * 2 * 10
    assert all(attributes["alt"] for attributes in images)
    labelled = {attributes.get("for") for tag, attributes in elements if tag == "label"}
    sliders = [attributes for tag, attributes in elements if tag == "input"]
    assert len(sliders) == 2
    assert all(attributes["id"] in labelled for attributes in sliders)
    identifiers = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))


def test_it_tells_what_the_files_say(run: Path, page: str) -> None:
    text = Elements(page).text
    results = documents.content(run / "results.json")
    for row in results["rows"]:
        assert f"{100 * row['mean']:.1f} ± {100 * row['std']:.1f}" in text
    outcome = documents.content(run / "distill" / "ast" / "outcome.json")
    assert f"published: iteration {outcome['best_iteration']}" in text
    assert "ast-ray run --preset digits" in text
    assert "syn_steps: 4" in text
    assert "network.width: 4 here; preset: 32" in text
    assert "The paper: Table IV, CIFAR-10, 50 images per class" in text
    assert "not comparable" in text


def test_charts_of_the_paper_are_there(page: str) -> None:
    titles = re.findall(r"<title id=[^>]*>([^<]*)</title>", page)
    assert "Expert accuracy against Avg_Var" in titles
    assert [title for title in titles if title.startswith("Features of class")] == [
        f"Features of class {label}" for label in range(3)
    ]


def test_texts_from_files_cannot_break_out(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "hostile")
    place = tmp_path / "hostile"
    manifest = documents.content(place / "manifest.json")
    manifest["classes"] = [HOSTILE] * 10
    manifest["commands"][0]["command"] = ["ast-ray", HOSTILE]
    manifest["commands"][0]["environment"][HOSTILE] = HOSTILE
    (place / "manifest.json").write_text(json.dumps(manifest))
    results = documents.content(place / "results.json")
    results["rows"][0]["set"] = results["rows"][0]["network"] = HOSTILE
    results["failed"] = [Failure(HOSTILE, "evaluation", HOSTILE, HOSTILE, HOSTILE, True, network=HOSTILE).row()]
    (place / "results.json").write_text(json.dumps(results))
    outcome = documents.content(place / "distill" / "ast" / "outcome.json")
    (place / "distill" / "ast" / "outcome.json").write_text(json.dumps({**outcome, "warning": HOSTILE}))
    features = documents.content(place / "features.json")
    features["classes"][0]["name"] = HOSTILE
    (place / "features.json").write_text(json.dumps(features))
    record = dataclasses.replace(read_run(place), name=HOSTILE, settings=HOSTILE)
    page = render([record, record], notes={str(place): [HOSTILE]})
    elements = Elements(page).found
    assert not any("onerror" in attributes for _, attributes in elements)
    assert not any(attributes.get("src") == "x" for _, attributes in elements)
    assert "<script>alert" not in page
    assert len([tag for tag, _ in elements if tag == "script"]) == 5


def test_a_begun_run_says_so(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "begun")
    for name in ("results.json", "features.json", "manifest.json"):
        (tmp_path / "begun" / name).unlink()
    shutil.rmtree(tmp_path / "begun" / "distill")
    shutil.rmtree(tmp_path / "begun" / "experts")
    text = Elements(render([read_run(tmp_path / "begun")])).text
    assert "Not finished." in text
    assert "AST: iteration 0 of 6, not finished" in text


def test_a_warning_of_the_run_is_shown(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "warned")
    file = tmp_path / "warned" / "distill" / "ast" / "outcome.json"
    file.write_text(json.dumps({**documents.content(file), "warning": "the loss stays near 1"}))
    assert "the loss stays near 1" in Elements(render([read_run(tmp_path / "warned")])).text


def test_many_large_images_stay_within_the_limit(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "large")
    manifest = documents.content(tmp_path / "large" / "manifest.json")
    (tmp_path / "large" / "manifest.json").write_text(json.dumps({**manifest, "image_shape": [3, 32, 32]}))
    shutil.rmtree(tmp_path / "large" / "distill" / "mtt" / "snapshots")
    pixels = np.random.default_rng(0).integers(0, 256, (50 * 32, 5 * 32, 3), dtype=np.uint8)
    for file in (tmp_path / "large" / "distill" / "ast" / "snapshots").iterdir():
        Image.fromarray(pixels).save(file, compress_level=1)
    assert len(render([read_run(tmp_path / "large")]).encode()) < LIMIT


def test_several_runs_are_set_side_by_side(run: Path) -> None:
    record = read_run(run)
    distill = dataclasses.replace(record.config.distill, rho=0.5)
    other = dataclasses.replace(record, name="other", config=dataclasses.replace(record.config, distill=distill))
    text = Elements(render([record, other])).text
    assert "Runs side by side" in text
    assert "distill.rho = 0.5" in text
    assert "Runs side by side" not in Elements(render([record])).text


def test_the_results_are_followed_by_what_they_decide(run: Path, tmp_path: Path) -> None:
    verdicts = documents.content(run / "results.json")["verdicts"]
    assert verdicts
    text = Elements(render([read_run(run)])).text
    places = [text.index(f"{verdict['text']}.") for verdict in verdicts]
    assert places == sorted(places)
    shutil.copytree(run, tmp_path / "run")
    results = documents.content(run / "results.json")
    results["verdicts"] = [{"text": HOSTILE}]
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))
    assert HOSTILE not in render([read_run(tmp_path / "run")])
    del results["verdicts"]  # a run of a version that gave none
    (tmp_path / "run" / "results.json").write_text(json.dumps(results))
    assert "95 % interval" not in render([read_run(tmp_path / "run")])
