"""FullGrad: Srinivas & Fleuret 2019, arXiv:1905.00780."""

import torch
from jaxtyping import Float
from torch import Tensor

from camtool.errors import MethodError
from camtool.functional import min_max, resize
from camtool.methods._base import Needs
from camtool.methods.input._base import InputEvidence, InputMethod
from camtool.registry import METHODS
from camtool.types import RawMap


@METHODS.register_module()
class FullGrad(InputMethod):
    """Sums input times gradient and every layer's bias times gradient, their sizes, each channel scaled to [0, 1].

    The full-gradient saliency map of the paper: of every channel the absolute value, rescaled and interpolated to the input's size,
    summed over channels and layers. As in pytorch-grad-cam, the rescaling is a min-max, of the input's channels too.
    """

    name = "fullgrad"
    paper = "arXiv:1905.00780"
    needs = Needs(gradients=True, bias_gradients=True)

    def raw_map(self, evidence: InputEvidence) -> RawMap:
        if evidence.gradients is None:
            raise MethodError(f"Method '{self.name}' needs gradients.")
        size = evidence.inputs.shape[2:]
        terms = [evidence.inputs * evidence.gradients, *evidence.bias_terms]
        # The interpolation is linear, so it may come behind the sum over channels: 50 of them in a ResNet-50 instead of 26 000.
        return torch.stack([resize(_scaled_sizes(term).sum(dim=1), size) for term in terms]).sum(dim=0)


def _scaled_sizes(term: Float[Tensor, "n k *grid"]) -> Float[Tensor, "n k *grid"]:
    return min_max(term.abs().flatten(0, 1)).unflatten(0, term.shape[:2])
