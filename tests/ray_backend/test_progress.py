from __future__ import annotations

import pytest

from ast_ray.ray_backend import progress as module
from ast_ray.ray_backend.progress import BoardSink, ProgressHub, forward, open_board
from ast_ray.telemetry.progress import Update
from tests.recorder import Recorder


def test_the_latest_update_of_a_job_replaces_older_ones() -> None:
    board = ProgressHub()
    for done in (1, 2):
        board.post(Update("a", done, 3))
    board.post(Update("b", 1, 1))
    board.say("hello")
    assert board.take() == ([Update("a", 2, 3), Update("b", 1, 1)], ["hello"])
    assert board.take() == ([], [])


class _Method:
    def __init__(self) -> None:
        self.calls: list[object] = []

    def remote(self, value: object) -> None:
        self.calls.append(value)


class _Board:
    def __init__(self) -> None:
        self.post = _Method()


def test_a_worker_posts_a_few_times_a_second_but_always_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    board = _Board()
    sink = BoardSink(board)
    for done in (1, 2):
        sink.update(Update("a", done, 9))
    now = 101.0
    sink.update(Update("a", 3, 9))
    sink.update(Update("a", 9, 9))
    assert [update.done for update in board.post.calls] == [1, 3, 9]  # type: ignore[attr-defined]


@pytest.mark.ray
def test_what_workers_post_reaches_the_driver(local_ray: None) -> None:
    import ray

    board, sink = open_board(), Recorder()
    worker = BoardSink(board)
    worker.say("read this")
    worker.update(Update("a", 3, 3, "note"))
    forward(board, sink)
    assert sink.messages == ["read this"]
    assert sink.updates == [Update("a", 3, 3, "note")]
    ray.kill(board)
