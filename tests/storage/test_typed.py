from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

from ast_ray.storage.typed import Bounds, Count, Number, Share, checked


class Inner(TypedDict):
    name: str
    points: list[list[Number]]


class Whole(TypedDict):
    count: Count
    share: Share | None
    kind: Literal["one", "two"]
    inner: list[Inner]
    more: NotRequired[dict[str, Any]]
    side: NotRequired[Annotated[int, Bounds(1, 8)]]


GOOD: dict[str, Any] = {
    "count": 3,
    "share": 1,
    "kind": "one",
    "inner": [{"name": "a", "points": [[1, 2.5]], "later": 3}],
    "unknown": "kept",
}


def test_a_value_of_the_type_is_returned_as_it_is_with_what_is_not_known() -> None:
    assert checked(GOOD, Whole) is GOOD
    assert checked({**GOOD, "share": None, "more": {"x": [1]}, "side": 8}, Whole)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"count": True}, "count = True: expected a whole number"),
        ({"count": 1.0}, "count = 1.0: expected a whole number"),
        ({"count": -1}, "count = -1: expected a number from 0 to"),
        ({"share": 1.5}, "share = 1.5: expected a number from 0 to 1"),
        ({"share": "0.5"}, "share = '0.5': expected a number"),
        ({"share": float("nan")}, "share = nan: expected a number from 0 to 1"),
        ({"kind": "three"}, "kind = 'three': expected one of one, two"),
        ({"inner": {}}, "inner = {}: expected a list"),
        ({"inner": [None]}, "inner[0] = None: expected an object"),
        ({"inner": [{"name": "a"}]}, "inner[0].points is missing"),
        ({"inner": [{"name": "a", "points": [[1, 1e200]]}]}, "inner[0].points[0][1] = 1e+200: expected a number from"),
        ({"more": []}, "more = []: expected an object"),
        ({"side": 9}, "side = 9: expected a number from 1 to 8"),
        ({"kind": "x" * 100}, "kind = 'xxxx"),
    ],
)
def test_the_first_place_that_differs_is_named(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError) as caught:
        checked({**GOOD, **changed}, Whole)
    assert str(caught.value).startswith(told)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("value", [None, 3, "text", [], True])
def test_what_is_no_object_at_all(value: object) -> None:
    with pytest.raises(ValueError, match="expected an object"):
        checked(value, Whole)


def test_a_missing_name() -> None:
    with pytest.raises(ValueError, match="count is missing"):
        checked({}, Whole)
