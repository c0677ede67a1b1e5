"""Guided backpropagation: Springenberg et al. 2014, arXiv:1412.6806."""

from camtool.methods._base import Needs
from camtool.methods.input._base import InputEvidence, InputMethod
from camtool.registry import METHODS
from camtool.types import Maps, RawMap


@METHODS.register_module()
class GuidedBackprop(InputMethod):
    """Backpropagates the score to the pixels through ReLUs that pass only positive gradients.

    The paper's picture is the guided gradient itself, signed and in the input's channels: `attributions`. The map is its largest
    absolute value over channels. Defined for networks with ReLU, as module or function.

    Example:
        >>> import torch
        >>> from camtool.methods import GuidedBackprop, InputEvidence
        >>> evidence = InputEvidence(torch.ones(1, 3, 2), guided=torch.tensor([[[0.0, 1.0], [-2.0, 0.5], [1.0, 0.0]]]))
        >>> GuidedBackprop().raw_map(evidence)
        tensor([[2., 1.]])
    """

    name = "guidedbackprop"
    paper = "arXiv:1412.6806"
    needs = Needs(gradients=True, guided_gradients=True)

    def raw_map(self, evidence: InputEvidence) -> RawMap:
        return self.attributions(evidence).abs().amax(dim=1)

    def attributions(self, evidence: InputEvidence) -> Maps:
        return self.guided(evidence)
