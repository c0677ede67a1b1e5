"""The sweep: whether every backbone of the zoo gives a map with no flags at all, measured by giving one."""

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from camtool.attribution.cam import CAM
from camtool.attribution.result import FLAT_SHARE
from camtool.benchmark.backbones import SIZES, WITHOUT_MAP, Example, load_example
from camtool.errors import CamtoolWarning, times
from camtool.instrumentation.inputs import find_inputs
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.nested import tensors_in
from camtool.instrumentation.replay import Recording, Replay
from camtool.instrumentation.target_layers import Probe, ProbedLayer
from camtool.models.loading import load_network

OK, REFUSED, FAILED = "ok", "refused", "failed"
REPLAY_TOLERANCE = 1e-5  # of the largest score; it is the same arithmetic on the same numbers


@dataclass(frozen=True)
class BackboneResult:
    """What one backbone gave at one input size."""

    backbone: str
    config: str
    size: tuple[int, int]
    """Height and width of the input."""
    status: str
    """OK: a map; REFUSED: the network itself raises on this input, without camtool; FAILED: no map, or a blank one."""
    words: str
    """The network's own words, or camtool's; "" if OK."""
    layer: str
    axes: str
    extra_tokens: int
    gradient_share: float
    """Share of positions, 0 to 1, at which the predicted class has a gradient at the default layer."""
    replay: str
    """How scores of other activations at that layer are found: "replay", or why whole forward passes are made."""
    seconds: float


class _Remembering(CAM):
    """A CAM that keeps what it derived its layer from."""

    probed: Probe

    def probe(self, inputs: Any, targets: Any = None) -> Probe:
        self.probed = super().probe(inputs, targets)
        return self.probed


def sweep(name: str, example: Example, *, narrow: bool = True) -> Iterator[BackboneResult]:
    """Yield what a backbone gives at each of its example's sizes: gradcam at the default layer, with seeded random weights.

    Args:
        narrow: as narrow as the class allows; else as published.
    """
    model: nn.Module | None = None
    settled = False
    for size in example.sizes:
        started = time.perf_counter()
        outcome: dict[str, Any] = {"layer": "", "axes": "", "extra_tokens": 0, "gradient_share": 0.0, "replay": ""}
        try:
            model = model or load_network(load_example(example, narrow=narrow), random_weights=True).model
            inputs = torch.randn(1, example.channels, *size, generator=torch.Generator().manual_seed(0))
            settled = settled or settle_norms(model, inputs)
            outcome |= _explained(model, inputs)
        except Exception as error:  # noqa: BLE001 - whatever it is, it stands in the table
            refused = None if model is None else _refused(model, inputs)
            outcome |= refused or {"status": FAILED, "words": _words(error)}
        yield BackboneResult(name, example.config, size, seconds=time.perf_counter() - started, **outcome)


def _refused(model: nn.Module, inputs: Tensor) -> dict[str, Any] | None:
    try:
        with torch.no_grad():
            model(inputs)
    except Exception as error:  # noqa: BLE001 - a network refuses by whatever it raises
        return {"status": REFUSED, "words": _words(error)}
    return None


def settle_norms(model: nn.Module, inputs: Tensor) -> bool:
    """Give every BatchNorm the statistics of `inputs` (n, c, *spatial) and their mirror images; return True."""
    # Untrained, a BatchNorm has the statistics of no data: features shrink from layer to layer, LeViT's to rounding errors.
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    try:
        if norms:
            with torch.no_grad():
                model(torch.cat([inputs, inputs.flip(-1)]))  # of one sample, a norm behind the pooling would see a single value
    finally:
        for norm in norms:
            norm.eval()
    return True


def _explained(model: nn.Module, inputs: Tensor) -> dict[str, Any]:
    cam = _Remembering(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CamtoolWarning)  # of random weights a map may be negative everywhere
        result = cam(inputs)
    (path,) = cam.target_layers
    layer = next(layer for layer in cam.probed.layers if layer.path == path)
    assert layer.reading is not None, "a target layer was read as maps"
    raw = result.raw[path]
    varies = bool(raw.amax() - raw.amin() > FLAT_SHARE * raw.abs().amax())
    replay, off = _replayed(model, inputs, layer)
    problem = "" if varies else "the map is the same everywhere"
    if off > REPLAY_TOLERANCE:
        problem = f"replay differs from whole forward passes by {off:.1e}"
    return {
        "status": FAILED if problem else OK,
        "words": problem,
        "layer": path,
        "axes": layer.reading.axes,
        "extra_tokens": layer.reading.extra_tokens,
        "gradient_share": layer.gradient_share,
        "replay": replay,
    }


def _replayed(model: nn.Module, inputs: Tensor, layer: ProbedLayer) -> tuple[str, float]:
    """Return how the network's tail is replayed, and how far, of their largest, scores are off those of whole forward passes."""
    recording = Recording(model, layer.module)
    with evaluating(model), torch.no_grad():
        with recording.recording():
            output = model(inputs)
        replay = Replay(recording, layer.record.index, find_inputs(inputs), output)
        drawn = torch.rand(2, *replay.activations.shape[1:], generator=torch.Generator().manual_seed(0))
        found, expected = [next(tensors_in(run(0, replay.activations * 2 * drawn))) for run in (replay, replay.whole)]
    return replay.status, ((found - expected).abs().amax() / expected.abs().amax()).item()


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def markdown(measured: Sequence[BackboneResult]) -> str:
    """Return the table of supported backbones, and below it the classes that can have no map, with the reason."""
    sizes = [times(size) for size in SIZES]
    lines = [
        f"| backbone | default target layer | axes + extra tokens | {' | '.join(sizes)} | perturbed by |",
        f"|---|---|---|{'---|' * len(sizes)}---|",
    ]
    lines += [markdown_row([one for one in measured if one.backbone == name]) for name in dict.fromkeys(one.backbone for one in measured)]
    lines += ["", "Not classifiers by themselves:", ""]
    lines += [f"- {', '.join(names)}: {reason}" for reason, names in WITHOUT_MAP.items()]
    return "\n".join(lines)


def markdown_row(measured: Sequence[BackboneResult]) -> str:
    """Return one backbone's line of the table."""
    shown = next((one for one in measured if one.status == OK), measured[0])
    where = "" if shown.size == SIZES[0] else f" at {times(shown.size)}"
    extra = f" + {shown.extra_tokens}" if shown.extra_tokens else ""
    said = {OK: "yes", REFUSED: "the network refuses", FAILED: "no"}
    by_size = [said[one.status] for size in SIZES for one in measured if one.size == size]
    return f"| {shown.backbone} | `{shown.layer}`{where} | {shown.axes}{extra} | {' | '.join(by_size)} | {shown.replay} |"
