"""Guided Grad-CAM: Selvaraju et al. 2017, arXiv:1610.02391."""

from camtool.errors import MethodError
from camtool.methods._base import Needs
from camtool.methods.input._base import InputEvidence, InputMethod
from camtool.registry import METHODS
from camtool.types import Maps, RawMap


@METHODS.register_module()
class GuidedGradCAM(InputMethod):
    """Multiplies guided backpropagation by the Grad-CAM map at the input's size: fine and class-discriminative.

    The product, signed and in the input's channels, is `attributions`; the map is its largest absolute value over channels. The factor
    is relu(raw) over its maximum, by sample: a min-max, as in the drawn Grad-CAM map, would set the lowest of positive cells to zero
    and with it the evidence there. Several layers are fused as the call says, scaled likewise.

    Example:
        >>> import torch
        >>> from camtool.methods import GuidedGradCAM, InputEvidence
        >>> guided, grad_cam = torch.tensor([[[-2.0, 4.0]]]), torch.tensor([[1.0, 0.25]])
        >>> GuidedGradCAM().attributions(InputEvidence(torch.ones(1, 1, 2), guided=guided, map=grad_cam))
        tensor([[[-2.,  1.]]])
    """

    name = "guidedgradcam"
    paper = "arXiv:1610.02391"
    cost = "1 forward + 1 backward + tail backward"
    needs = Needs(gradients=True, guided_gradients=True)
    base = "gradcam"

    def raw_map(self, evidence: InputEvidence) -> RawMap:
        return self.attributions(evidence).abs().amax(dim=1)

    def attributions(self, evidence: InputEvidence) -> Maps:
        if evidence.map is None:
            raise MethodError(f"Method '{self.name}' needs the map of '{self.base}', which the evidence does not have.")
        return self.guided(evidence) * evidence.map.unsqueeze(1)
