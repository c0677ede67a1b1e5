"""LIFT-CAM: Jung & Oh 2021, "Towards Better Explanations of Class Activation Mapping", arXiv:2102.05228."""

from camtool.functional import spatial_sum
from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module()
class LIFTCAM(BaseMethod):
    """Weights each channel by what it contributes to the score, compared with a layer of zeros, as DeepLIFT counts it.

    The weights sum to the score less that of zeros. One pass through what lies downstream of the layer and one back.

    Raises:
        MethodError: where they do not, because something downstream (attention, LayerNorm) is none that DeepLIFT's rescale rule is
            defined for.
    """

    name = "liftcam"
    paper = "arXiv:2102.05228"
    cost = "1 forward + tail and its backward"
    needs = Needs(replay=True)

    def contributions(self, evidence: Evidence) -> Maps:
        return spatial_sum(evidence.queries(self.name).contributions_from_zero()) * evidence.activations
