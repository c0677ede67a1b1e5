"""The embedding of a network, the input of its last linear layer, as its output."""

from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.errors import TargetError
from camtool.instrumentation.calls import ThreadHook, only_call
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.module_state import eager, evaluating
from camtool.targets import find_part, scores_in, with_part
from camtool.targets.output import described

_TOLERANCE = 1e-5  # relative; what follows the layer may cast, clone or squeeze, not compute


class EmbeddingOutput:
    """Makes `model` return its embedding (n, c) instead of its scores inside a `with` block, by forward hooks.

    The embedding is the input of the linear layer whose output equals the scores. The layer is found by its output, not by its name: a
    head with more behind it (a mean of two heads, a normalisation) has no such layer, and the scores themselves are the embedding.

    Args:
        model: any network whose output holds scores (n, classes).
        reference: inputs of the reference picture (1, c, *spatial).

    Raises:
        TargetError: if there are no scores in the output, or they are not (1, classes).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.instrumentation.embedding import EmbeddingOutput
        >>> from camtool.instrumentation.inputs import find_inputs
        >>> model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
        >>> with EmbeddingOutput(model, find_inputs(torch.ones(1, 3, 8, 8))) as embedding:
        ...     embedding.source, model(torch.ones(2, 3, 8, 8)).shape
        ("input of '2'", torch.Size([2, 3]))
    """

    reference: Float[Tensor, " c"]
    """The reference picture's embedding."""
    source: str
    """Where the embedding is taken: "input of 'head.fc'", or "scores"."""
    logits: dict[int, Float[Tensor, "n classes"]]
    """By batch size the scores that the first pass of such a batch in the block would have given; empty where they are what it gave."""

    def __init__(self, model: nn.Module, reference: Inputs) -> None:
        self._model = eager(model)
        self._output = reference.output
        self._calls: dict[str, tuple[Tensor, Tensor]] = {}
        self._path = ""
        self.logits = {}
        self._hooks = ExitStack()
        paths = [path for path, module in self._model.named_modules() if isinstance(module, nn.Linear)]
        # As in the engine: an inference tensor cannot be part of a graph.
        with only_call(self._model), torch.inference_mode(False), torch.no_grad():
            with evaluating(self._model), self._watching(paths):
                logits = scores_in(reference.detached().run(self._model), batch=1)
            if not isinstance(logits, Tensor) or logits.ndim != 2:
                raise TargetError(f"Expected a network with an output (1, classes) or (1, c) for an embedding, got {described(logits)}.")
            for path, (layer_input, layer_output) in self._calls.items():
                if layer_input.ndim == 2 and len(layer_input) == 1 and _same(layer_output, logits):
                    self._path = path  # of several layers the one called last
            self.source = f"input of '{self._path}'" if self._path else "scores"
            self.reference = (self._calls[self._path][0] if self._path else logits)[0].clone()
        self._calls.clear()

    def __enter__(self) -> "EmbeddingOutput":
        with only_call(self._model):  # which takes the hooks away again if this is interrupted
            self._hooks = self._watching([self._path] if self._path else [])
            handle = self._model.register_forward_hook(ThreadHook(self._replace))
            self._hooks.callback(handle.remove)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._hooks.close()
        self._calls.clear()

    def _watching(self, paths: list[str]) -> ExitStack:
        stack = ExitStack()
        for path in paths:

            def keep(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], output: Tensor, path: str = path) -> None:
                self._calls.pop(path, None)  # moved to the end: in the order of the last calls
                self._calls[path] = (arguments[0] if arguments else keywords["input"], output)

            stack.callback(self._model.get_submodule(path).register_forward_hook(ThreadHook(keep), with_kwargs=True).remove)
        return stack

    def _replace(self, module: nn.Module, arguments: tuple[Any, ...], output: Any) -> Any:
        if self._path:
            embedding, scores = self._calls[self._path]
            self.logits.setdefault(len(scores), scores.detach())
            return with_part(output, find_part(output, self._output)[0], embedding)
        return None


def _same(output: Tensor, logits: Tensor) -> bool:
    if output.numel() != logits.numel():
        return False
    difference = (output.reshape(logits.shape).to(logits.dtype) - logits).abs().amax()
    return bool(difference <= _TOLERANCE * logits.abs().amax())
