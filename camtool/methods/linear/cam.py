"""CAM, the original: Zhou et al. 2016, "Learning Deep Features for Discriminative Localization", arXiv:1512.04150."""

from camtool.methods._base import BaseMethod, Evidence
from camtool.registry import METHODS
from camtool.types import Maps


@METHODS.register_module(name=["CAM", "ClassActivationMapping"])
class ClassActivationMapping(BaseMethod):
    """Weights each channel by the final linear layer's weight for the class (eq. 2).

    Defined for global average pooling + one linear layer; mean of the raw map + bias = logit. The paper has no ReLU: `raw` is
    signed, as there.

    Args:
        classifier: path of the linear layer (or 1x1 convolution) whose weights are meant, for networks that compute their scores
            otherwise too (a norm behind the pooling, another kind of pooling); a remark then says so. None: the one that turns the
            activations' mean into the scores.

    Raises:
        MethodError: when called, if there is no such layer, or it does not lead from the target layer's channels to the scores.

    Example:
        >>> import torch
        >>> from camtool.methods import ClassActivationMapping, Evidence
        >>> evidence = Evidence(torch.tensor([[[1.0, 2.0], [3.0, 0.0]]]), None, class_weights=lambda: torch.tensor([[2.0, -1.0]]))
        >>> ClassActivationMapping().raw_map(evidence)
        tensor([[-1.,  4.]])
    """

    name = "cam"
    paper = "arXiv:1512.04150"
    cost = "1 forward"

    def __init__(self, *, classifier: str | None = None) -> None:
        self.classifier = classifier

    def contributions(self, evidence: Evidence) -> Maps:
        weights = evidence.class_weights() if self.classifier is None else evidence.class_weights(self.classifier)  # (n, c)
        spatial = evidence.activations.ndim - 2
        return weights.reshape(*weights.shape, *[1] * spatial) * evidence.activations
