"""Guided backpropagation: Springenberg et al. 2014, arXiv:1412.6806."""

from camtool.methods._base import Needs
from camtool.methods.input._base import InputEvidence, InputMethod
from camtool.registry import METHODS
from camtool.types import Maps, RawMap


@METHODS.register_module()
class GuidedBackprop(InputMethod):
    """Goes back to the pixels through ReLUs that let only positive gradients pass.

    The paper's picture is the guided gradient itself, signed and in the input's channels: `attributions`. The map is its largest
    size over channels. Defined for networks of ReLU, whether modules or functions.
    """

    name = "guidedbackprop"
    paper = "arXiv:1412.6806"
    needs = Needs(gradients=True, guided_gradients=True)

    def raw_map(self, evidence: InputEvidence) -> RawMap:
        return self.attributions(evidence).abs().amax(dim=1)

    def attributions(self, evidence: InputEvidence) -> Maps:
        return self.guided(evidence)
