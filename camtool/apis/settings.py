"""ExplainerSettings: the config and the checked arguments of CAM, before the network is built."""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn

from camtool.apis.model import ModelRequest
from camtool.attribution.sliding_window import check_window
from camtool.axes import Axes
from camtool.config.loading import LoadedConfig
from camtool.errors import MethodError
from camtool.fusion import Fusion, build_fusion
from camtool.instrumentation.acceleration import Speed, build_speed
from camtool.layouts import LayoutSpec, build_layout
from camtool.methods import BaseMethod, InputMethod, build_method, build_methods, family, find_method, method_names, reads_layers, spec_of
from camtool.methods.build import as_specs
from camtool.placement import Placement, build_placement
from camtool.targets import OutputName

OVERLAP = 0.5

ALL = "all"
"""As a method's name: every method that fits the network."""

MethodSpec: TypeAlias = str | Mapping[str, Any] | BaseMethod


@dataclass(frozen=True)
class ExplainerSettings:
    """Settings of an Explainer."""

    model: ModelRequest
    loaded: LoadedConfig
    cam: dict[str, Any]
    """Arguments of CAM."""
    target: Any
    """The target: the argument, else the config's `cam.target`; a name, a dict, or None."""
    every_method: bool = False
    """Whether the method is "all"."""
    window: tuple[int, ...] | None = None
    """Size of the windows by axis, or one for all, in which large inputs are explained; None: in one pass."""
    overlap: float = OVERLAP
    """Share of a window that the next one covers, too."""
    windows_at_once: int = 1
    """Number of windows that share a pass."""
    by_channel: bool | None = None
    """Whether each channel of a signal has its own map; None: where the target layers keep the channels apart."""
    factors: tuple[str, ...] = ()
    """Methods that were not asked for: factors of a product that was (guidedgradcam), shown beside it."""


def read_settings(  # noqa: PLR0913 - what `cam = dict(…)` takes
    model: ModelRequest,
    loaded: LoadedConfig,
    *,
    method: MethodSpec | Iterable[MethodSpec] | None = None,
    target_layers: str | nn.Module | Sequence[str | nn.Module] | None = None,
    layout: LayoutSpec = None,
    input_axes: str | None = None,
    call: int | Mapping[str, int] | None = None,
    output: OutputName = None,
    target: str | Mapping[str, Any] | None = None,
    aug_smooth: bool | None = None,
    eigen_smooth: bool | None = None,
    fuse: str | Mapping[str, Any] | Fusion | None = None,
    speed: Speed | Mapping[str, Any] | None = None,
    placement: str | Placement | Mapping[str, Any] | None = None,
    window: int | Sequence[int] | None = None,
    overlap: float | None = None,
    windows_at_once: int | None = None,
    by_channel: bool | None = None,
) -> ExplainerSettings:
    """Return the settings: the arguments, else the values of the config's `cam`, else the defaults of CAM.

    Raises:
        MethodError, ConfigError: if a method, layout, fusion, speed or placement does not exist, or lacks a setting.
        CamtoolError: if the input's axes cannot be read.
    """
    recipe = loaded.cam
    specs = [] if method is None else as_specs(method)
    every = _is_all(specs)
    specs = [_seeded(spec, model.seed) for spec in (every_method() if every else specs)]
    asked = build_methods(specs or recipe.get("method") or "gradcam")
    methods = _with_parts(asked)
    if not any(map(reads_layers, methods)):  # the config's target layers do not concern these methods
        smooths = all(isinstance(method, InputMethod) and method.smooths for method in methods)
        left_out = ("target_layers", "call") if smooths else ("target_layers", "call", "eigen_smooth")
        recipe = {key: value for key, value in recipe.items() if key not in left_out}
    axes = recipe.get("input_axes") if input_axes is None else input_axes
    arguments = {
        "target_layers": recipe.get("target_layers") if target_layers is None or target_layers == [] else target_layers,
        "method": methods,
        "skip_unfit": every,
        "layout": build_layout(recipe.get("layout") if layout is None else layout),
        "input_axes": None if axes is None else Axes(axes).letters,
        "call": recipe.get("call") if call is None else call,
        "output": recipe.get("output") if output is None else output,
        "aug_smooth": recipe.get("aug_smooth", False) if aug_smooth is None else aug_smooth,
        "eigen_smooth": recipe.get("eigen_smooth", False) if eigen_smooth is None else eigen_smooth,
        "fuse": build_fusion(fuse or recipe.get("fuse") or "mean"),
        "placement": build_placement(recipe.get("placement") if placement is None else placement),
        "speed": build_speed(recipe.get("speed") if speed is None else speed),
    }
    window = recipe.get("window") if window is None else window
    overlap = recipe.get("overlap", OVERLAP) if overlap is None else overlap
    sizes = None if window is None else check_window(window, overlap)
    at_once = recipe.get("windows_at_once", 1) if windows_at_once is None else windows_at_once
    apart = recipe.get("by_channel") if by_channel is None else by_channel
    if apart and sizes:
        raise MethodError("Parts by channel are those of a whole input, got by_channel and a window; leave one of them out.")
    factors = tuple(method.name for method in methods if method.name not in asked)
    return ExplainerSettings(model, loaded, arguments, target or loaded.cam.get("target"), every, sizes, overlap, at_once, apart, factors)


def every_method() -> list[str]:
    """Return the names of the methods that `all` stands for, by family; the slow perturbation methods last, a user's own before them.

    Wrappers are left out: each could wrap every other method.
    """
    families = {name: family(find_method(name)) for name in method_names()}
    names = [name for name, kind in families.items() if kind != "wrapper"]
    return sorted(names, key=lambda name: (families[name] == "perturbation", families[name], name))


def _is_all(specs: Sequence[MethodSpec]) -> bool:
    """Return whether the method is "all"; MethodError if it is combined with others."""
    names = {spec.casefold() if isinstance(spec, str) else "" for spec in specs}
    if ALL not in names:
        return False
    if len(names) > 1:
        raise MethodError(f"'{ALL}' means every method that fits the network and cannot be combined with others; give it alone.")
    return True


def _seeded(spec: MethodSpec, seed: int) -> MethodSpec:
    """Return a method's name as a config dict, with the seed if the method draws random numbers and names none; other specs unchanged."""
    return _with_seed(spec_of(spec), seed) if isinstance(spec, str) else spec


def _with_seed(spec: dict[str, Any], seed: int) -> dict[str, Any]:
    draws = {"seed": seed} if "seed" in inspect.signature(find_method(spec["type"])).parameters else {}
    wrapped = spec.get("method")
    inner = {"method": _with_seed(spec_of(wrapped) if isinstance(wrapped, str) else wrapped, seed)} if wrapped is not None else {}
    return {**draws, **spec, **inner}


def _with_parts(methods: Mapping[str, BaseMethod]) -> list[BaseMethod]:
    """Return the methods, and before each product (guidedgradcam) its factors, so that they are shown together."""
    shown: dict[str, BaseMethod] = {}
    for name, method in methods.items():
        if isinstance(method, InputMethod) and method.base:
            for part in (method.base, "guidedbackprop"):
                shown.setdefault(part, methods.get(part) or build_method(part))
        shown.setdefault(name, method)
    return list(shown.values())
