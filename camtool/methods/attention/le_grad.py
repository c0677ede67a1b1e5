"""LeGrad: Bousselham et al. 2025, "LeGrad: An Explainability Method for Vision Transformers via Feature Formation Sensitivity",
ICCV 2025, arXiv:2404.03214."""

import operator
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.methods._base import Needs
from camtool.methods.attention._base import AttentionEvidence, AttentionMethod
from camtool.registry import METHODS


@METHODS.register_module()
class LeGrad(AttentionMethod):
    """Averages the positive gradients of each layer's own score with respect to its attention over layers, heads and queries.

    The score of a layer is the target's score of the output that the network's tail (last norm, pooling or class token, head) computes
    from the tokens of the layer's block. Differs from the authors' code for CLIP and from torchcam, which score the mean of all tokens
    whatever the network reads, so that their last layer does not explain the network's score.

    Args:
        blocks: the layers that are averaged: their number, counted from the last, or their indices, negative ones from the end; None:
            all.

    Raises:
        MethodError: if no layer is chosen, one is chosen twice, or, when called, the network has not as many.

    Example:
        >>> import torch
        >>> from camtool.methods import AttentionEvidence, LeGrad
        >>> weights = torch.tensor([[[[0.5, 0.5], [0.0, 1.0]]]])
        >>> gradients = torch.tensor([[[[2.0, 4.0], [0.0, -1.0]]]])
        >>> evidence = AttentionEvidence([weights], [torch.zeros(1, 1, 2, 2)], torch.tensor([[True, False]]), [gradients], [gradients])
        >>> LeGrad().raw_map(evidence)
        tensor([[1., 2.]])
    """

    name = "legrad"
    paper = "arXiv:2404.03214"
    cost = "1 forward + tail and backward per layer"
    needs = Needs(gradients=True, layer_gradients=True)

    def __init__(self, *, blocks: int | Sequence[int] | None = None) -> None:
        several = isinstance(blocks, Sequence)
        self.blocks = tuple(map(operator.index, blocks)) if isinstance(blocks, Sequence) else blocks
        if blocks is not None and not several and operator.index(blocks) < 1:  # type: ignore[arg-type]  # no sequence
            raise MethodError(f"Method '{self.name}': expected a number of blocks of at least 1, or their indices, got {blocks!r}.")
        if several and not self.blocks:
            raise MethodError(f"Method '{self.name}': expected the indices of blocks, got none; leave `blocks` out for all.")

    def raw_map(self, evidence: AttentionEvidence) -> Float[Tensor, "n length"]:
        if evidence.layer_gradients is None:
            raise MethodError(f"Method '{self.name}' needs the gradients of every layer's own score, which the evidence does not have.")
        layers = self.chosen(len(evidence.layer_gradients))
        return torch.stack([evidence.layer_gradients[layer].clamp(min=0).mean(dim=(1, 2)) for layer in layers]).mean(dim=0)

    def layers_read(self, layers: Sequence[str]) -> list[str]:
        return [layers[index] for index in sorted(self.chosen(len(layers)))]

    def chosen(self, count: int) -> list[int]:
        """Return the indices of the averaged layers among `count`; MethodError if there are not as many."""
        given = range(count) if self.blocks is None else range(-self.blocks, 0) if isinstance(self.blocks, int) else self.blocks
        if any(not -count <= index < count for index in given):
            what = f"the last {self.blocks}" if isinstance(self.blocks, int) else f"blocks {', '.join(map(str, given))}"
            raise MethodError(f"Method '{self.name}': the network has {count} attention layers, 0 to {count - 1}; got {what}.")
        chosen = [index % count for index in given]
        if len(set(chosen)) < len(chosen):
            raise MethodError(f"Method '{self.name}': expected each block once, got {', '.join(map(str, given))}.")
        return chosen
