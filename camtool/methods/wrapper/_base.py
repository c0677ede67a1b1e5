"""Base class of wrappers: methods of target layers that apply another method."""

from abc import ABC, abstractmethod

from camtool.errors import MethodError
from camtool.methods._base import LAYERS, BaseMethod, GradientMethod, Needs
from camtool.methods.gradient.grad_cam import GradCAM
from camtool.targets import Target


class Wrapper(BaseMethod, ABC):
    """Base class of methods that wrap another one; `smooth:layercam` on the command line, which is also its name.

    Args:
        method: the wrapped method; None: Grad-CAM.

    Raises:
        MethodError: if it cannot be wrapped.

    Example:
        >>> from camtool.methods import Wrapper, build_method
        >>> method = build_method("smooth:layercam")
        >>> isinstance(method, Wrapper), method.method.name
        (True, 'layercam')
    """

    def __init__(self, method: BaseMethod | None = None) -> None:
        self.method = self.accepted(GradCAM() if method is None else method)
        self.name = f"{type(self).name}:{self.method.name}"
        self.class_discriminative = self.method.class_discriminative
        self.fusion = self.method.fusion
        self.covers_input = self.method.covers_input
        self.needs = self.needs_around(self.method.needs)

    def target(self, target: Target) -> Target:
        return self.method.target(target)

    def accepted(self, method: BaseMethod) -> BaseMethod:
        """Return the method if it can be wrapped; MethodError otherwise."""
        if method.reads != LAYERS:
            raise MethodError(
                f"'{type(self).name}' cannot wrap '{method.name}': it reads no target layer. Wrap a method that does, such as 'gradcam'."
            )
        return method

    @abstractmethod
    def needs_around(self, inner: Needs) -> Needs:
        """Return the wrapper's needs, given those of the wrapped method."""

    @property
    def weighs_gradients(self) -> bool:
        """Whether the map is a function of activations and gradients alone, so that other gradients can be substituted."""
        return False


def refuse_other_inputs(wrapper: str, method: BaseMethod, others: str) -> None:
    """Raise MethodError if the method needs what only the input itself has.

    Args:
        others: the other inputs in words: "noisy copies of the input".
    """
    if method.needs.curvature or method.needs.replay:
        missing = "second derivatives" if method.needs.curvature else "scores of other activations"
        raise MethodError(
            f"'{wrapper}' cannot wrap '{method.name}': it needs {missing}, which are not available for {others}. Wrap a gradient "
            "method, such as 'gradcam'."
        )


def weighs_gradients(method: BaseMethod) -> bool:
    """Return whether a method's map is a function of activations and gradients alone."""
    return isinstance(method, GradientMethod) or (isinstance(method, Wrapper) and method.weighs_gradients)
