"""A network's embedding, what its last linear layer turns into scores, as its output."""

from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.errors import TargetError
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.module_state import eager, evaluating
from camtool.targets import find_logits
from camtool.targets.output import described

_TOLERANCE = 1e-5  # relative; what follows the layer may cast, clone or squeeze, not compute


class EmbeddingOutput:
    """While a `with` block lasts, `model` gives its embedding (n, c) instead of its scores; forward hooks, gone afterwards.

    The embedding is the input of the linear layer whose output is the scores. It is recognised by what it gives, not by its name: a
    head with more behind it (a mean of two heads, a normalisation) has none, and the scores themselves are taken.

    Args:
        model: any network whose output holds scores (n, classes).
        reference: inputs of the reference picture, one sample.

    Raises:
        TargetError: if there are no scores in the output, or they are not (1, classes).
    """

    reference: Float[Tensor, " c"]
    """The reference picture's embedding."""
    source: str
    """What the embedding is: "input of 'head.fc'", or "scores"."""
    logits: Float[Tensor, "n classes"] | None = None
    """The scores that the first pass in the block would have given; None where they are what it gave."""

    def __init__(self, model: nn.Module, reference: Inputs) -> None:
        self._model = eager(model)
        self._seen: dict[str, tuple[Tensor, Tensor]] = {}
        self._path = ""
        self._hooks = ExitStack()
        paths = [path for path, module in self._model.named_modules() if isinstance(module, nn.Linear)]
        with torch.inference_mode(False), torch.no_grad():  # as the engine: an inference tensor is of no use to a graph
            with evaluating(self._model), self._watching(paths):
                logits = find_logits(reference.detached().run(self._model), batch=1)
            if not isinstance(logits, Tensor) or logits.ndim != 2:
                raise TargetError(f"An embedding needs a network that gives (1, classes) or (1, c), got {described(logits)}.")
            for path, (given, found) in self._seen.items():
                if given.ndim == 2 and len(given) == 1 and _same(found, logits):
                    self._path = path  # of several the last called
            self.source = f"input of '{self._path}'" if self._path else "scores"
            self.reference = (self._seen[self._path][0] if self._path else logits)[0].clone()
        self._seen.clear()

    def __enter__(self) -> "EmbeddingOutput":
        self._hooks = self._watching([self._path] if self._path else [])
        # A function, not a method: a deep copy of the network (speed) shares it.
        handle = self._model.register_forward_hook(lambda *called: self._replace(*called))  # noqa: PLW0108
        self._hooks.callback(handle.remove)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._hooks.close()
        self._seen.clear()

    def _watching(self, paths: list[str]) -> ExitStack:
        stack = ExitStack()
        for path in paths:

            def keep(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any], found: Tensor, path: str = path) -> None:
                self._seen.pop(path, None)  # to the end: in the order of the last calls
                self._seen[path] = (given[0] if given else named["input"], found)

            stack.callback(self._model.get_submodule(path).register_forward_hook(keep, with_kwargs=True).remove)
        return stack

    def _replace(self, module: nn.Module, given: tuple[Any, ...], output: Any) -> Tensor | None:
        if self._path:
            embedding, found = self._seen[self._path]
            if self.logits is None:
                self.logits = found.detach()
            return embedding
        return None


def _same(found: Tensor, logits: Tensor) -> bool:
    if found.numel() != logits.numel():
        return False
    difference = (found.reshape(logits.shape).to(logits.dtype) - logits).abs().amax()
    return bool(difference <= _TOLERANCE * logits.abs().amax())
