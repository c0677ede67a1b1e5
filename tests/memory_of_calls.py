"""Memory of many calls of every method, with the garbage collector switched off.

`python -m tests.memory_of_calls --calls 200`
"""

import argparse
import gc
import warnings
from typing import NamedTuple

from torch import Tensor

from camtool import CAM
from camtool.errors import CamtoolWarning
from tests.methods.kinds import NAMES
from tests.methods.test_memory import WRAPPED, network


class Growth(NamedTuple):
    """What is in memory after the calls beyond what was there after the first ones."""

    tensors: int
    kilobytes: int


def growth_of(name: str, calls: int) -> Growth:
    """Return the growth of `calls` calls of a method after ten that fill caches."""
    model, inputs, layers = network(name)
    cam = CAM(model, layers, name)
    for _ in range(10):
        cam(inputs, 1)
    gc.collect()
    gc.disable()
    try:
        tensors, memory = _tensors(), _resident()
        for _ in range(calls):
            cam(inputs, 1)
        return Growth(_tensors() - tensors, _resident() - memory)
    finally:
        gc.enable()


def _tensors() -> int:
    return sum(issubclass(type(found), Tensor) for found in gc.get_objects())


def _resident() -> int:
    with open("/proc/self/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", CamtoolWarning)
    for name in [*NAMES, *WRAPPED]:
        print(name, growth_of(name, arguments.calls), flush=True)


if __name__ == "__main__":
    main()
