from __future__ import annotations

from ast_ray.ray_backend.tune.expert_leases import BROKEN, READY, TRAIN, WAIT, Answer, Leases

BUFFER = "b"


def test_each_missing_expert_goes_to_one_holder() -> None:
    leases = Leases(patience=10)
    answers = [leases.ask(BUFFER, [0, 1], holder, 0.0) for holder in "xyz"]
    assert answers == [Answer(TRAIN, 0), Answer(TRAIN, 1), Answer(WAIT)]


def test_a_complete_buffer_is_ready_whoever_asks() -> None:
    assert Leases(patience=10).ask(BUFFER, [], "x", 0.0) == Answer(READY)


def test_buffers_do_not_disturb_each_other() -> None:
    leases = Leases(patience=10)
    assert leases.ask("a", [0], "x", 0.0) == leases.ask("b", [0], "y", 0.0) == Answer(TRAIN, 0)


def test_a_restarted_holder_gets_its_expert_back() -> None:
    leases = Leases(patience=10)
    leases.ask(BUFFER, [0], "x", 0.0)
    assert leases.ask(BUFFER, [0], "x", 1.0) == Answer(TRAIN, 0)


def test_a_silent_holder_loses_its_expert_and_a_beating_one_does_not() -> None:
    leases = Leases(patience=10)
    leases.ask(BUFFER, [0], "x", 0.0)
    leases.beat(BUFFER, 0, "x", 8.0)
    assert leases.ask(BUFFER, [0], "y", 17.0).kind == WAIT
    assert leases.ask(BUFFER, [0], "y", 18.5) == Answer(TRAIN, 0)
    leases.beat(BUFFER, 0, "x", 19.0)
    assert leases.ask(BUFFER, [0], "z", 20.0).kind == WAIT


def test_what_a_dead_holder_held_is_free_at_once() -> None:
    leases = Leases(patience=10)
    leases.ask(BUFFER, [0], "x", 0.0)
    leases.drop("x")
    assert leases.ask(BUFFER, [0], "y", 0.1) == Answer(TRAIN, 0)


def test_a_restarted_keeper_learns_from_beats() -> None:
    leases = Leases(patience=10)
    leases.beat(BUFFER, 0, "x", 0.0)
    assert leases.ask(BUFFER, [0], "y", 1.0).kind == WAIT


def test_only_the_holder_can_give_an_expert_back() -> None:
    leases = Leases(patience=10)
    leases.ask(BUFFER, [0], "x", 0.0)
    leases.done(BUFFER, 0, "y")
    assert leases.ask(BUFFER, [0], "y", 1.0).kind == WAIT
    leases.done(BUFFER, 0, "x")
    assert leases.ask(BUFFER, [0], "y", 1.0).kind == TRAIN


def test_a_buffer_that_cannot_be_trained_is_told_to_all() -> None:
    leases = Leases(patience=10)
    leases.give_up(BUFFER, "diverged in epoch 3")
    assert leases.ask(BUFFER, [0], "x", 0.0) == Answer(BROKEN, reason="diverged in epoch 3")
