"""Recurrent layers: which they are, and their backward pass in eval mode, which cuDNN's (and MIOpen's) have in train mode alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from camtool.instrumentation.convolutional import last_layer

_KERNELS = ("lstm", "gru", "rnn_tanh", "rnn_relu")
_TRAIN = 6
"""Place of the argument `train` behind (input, hx, params, has_biases, num_layers, dropout)."""


def is_recurrent(model: nn.Module, path: str) -> bool:
    """Return whether the module at a canonical path ends in a recurrent layer, or stands right behind one without weights of its own.

    Such a layer has a state for each step of its input, and none besides.

    Example:
        >>> from torch import nn
        >>> from camtool.instrumentation.recurrent import is_recurrent
        >>> model = nn.Sequential(nn.Conv1d(1, 4, 3), nn.GRU(4, 4), nn.Dropout())
        >>> is_recurrent(model, "[0]"), is_recurrent(model, "[1]"), is_recurrent(model, "[2]")
        (False, True, True)
    """
    return isinstance(last_layer(model, path), nn.RNNBase)


def recurrent_paths(model: nn.Module, modules: Mapping[str, nn.Module]) -> set[str]:
    """Return the paths of recurrent layers, and of what stands right behind one; looked for only in a network that has some.

    Example:
        >>> from torch import nn
        >>> from camtool.instrumentation.recurrent import recurrent_paths
        >>> model = nn.Sequential(nn.Conv1d(1, 4, 3), nn.GRU(4, 4))
        >>> recurrent_paths(model, {"[0]": model[0], "[1]": model[1]})
        {'[1]'}
    """
    if not any(isinstance(module, nn.RNNBase) for module in modules.values()):
        return set()
    return {path for path in modules if is_recurrent(model, path)}


class TrainableRecurrence(TorchFunctionMode):
    """While entered, torch's recurrent functions are run as in training, but without dropout, wherever a graph is built.

    The numbers are those of eval mode: training differs from it by dropout and by what is kept for the backward pass. Neither the
    layer's train flag nor `torch.backends.cudnn`, which other threads would see, is touched.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool.instrumentation.recurrent import TrainableRecurrence
        >>> layer, sequence = nn.GRU(3, 4, num_layers=2, dropout=0.5).eval(), torch.zeros(5, 1, 3)
        >>> expected, _ = layer(sequence)
        >>> with TrainableRecurrence():
        ...     output, _ = layer(sequence)
        >>> torch.equal(output, expected)
        True
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call the function."""
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _KERNELS and torch.is_grad_enabled():
            args, kwargs = _in_training(args, kwargs)
        return func(*args, **kwargs)


def _in_training(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of a recurrent function with train=True and dropout=0; those of a training call as they are."""
    # Packed sequences have one argument more, batch_sizes.
    place = _TRAIN + (len(args) > 3 and not isinstance(args[3], bool))
    if kwargs.get("train", args[place] if len(args) > place else False):
        return args, kwargs
    if len(args) > place:
        return (*args[: place - 1], 0.0, True, *args[place + 1 :]), kwargs
    given = args[:place]
    return given[: place - 1], kwargs | {"dropout": 0.0, "train": True}
