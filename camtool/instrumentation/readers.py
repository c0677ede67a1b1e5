"""What reads which tensor while a network runs: its module calls in order, and the functions that take each tensor."""

from collections.abc import Callable
from contextlib import ExitStack
from itertools import filterfalse
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.module_state import is_scripted
from camtool.instrumentation.nested import tensors_in
from camtool.instrumentation.traversal import modules_of


def run_noting_calls(model: nn.Module, inputs: Inputs, note: Callable[[nn.Module, Any, Any], None]) -> None:
    """Run the network once and call `note` with the module, arguments and output of every module call, in order of their ends."""
    with ExitStack() as stack:
        for module in filterfalse(is_scripted, modules_of(model)):
            stack.callback(module.register_forward_hook(note).remove)
        inputs.run(model)


class Readers(TorchFunctionMode):
    """Counts, while entered, the functions that compute tensors from each of the tensors in `of`, by the tensor's id.

    Args:
        shapes: count what asks for a shape, or another property, as well.
    """

    def __init__(self, *, shapes: bool = False) -> None:
        super().__init__()
        self.of: dict[int, int] = {}
        self._shapes = shapes

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        parts = output if isinstance(output, (tuple, list)) else [output]
        if self._shapes or any(isinstance(part, Tensor) for part in parts):
            for number in {id(tensor) for tensor in tensors_in((args, kwargs or {}))} & self.of.keys():
                self.of[number] += 1
        return output
