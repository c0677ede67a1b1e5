"""FullGrad: Srinivas & Fleuret 2019, arXiv:1905.00780."""

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.functional import min_max
from camtool.methods._base import Needs
from camtool.methods.input._base import InputEvidence, InputMethod
from camtool.placement import placed
from camtool.registry import METHODS
from camtool.types import Maps, RawMap


@METHODS.register_module()
class FullGrad(InputMethod):
    """Sums the absolute values of input * gradient and of every layer's bias * gradient, each channel scaled to [0, 1].

    The full-gradient saliency map of the paper: each channel's absolute value, rescaled and interpolated to the input's size, summed
    over channels and layers. As in pytorch-grad-cam, the rescaling is a min-max, of the input's channels too. With eigen-smooth the
    map is the first principal component over the maps of the layers instead of their sum; differs from pytorch-grad-cam, which
    computes it at an eighth of the size and counts each of the input's channels as a layer.

    Example:
        >>> import torch
        >>> from camtool.methods import FullGrad, InputEvidence
        >>> evidence = InputEvidence(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[1.0, -1.0]]]), [torch.tensor([[[4.0, 0.0]]])])
        >>> FullGrad().raw_map(evidence)
        tensor([[1., 1.]])
    """

    name = "fullgrad"
    paper = "arXiv:1905.00780"
    needs = Needs(gradients=True, bias_gradients=True)

    def raw_map(self, evidence: InputEvidence) -> RawMap:
        return self.contributions(evidence).sum(dim=1)

    def contributions(self, evidence: InputEvidence) -> Maps:
        """Return the maps of the input and of every biased layer at the input's size, (n, 1 + layers, *spatial), none negative."""
        size = evidence.inputs.shape[2:]
        terms = [evidence.inputs * self.gradients(evidence), *evidence.bias_terms]
        places = [None, *(evidence.bias_placements or [None] * len(evidence.bias_terms))]
        # The interpolation is linear, so it can follow the sum over channels: 50 interpolations in a ResNet-50 instead of 26 000.
        maps = [placed(_scaled_sizes(term).sum(dim=1), size, place) for term, place in zip(terms, places, strict=True)]
        return torch.stack(maps, dim=1)


def _scaled_sizes(term: Float[Tensor, "n k *grid"]) -> Float[Tensor, "n k *grid"]:
    return min_max(term.abs().flatten(0, 1)).unflatten(0, term.shape[:2])
