"""What goes around another method of target layers."""

from camtool.errors import MethodError
from camtool.methods._base import BaseMethod, GradientMethod, Method
from camtool.methods.gradient.grad_cam import GradCAM
from camtool.targets import Target


class Wrapper(Method):
    """Base of methods that ask another one; `smooth:layercam` on the command line, and its name.

    Args:
        method: what it goes around; None: Grad-CAM.

    Raises:
        MethodError: if it cannot go around that one.
    """

    def __init__(self, method: BaseMethod | None = None) -> None:
        self.method = self.accepted(GradCAM() if method is None else method)
        self.name = f"{type(self).name}:{self.method.name}"
        self.class_discriminative = self.method.class_discriminative
        self.fusion = self.method.fusion
        self.needs_tokens = self.method.needs_tokens

    def target(self, target: Target) -> Target:
        return self.method.target(target)

    def accepted(self, method: BaseMethod) -> Method:
        """Return the method if this one can go around it; MethodError otherwise."""
        if not isinstance(method, Method):
            raise MethodError(f"'{type(self).name}' goes around methods of target layers, such as 'gradcam'; '{method.name}' reads none.")
        return method

    @property
    def weighs_gradients(self) -> bool:
        """Whether what it does is done with the gradients that it is given, so that others can be put in their place."""
        return False


def weighs_gradients(method: Method) -> bool:
    """Return whether a method is made of activations and gradients alone."""
    return isinstance(method, GradientMethod) or (isinstance(method, Wrapper) and method.weighs_gradients)
