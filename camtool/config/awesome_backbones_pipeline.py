"""Translate `val_pipeline` of Awesome-Backbones (mmcls 0.x) to a test pipeline and data preprocessor of mmpretrain 1.x."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from camtool.errors import closest


def translate_pipeline(steps: Any, problems: list[str]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return (mmpretrain's test pipeline, the data preprocessor made of Normalize); problems are appended to `problems`."""
    if not isinstance(steps, (list, tuple)) or not all(isinstance(step, Mapping) and isinstance(step.get("type"), str) for step in steps):
        problems.append(f"'val_pipeline' must be a list of dicts such as dict(type='LoadImageFromFile'), got {steps!r}")
        return [], {}
    if any(step["type"] == "ToTensor" and "keys" not in step for step in steps):
        problems.append("'val_pipeline' has transforms of torchvision, as early configs of Awesome-Backbones do; expected those of mmcls")
        return [], {}
    pipeline: list[dict[str, Any]] = []
    normalisations: list[dict[str, Any]] = []
    for step in steps:
        translated = _step(dict(step), problems)
        if translated is None:
            continue
        if step["type"] == "Normalize":
            normalisations.append(translated)
            continue
        if normalisations and translated["type"] != "CenterCrop":
            problems.append(f"{step['type']} after Normalize in val_pipeline; expected all resizing before it")
        pipeline.append(translated)
    count = sum(step["type"] == "Normalize" for step in steps)
    if count != 1:
        problems.append(f"'val_pipeline' must have one Normalize (mean, std, channel order), got {count}")
    if not pipeline or pipeline[0]["type"] != "LoadImageFromFile":
        pipeline.insert(0, _load_image())  # as Awesome-Backbones' own tools do
    return [*pipeline, {"type": "PackInputs"}], normalisations[0] if normalisations else {}


def _step(step: dict[str, Any], problems: list[str]) -> dict[str, Any] | None:
    """Return the step in mmpretrain's form; None if it is unknown, or one that PackInputs replaces."""
    kind = step.pop("type")
    if kind not in _STEPS:
        problems.append(f"unknown step '{kind}' in val_pipeline{closest(kind, _STEPS)}; expected one of {', '.join(_STEPS)}")
        return None
    parameters = inspect.signature(_STEPS[kind]).parameters
    wrong = [f"{kind} has no argument '{key}'{closest(key, parameters)}" for key in step if key not in parameters]
    wrong += [f"{kind} needs '{key}'" for key, parameter in parameters.items() if parameter.default is parameter.empty and key not in step]
    problems.extend(f"{text} in val_pipeline" for text in wrong)
    if wrong:
        return None
    try:
        return _STEPS[kind](**step)
    except ValueError as error:
        problems.append(f"{kind} in val_pipeline: {error}")
        return None


_KERNELS = {
    "cv2": ("nearest", "bilinear", "bicubic", "area", "lanczos"),
    "pillow": ("nearest", "bilinear", "bicubic", "box", "lanczos", "hamming"),
}

# One function for each step, with the argument names and defaults of mmcls 0.x, which differ from mmpretrain's.


def _load_image(*, to_float32: Any = False, color_type: Any = "color", file_client_args: Any = None) -> dict[str, Any]:
    if to_float32 is not False:
        raise ValueError(f"to_float32={to_float32!r} is not supported; expected False: images are resized as uint8")
    if color_type not in ("color", "grayscale"):
        raise ValueError(f"color_type={color_type!r} is not supported; expected 'color' or 'grayscale'")
    return {"type": "LoadImageFromFile", "color_type": color_type}


def _resize(*, size: Any, interpolation: Any = "bilinear", adaptive_side: Any = "short", backend: Any = "cv2") -> dict[str, Any]:
    kernel = _kernel(interpolation, backend)
    if isinstance(size, (list, tuple)) and tuple(size[1:]) == (-1,):
        edge, _ = _sides(size[0], "size")
        return {"type": "ResizeEdge", "scale": edge, "edge": adaptive_side, **kernel}
    height, width = _sides(size, "size")
    return {"type": "Resize", "scale": (width, height), **kernel}


def _center_crop(
    *, crop_size: Any, efficientnet_style: Any = False, crop_padding: Any = 32, interpolation: Any = "bilinear", backend: Any = "cv2"
) -> dict[str, Any]:
    height, width = _sides(crop_size, "crop_size")
    if not efficientnet_style:
        return {"type": "CenterCrop", "crop_size": (width, height)}
    if height != width:
        raise ValueError(f"with efficientnet_style, crop_size must be a whole number, got {crop_size!r}")
    return {"type": "EfficientNetCenterCrop", "crop_size": height, "crop_padding": crop_padding, **_kernel(interpolation, backend)}


def _sides(size: Any, name: str) -> tuple[int, int]:
    """Return (height, width) of a whole number or a pair of them."""
    pair = (size, size) if isinstance(size, int) else size
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not all(isinstance(side, int) and side > 0 for side in pair):
        raise ValueError(f"{name} must be a whole number or (height, width), got {size!r}")
    return pair[0], pair[1]


def _kernel(interpolation: Any, backend: Any) -> dict[str, str]:
    for name, value, known in (("backend", backend, _KERNELS), ("interpolation", interpolation, _KERNELS.get(str(backend), ()))):
        if known and value not in known:
            raise ValueError(f"{name}={value!r} is not supported{closest(str(value), known)}; expected one of {', '.join(known)}")
    return {"interpolation": interpolation, "backend": backend}


def _normalize(*, mean: Any, std: Any, to_rgb: Any = True) -> dict[str, Any]:
    for name, values in (("mean", mean), ("std", std)):
        if not isinstance(values, (list, tuple)) or not all(isinstance(value, (int, float)) for value in values):
            raise ValueError(f"{name} must be a list of numbers, one for each channel, got {values!r}")
    return {"mean": list(mean), "std": list(std), "to_rgb": to_rgb}


def _to_tensor(*, keys: Any = ()) -> None:
    return None


def _collect(*, keys: Any = (), meta_keys: Any = ()) -> None:
    return None


_STEPS: dict[str, Callable[..., dict[str, Any] | None]] = {
    "LoadImageFromFile": _load_image,
    "Resize": _resize,
    "CenterCrop": _center_crop,
    "Normalize": _normalize,
    "ImageToTensor": _to_tensor,
    "ToTensor": _to_tensor,
    "Collect": _collect,
}
