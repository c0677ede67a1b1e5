"""Every public function of `camtool.metrics` with a wrong value for each of its arguments: prints what is not one line of camtool's.

A program of its own, as users' are: the tests' checks of types would refuse most values before the functions see them.
"""

import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camtool import metrics
from camtool.errors import DataError, TargetError

VALUES: list[Any] = [
    None,
    1.5,
    np.float32(1.5),
    "blurr",
    "",
    True,
    -1,
    float("nan"),
    float("inf"),
    2**80,
    [],
    [[1], [2, 3]],
    object(),
    b"x",
]
WHOLE = {"step", "seed", "batch_size", "samples", "runs", "subset", "bins", "version"}
"""Arguments that take whole numbers."""
OF_ITS_OWN = {"targets", "labels", "mosaic.samples"}
"""Arguments of other rooms, or whose values are nearly anything."""


class Network(nn.Sequential):
    """Three scores of a signal."""

    def __init__(self) -> None:
        super().__init__(nn.Conv1d(1, 2, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(4), nn.Flatten(), nn.Linear(8, 3))


def of_inputs(inputs: Tensor, targets: list[Any]) -> Tensor:
    return inputs.sum(dim=1)


def of_network(network: nn.Module, inputs: Tensor, targets: list[Any]) -> Tensor:
    return inputs.sum(dim=1)


def arguments_of(name: str) -> dict[str, Any]:
    """Return the required arguments of a function."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.rand(2, 1, 12, generator=generator)
    of_network_name = {"explain": of_network if name in ("emprt", "randomisation") else of_inputs}
    known: dict[str, Any] = {"model": Network().eval(), "inputs": inputs, "maps": torch.rand(2, 12, generator=generator)}
    known |= {"masks": torch.arange(24).reshape(2, 12) % 3 == 0, "scores": [0.5, 1.0], "labels": ["a", "b"], "shape": (2, 5)}
    known |= {"cells": np.array([[True, False], [False, True]]), "values": np.arange(9.0), "boxes": [[[[1, 4]]], [[[2, 6]]]]}
    known |= {"samples": torch.rand(4, 1, 6, generator=generator), "grid": (2,)} if name == "mosaic" else {}
    required = [key for key, one in inspect.signature(getattr(metrics, name)).parameters.items() if one.default is inspect.Parameter.empty]
    return {key: (known | of_network_name)[key] for key in required}


def functions() -> Iterator[str]:
    yield from (name for name in metrics.__all__ if inspect.isfunction(getattr(metrics, name)))


def is_one_line(error: Exception) -> bool:
    words = str(error)
    return isinstance(error, (DataError, TargetError)) and "xpected" in words and "\n" not in words


def offences() -> Iterator[str]:
    """Yield each call that raises what is no line of camtool's, or takes NumPy's whole numbers for something else than Python's."""
    for name in functions():
        function, required = getattr(metrics, name), arguments_of(name)
        function(**required)
        for key in inspect.signature(function).parameters:
            if key in OF_ITS_OWN or f"{name}.{key}" in OF_ITS_OWN:
                continue
            for value in VALUES:
                try:
                    function(**{**required, key: value})
                except Exception as error:  # noqa: BLE001 - whatever it is
                    if not is_one_line(error):
                        yield f"{name}({key}={value!r}): {type(error).__name__}: {error}"
                else:
                    if key in WHOLE and not (value is None or (isinstance(value, int) and value == -1) or key == "step"):
                        yield f"{name}({key}={value!r}) passes"
            if key in WHOLE and f"{name}.{key}" not in ("pxap.step", "max_box_accuracy.step"):
                expected, found = (function(**{**required, key: kind(2)}) for kind in (int, np.int64))
                if repr(expected) != repr(found):
                    yield f"{name}({key}=np.int64(2)) is not that of 2"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for offence in offences():
        print(offence, flush=True)
