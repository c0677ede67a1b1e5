"""Finer-CAM's target: Zhang et al. 2025, arXiv:2501.11309."""

import math
from collections.abc import Callable
from typing import Any, SupportsFloat, SupportsIndex

from jaxtyping import Float
from torch import Tensor

from camtool.errors import TargetError
from camtool.registry import TARGETS
from camtool.targets._base import ClassTarget, check_class, class_index
from camtool.targets.output import Output


@TARGETS.register_module()
class FinerScore(ClassTarget):
    """A class's logit minus `alpha` times the weighted mean of the logits of similar classes: Finer-CAM with any method.

    y_c - alpha * sum_d p_d y_d / sum_d p_d over the reference classes d; the gradient flows through the probabilities p, too. With
    `weighted=False` the mean is plain.

    The paper compares by y_c - gamma * y_d and aggregates over several references. That, and that similar classes are meant, is verified
    from its abstract and summaries; the weights, and that "similar" are the classes whose logits are nearest, are the authors' code's
    (`FinerWeightedTarget`, and pytorch-grad-cam 1.5.7's), not checked against the paper's text. Their code has a plain mean as another
    choice (`weighted=False`), strengths of 1 (the default) and 0.6 (in the script that aggregates three references), and 1e-9 in the
    denominator; here it is a softmax over the references' logits, which is the same and does not underflow.

    Args:
        references: the number of reference classes, or their indices. A number: the classes with the logits nearest to the class's
            own, chosen once for a sample; all others if there are fewer.
        alpha: a number, the strength of the comparison; 0 is the class's logit alone.
        weighted: whether references count by their probability, else alike.

    Raises:
        TargetError: if there is no reference, the class is its own, `alpha` is no number, or (when used) a class does not exist.

    Example:
        >>> import torch
        >>> from camtool.targets import FinerScore
        >>> logits = torch.tensor([5.0, 4.0, 4.0, -9.0])
        >>> FinerScore(0, references=[1, 2], alpha=1.0)(logits)
        tensor(1.)
        >>> FinerScore(0, references=2).fitted(logits.unsqueeze(0), sample=0)
        FinerScore(0, references=(1, 2), alpha=0.6, weighted=True)
    """

    name = "finer"

    def __init__(self, index: SupportsIndex, *, references: Any = 3, alpha: Any = 0.6, weighted: bool = True) -> None:
        super().__init__(index)
        if isinstance(references, (bool, str)):
            raise TargetError(f"Expected the number of reference classes or their indices, got {references!r}.")
        self.references: int | tuple[int, ...] = references if isinstance(references, int) else tuple(map(class_index, references))
        if isinstance(alpha, (bool, str)) or not isinstance(alpha, SupportsFloat) or not math.isfinite(alpha):
            raise TargetError(f"Expected a finite number as alpha of a finer target, got {alpha!r}.")
        self.alpha = float(alpha)
        self.weighted = bool(weighted)
        if (isinstance(self.references, int) and self.references < 1) or not self.references:
            raise TargetError(f"Expected at least one reference class of a finer target, got {references!r}.")
        if isinstance(self.references, tuple) and self.index in self.references:
            raise TargetError(f"A finer target compares with other classes; class {self.index} is among its references.")

    def __call__(self, logits: Float[Tensor, " classes"]) -> Float[Tensor, ""]:
        """Return the class's logit minus the mean of the references' logits."""
        similar = logits[list(self._chosen(logits))]
        mean = (similar.softmax(dim=0) * similar).sum() if self.weighted else similar.mean()
        return logits[self.index] - self.alpha * mean

    def fitted(self, output: Output, sample: int) -> "FinerScore":
        """Return the target with this sample's references; TargetError if it has none, or a class does not exist."""
        for index in (self.index, *(self.references if isinstance(self.references, tuple) else ())):
            check_class(index, output)
        if output.shape[-1] == 1:
            raise TargetError("A finer target compares classes; the network has one only. Try 'binary'.")
        return FinerScore(self.index, references=self._chosen(output[sample].detach()), alpha=self.alpha, weighted=self.weighted)

    def _chosen(self, logits: Float[Tensor, " classes"]) -> tuple[int, ...]:
        if isinstance(self.references, tuple):
            return self.references
        distances = (logits - logits[self.index]).abs()
        nearest = distances.argsort(stable=True).tolist()
        return tuple([other for other in nearest if other != self.index][: self.references])

    def describe(self, name_of: Callable[[int], str]) -> str:
        """Return the names of the class and its references."""
        if isinstance(self.references, int):
            return f"{name_of(self.index)} against its closest classes"
        return f"{name_of(self.index)} against {', '.join(map(name_of, self.references))}"
