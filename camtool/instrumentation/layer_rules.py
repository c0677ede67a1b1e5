"""Rules that stand for target layers."""

from collections.abc import Sequence

from torch import nn

from camtool.errors import LayerError

AUTO, LAST_NORM, FULL = "auto", "last-norm", "full"
RULES = (AUTO, LAST_NORM, FULL)
"""What may stand for target layers: the derived one, the last normalisation layer, every layer."""


def rule_of(model: nn.Module, layers: Sequence[str | nn.Module]) -> str:
    """Return which of `RULES` target layers are, "" if they are named; a layer of such a name, directly in the model, is that layer.

    Raises:
        LayerError: if a rule stands beside others.

    Example:
        >>> from torch import nn
        >>> from camtool.instrumentation.layer_rules import rule_of
        >>> rule_of(nn.Sequential(nn.ReLU()), ["full"]), rule_of(nn.Sequential(nn.ReLU()), ["[0]"])
        ('full', '')
    """
    rules = [layer for layer in layers if isinstance(layer, str) and layer in RULES and layer not in model._modules]
    if rules and len(layers) > 1:
        raise LayerError(f"'{rules[0]}' is a rule that finds the target layers; give it alone, or name the layers.")
    return rules[0] if rules else ""
