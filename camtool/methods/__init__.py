"""Methods: one file each, found by any spelling of their name."""

from collections.abc import Iterable
from typing import Any

from camtool.errors import MethodError, closest
from camtool.methods._base import ActivationMethod as ActivationMethod
from camtool.methods._base import BaseMethod as BaseMethod
from camtool.methods._base import ChannelMethod as ChannelMethod
from camtool.methods._base import GradientMethod as GradientMethod
from camtool.methods._base import Method as Method
from camtool.methods.activation.eigen_cam import EigenCAM as EigenCAM
from camtool.methods.activation.fem import FEM as FEM
from camtool.methods.activation.kpca_cam import KPCACAM as KPCACAM
from camtool.methods.attention._base import AttentionMethod as AttentionMethod
from camtool.methods.attention.ag_cam import AGCAM as AGCAM
from camtool.methods.attention.cdam import CDAM as CDAM
from camtool.methods.attention.generic_attention import GenericAttention as GenericAttention
from camtool.methods.attention.grad_rollout import GradRollout as GradRollout
from camtool.methods.attention.le_grad import LeGrad as LeGrad
from camtool.methods.attention.rollout import Rollout as Rollout
from camtool.methods.baseline.center_cam import CenterCAM as CenterCAM
from camtool.methods.baseline.edge_cam import EdgeCAM as EdgeCAM
from camtool.methods.baseline.random_cam import RandomCAM as RandomCAM
from camtool.methods.gradient.eigen_grad_cam import EigenGradCAM as EigenGradCAM
from camtool.methods.gradient.grad_cam import GradCAM as GradCAM
from camtool.methods.gradient.grad_cam_element_wise import GradCAMElementWise as GradCAMElementWise
from camtool.methods.gradient.grad_cam_plus_plus import GradCAMPlusPlus as GradCAMPlusPlus
from camtool.methods.gradient.hires_cam import HiResCAM as HiResCAM
from camtool.methods.gradient.layer_cam import LayerCAM as LayerCAM
from camtool.methods.gradient.refine_cam import RefineCAM as RefineCAM
from camtool.methods.gradient.seg_eigen_cam import SegEigenCAM as SegEigenCAM
from camtool.methods.gradient.shapley_cam import ShapleyCAM as ShapleyCAM
from camtool.methods.gradient.smooth_grad_cam_plus_plus import SmoothGradCAMPlusPlus as SmoothGradCAMPlusPlus
from camtool.methods.gradient.winsor_cam import WinsorCAM as WinsorCAM
from camtool.methods.gradient.x_grad_cam import XGradCAM as XGradCAM
from camtool.methods.input._base import InputMethod as InputMethod
from camtool.methods.input.full_grad import FullGrad as FullGrad
from camtool.methods.input.guided_backprop import GuidedBackprop as GuidedBackprop
from camtool.methods.input.guided_grad_cam import GuidedGradCAM as GuidedGradCAM
from camtool.methods.linear.cam import ClassActivationMapping as ClassActivationMapping
from camtool.methods.perturbation.ablation_cam import AblationCAM as AblationCAM
from camtool.methods.perturbation.faster_score_cam import FasterScoreCAM as FasterScoreCAM
from camtool.methods.perturbation.group_cam import GroupCAM as GroupCAM
from camtool.methods.perturbation.is_cam import ISCAM as ISCAM
from camtool.methods.perturbation.lift_cam import LIFTCAM as LIFTCAM
from camtool.methods.perturbation.opti_cam import OptiCAM as OptiCAM
from camtool.methods.perturbation.poly_cam import PolyCAM as PolyCAM
from camtool.methods.perturbation.recipro_cam import ReciproCAM as ReciproCAM
from camtool.methods.perturbation.score_cam import ScoreCAM as ScoreCAM
from camtool.methods.perturbation.ss_cam import SSCAM as SSCAM
from camtool.methods.wrapper._base import Wrapper as Wrapper
from camtool.methods.wrapper.finer import Finer as Finer
from camtool.methods.wrapper.integrated import Integrated as Integrated
from camtool.methods.wrapper.smooth import Smooth as Smooth
from camtool.registry import METHODS


def method_names() -> list[str]:
    """Return the command-line name of every registered method, a user's own included, sorted."""
    return sorted({method_class.name for method_class in METHODS.module_dict.values()})


def find_method(name: str) -> type[BaseMethod]:
    """Return the class that `name` means: any case, `gradcam++`, `GradCAMPlusPlus`, `grad-cam` alike; of `smooth:layercam` the outer.

    Raises:
        MethodError: if there is none, or the outer of two wraps no other; the message has the nearest names and all of them.
    """
    outer, colon, inner = name.partition(":")
    wanted = _folded(outer)
    for key, method_class in METHODS.module_dict.items():
        if wanted in (_folded(key), _folded(method_class.name)):
            if colon:
                _check_wrapping(method_class, name, inner)
            return method_class
    names = method_names()
    raise MethodError(f"Unknown method '{outer}'{closest(outer, names)}; expected one of: {', '.join(names)}.")


def _check_wrapping(outer: type[BaseMethod], name: str, inner: str) -> None:
    if not issubclass(outer, Wrapper):
        wrappers = sorted(one.name for one in METHODS.module_dict.values() if issubclass(one, Wrapper))
        raise MethodError(f"'{name}': '{outer.name}' goes around no other method; these do: {', '.join(wrappers)}.")
    if not inner:
        raise MethodError(f"'{name}': expected a method behind the colon, as in '{outer.name}:gradcam'.")
    find_method(inner)


def spec_of(name: str) -> dict[str, Any]:
    """Return the config dict that a name means: `smooth:layercam` is `dict(type='smooth', method=dict(type='layercam'))`."""
    outer, colon, inner = name.partition(":")
    find_method(name)
    return {"type": outer, "method": spec_of(inner)} if colon else {"type": outer}


def build_method(spec: str | dict[str, Any] | BaseMethod) -> BaseMethod:
    """Return the method that a name or a config dict describes.

    `dict(type='FEM', k=2.0)`; around another `smooth:layercam`, `dict(type='Smooth', method='layercam', samples=50)`.

    Raises:
        MethodError: if the type is unknown, a keyword is not one of its hyper-parameters, or it cannot go around that method.
    """
    if isinstance(spec, BaseMethod):
        return spec
    arguments: dict[str, Any] = {"type": spec} if isinstance(spec, str) else dict(spec)
    if "type" not in arguments:
        raise MethodError(f"A method is a name or a dict with 'type', got {spec!r}.")
    named = spec_of(str(arguments.pop("type")))
    method_class = find_method(named.pop("type"))
    if "method" in named and "method" in arguments:
        raise MethodError(f"{spec!r}: the method to go around is named twice.")
    arguments |= named
    if issubclass(method_class, Wrapper) and arguments.get("method") is not None:
        arguments["method"] = build_method(arguments["method"])
    try:
        return method_class(**arguments)
    except (TypeError, ValueError) as error:
        raise MethodError(f"Method '{method_class.name}': {error}.") from error


def build_methods(specs: str | dict[str, Any] | BaseMethod | Iterable[str | dict[str, Any] | BaseMethod]) -> dict[str, BaseMethod]:
    """Return methods by name, in the order asked; one named twice is taken once."""
    several = [specs] if isinstance(specs, (str, dict, BaseMethod)) else specs
    methods = [build_method(spec) for spec in several]
    if not methods:
        raise MethodError(f"No method given; expected one of: {', '.join(method_names())}.")
    by_name: dict[str, BaseMethod] = {}
    for method in methods:
        first = by_name.setdefault(method.name, method)
        if _settings(first) != _settings(method):
            raise MethodError(f"Method '{method.name}' is asked for with different settings; make one call for each.")
    return by_name


def reads_layers(method: BaseMethod) -> bool:
    """Return whether the method has target layers, by itself or through the method it is based on."""
    return isinstance(method, Method) or (isinstance(method, InputMethod) and bool(method.base))


def family(method_class: type[BaseMethod]) -> str:
    """Return the folder that a method's file is in: "gradient", "perturbation", …; "own" for one from outside of camtool."""
    package, _, rest = method_class.__module__.partition(f"{__name__}.")
    folder, _, file = rest.partition(".")
    return folder if not package and file else "own"


def _settings(method: BaseMethod) -> dict[str, Any]:
    """Return the hyper-parameters, those of a method inside included."""
    return {key: _settings(value) if isinstance(value, BaseMethod) else value for key, value in vars(method).items()}


def _folded(name: str) -> str:
    plain = name.casefold().replace("+", "plus")
    return "".join(character for character in plain if character.isalnum())
