"""Saliency: Simonyan et al. 2013, "Deep Inside Convolutional Networks", arXiv:1312.6034."""

from camtool.methods._base import Needs
from camtool.methods.input._base import InputEvidence, InputMethod
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class Saliency(InputMethod):
    """Returns the largest absolute gradient of the score over the input's channels at each position (sec. 3.1).

    The gradient itself, signed and by channel, is `attributions`.

    Example:
        >>> import torch
        >>> from camtool.methods import InputEvidence, Saliency
        >>> Saliency().raw_map(InputEvidence(torch.ones(1, 2, 2), torch.tensor([[[0.0, 1.0], [-2.0, 0.5]]])))
        tensor([[2., 1.]])
    """

    name = "saliency"
    paper = "arXiv:1312.6034"
    needs = Needs(gradients=True, input_gradients=True)

    def attributions(self, evidence: InputEvidence) -> Maps:
        return self.gradients(evidence)
