"""Finer-CAM around a method: Zhang et al. 2025, arXiv:2501.11309."""

from collections.abc import Sequence

from camtool.errors import MethodError, TargetError
from camtool.methods._base import BaseMethod, Evidence, Needs
from camtool.methods.wrapper._base import Wrapper, weighs_gradients
from camtool.registry import METHODS
from camtool.targets import ClassScore, FinerScore, Target
from camtool.types import RawMap


@METHODS.register_module(name=["Finer", "FinerCAM"])
class Finer(Wrapper):
    """Applies another method to a class's logit minus those of similar classes (`finer:layercam`).

    The target is `camtool.targets.FinerScore`, whose docstring has what was checked against the paper; as a method it shares the forward
    pass with other methods. `finer` alone, or `finercam`, wraps Grad-CAM.

    Args:
        method: the wrapped method, which must be class-discriminative; None: Grad-CAM.
        references: number of reference classes, the closest by logit, or their indices.
        alpha: strength of the comparison; 0 gives the wrapped method's map.
        weighted: whether references count by their probability, else alike.

    Raises:
        MethodError: if the wrapped method's map is the same for every class, or there is no reference.
        TargetError: when called, if the target is not a class's logit.

    Example:
        >>> from camtool.methods import build_method
        >>> from camtool.targets import ClassScore
        >>> build_method({"type": "finer", "method": "layercam", "references": 2}).target(ClassScore(7))
        FinerScore(7, references=2, alpha=0.6, weighted=True)
    """

    name = "finer"
    paper = "arXiv:2501.11309"
    cost = "that of the wrapped method"
    needs = Needs(gradients=True)

    def __init__(
        self, *, method: BaseMethod | None = None, references: int | Sequence[int] = 3, alpha: float = 0.6, weighted: bool = True
    ) -> None:
        super().__init__(method)
        self.references = references if isinstance(references, int) else tuple(references)
        if (isinstance(self.references, int) and self.references < 1) or not self.references:
            raise MethodError(f"Method '{self.name}': expected as 'references' at least one class, got {references!r}.")
        self.alpha = float(alpha)
        self.weighted = bool(weighted)

    def accepted(self, method: BaseMethod) -> BaseMethod:
        accepted = super().accepted(method)
        if not accepted.class_discriminative:
            raise MethodError(
                f"'finer' cannot wrap '{method.name}': its map is the same for every class. Wrap a method that tells classes apart, such "
                "as 'gradcam'."
            )
        if isinstance(accepted, Finer):
            raise MethodError(f"'finer' cannot wrap '{method.name}': it is already a 'finer' method.")
        return accepted

    def needs_around(self, inner: Needs) -> Needs:
        return inner

    def target(self, target: Target) -> Target:
        target = super().target(target)
        if not isinstance(target, ClassScore):
            raise TargetError(
                f"Method '{self.name}' compares a class with similar ones: expected a class's logit as target, got {target!r}."
            )
        return FinerScore(target.index, references=self.references, alpha=self.alpha, weighted=self.weighted)

    @property
    def weighs_gradients(self) -> bool:
        return weighs_gradients(self.method)

    def further_passes(self, channels: int, cells: int, size: Sequence[int]) -> int:
        return self.method.further_passes(channels, cells, size)

    def raw_map(self, evidence: Evidence) -> RawMap:
        return self.method.raw_map(evidence)

    def eigen_smooth_map(self, evidence: Evidence) -> RawMap:
        return self.method.eigen_smooth_map(evidence)
