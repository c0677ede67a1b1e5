"""What the checks of types and shapes find, in each kind of function; camtool's own functions have them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from torch import Tensor

from camtool.functional import resize
from tests.type_checks import checked


@checked
def add(one: Float[Tensor, "n c"], other: Float[Tensor, "n c"]) -> Float[Tensor, "n"]:
    return (one + other).sum(1) if len(one) > 1 else one


@checked
def double(count: int, *names: str, sign: int = 1) -> int:
    return 2 * count * sign if count else "none"  # type: ignore[return-value]


@checked
def numbers(start: int, maps: Float[Tensor, "n c"] | None = None) -> Iterator[int]:
    yield from range(start)


@checked
def named(later: "Later | None", known: "dict[str, int]") -> "Later | None":  # type: ignore[name-defined]
    return later


class Lists:
    @checked
    def listed(self, some: "list[int]", others: list["Pair"]) -> int:  # in quotes within the hint, of a class that comes later
        return len(some) + len(others)


@checked
@dataclass(frozen=True)
class Pair:
    maps: Float[Tensor, "n c"]
    weights: Float[Tensor, "n"]
    name: str = ""


def inner(of: type) -> Callable[..., Any]:
    @checked
    def taken(value: of, maps: Float[Tensor, "*n"], others: Float[Tensor, "*n"]) -> of:  # type: ignore[valid-type]
        return value if len(maps) else None

    return taken


ONES, MORE = torch.ones(2, 3), torch.ones(4, 3)


def test_what_is_as_annotated_passes() -> None:
    assert add(ONES, ONES).tolist() == [
        6,
        6,
    ]
    assert double(2, "one", sign=-1) == -4
    assert list(numbers(2, ONES)) == [0, 1]
    assert named(3, {"one": 1}) == 3  # what does not exist when a function is defined is anything, as with jaxtyping
    assert Lists().listed([1], [Pair(ONES, torch.ones(2), "pair")]) == 2
    for kind, value in ((int, 1), (str, "one"), (int, 2)):
        assert inner(kind)(value, ONES, ONES) == value


@pytest.mark.parametrize(
    "call",
    [
        lambda: add(ONES, MORE),  # each is a matrix, but not both of the same axes
        lambda: add(ONES, ONES.long()),
        lambda: add(other=torch.ones(3), one=ONES),
        lambda: add(ONES[:1], ONES[:1]),  # what is returned has two axes
        lambda: double("two"),  # type: ignore[arg-type]
        lambda: double(2, "one", 2),  # type: ignore[arg-type]
        lambda: double(2, sign=None),  # type: ignore[arg-type]
        lambda: double(0),
        lambda: numbers("two"),  # type: ignore[arg-type] # before the first number is asked for
        lambda: numbers(2, torch.ones(3)),
        lambda: named(3, {"one": "two"}),  # type: ignore[dict-item]
        lambda: Lists().listed(["one"], []),  # type: ignore[list-item]
        lambda: Pair(ONES, torch.ones(3)),
        lambda: Pair(ONES, torch.ones(2), name=3),  # type: ignore[arg-type]
        lambda: inner(int)("one", ONES, ONES),
        lambda: inner(str)(1, ONES, ONES),  # the same code as above, of another type
        lambda: inner(int)(1, ONES, MORE),
        lambda: inner(int)(1, ONES[:0], ONES[:0]),
        lambda: resize("maps", (3, 3)),  # type: ignore[arg-type]
    ],
)
def test_what_is_not_as_annotated_is_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(TypeCheckError):
        call()


def test_axes_of_one_call_are_not_those_of_another() -> None:
    @checked
    def outer(maps: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        assert add(MORE, MORE).shape == (4,)
        return maps

    assert outer(ONES) is ONES
    assert outer(MORE) is MORE
