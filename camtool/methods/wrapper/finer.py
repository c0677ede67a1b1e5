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
    """Another method on a class's logit less those of similar classes: what tells it from them; `finer:layercam`.

    The score is `camtool.targets.FinerScore`, which says what of it was checked; here it is one method beside others of one forward
    pass. By itself, or as `finercam`, it is around Grad-CAM.

    Args:
        method: what it goes around: a method that knows the class.
        references: how many classes, the closest by logit, or which.
        alpha: strength of the comparison; 0 is the method itself.

    Raises:
        MethodError: if the method is the same for every class.
        TargetError: when called, if what is asked for is no class.
    """

    name = "finer"
    paper = "arXiv:2501.11309"
    cost = "that of the other method"
    needs = Needs(gradients=True)

    def __init__(self, *, method: BaseMethod | None = None, references: int | Sequence[int] = 3, alpha: float = 0.6) -> None:
        super().__init__(method)
        self.references = references if isinstance(references, int) else tuple(references)
        self.alpha = float(alpha)

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
            raise TargetError(f"Method '{self.name}' explains a class against similar ones; {target!r} is no class's logit.")
        return FinerScore(target.index, references=self.references, alpha=self.alpha)

    @property
    def weighs_gradients(self) -> bool:
        return weighs_gradients(self.method)

    def raw_map(self, evidence: Evidence) -> RawMap:
        return self.method.raw_map(evidence)

    def eigen_smooth_map(self, evidence: Evidence) -> RawMap:
        return self.method.eigen_smooth_map(evidence)
