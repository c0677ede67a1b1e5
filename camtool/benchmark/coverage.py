"""Coverage sweep: compute a map for every backbone of the zoo, with default options."""

import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from camtool.attribution.cam import CAM
from camtool.benchmark.backbones import SIZES, WITHOUT_MAP, Example, load_example
from camtool.errors import CamtoolWarning, times
from camtool.functional import FLAT_SHARE
from camtool.instrumentation.inputs import find_inputs
from camtool.instrumentation.layer_layouts import MEASURED, ONLY_READING
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.nested import tensors_in
from camtool.instrumentation.replay import Recording, Replay
from camtool.instrumentation.target_layers import Probe, ProbedLayer
from camtool.models.loading import load_network

OK, REFUSED, FAILED = "ok", "refused", "failed"
REPLAY_TOLERANCE = 1e-5  # relative to the largest score; the arithmetic is the same


@dataclass(frozen=True)
class BackboneResult:
    """Result of one backbone at one input size."""

    backbone: str
    config: str
    size: tuple[int, int]
    """(height, width) of the input."""
    status: str
    """OK: a map; REFUSED: the network itself raises on this input, without camtool; FAILED: no map, or a constant one."""
    words: str
    """Error message of the network or of camtool; "" if OK."""
    layer: str
    """Path of the default target layer."""
    axes: str
    extra_tokens: int
    gradient_share: float
    """Share of positions of the default layer, 0 to 1, with a gradient of the predicted class."""
    replay: str
    """How scores for changed activations of that layer are computed: "replay", or why whole forward passes are needed."""
    seconds: float
    evidence: str = ""
    """Why that layer's output is read so: "measured" or "only reading"."""


class _ProbedCAM(CAM):
    """A CAM that keeps the result of its probe."""

    last_probe: Probe

    def probe(self, inputs: Any, targets: Any = None) -> Probe:
        self.last_probe = super().probe(inputs, targets)
        return self.last_probe


def sweep(name: str, example: Example, *, narrow: bool = True) -> Iterator[BackboneResult]:
    """Yield the result of a backbone at each size of its example: gradcam at the default layer, with seeded random weights.

    Args:
        narrow: use the example's reduced number of channels, else the published one.
    """
    model: nn.Module | None = None
    settled = False
    for size in example.sizes:
        started = time.perf_counter()
        outcome: dict[str, Any] = {"layer": "", "axes": "", "extra_tokens": 0, "gradient_share": 0.0, "replay": "", "evidence": ""}
        try:
            model = model or load_network(load_example(example, narrow=narrow), random_weights=True).model
            inputs = torch.randn(1, example.channels, *size, generator=torch.Generator().manual_seed(0))
            settled = settled or settle_norms(model, inputs)
            outcome |= _outcome(model, inputs)
        except Exception as error:  # noqa: BLE001 - any error is reported in the table
            refusal = None if model is None else _refusal(model, inputs)
            outcome |= refusal or {"status": FAILED, "words": _message(error)}
        yield BackboneResult(name, example.config, size, seconds=time.perf_counter() - started, **outcome)


def _refusal(model: nn.Module, inputs: Tensor) -> dict[str, Any] | None:
    try:
        with torch.no_grad():
            model(inputs)
    except Exception as error:  # noqa: BLE001 - networks raise all kinds of exceptions
        return {"status": REFUSED, "words": _message(error)}
    return None


def settle_norms(model: nn.Module, inputs: Tensor) -> bool:
    """Set the statistics of every BatchNorm to those of `inputs` (n, c, *spatial) and their mirror images; return True."""
    # With the initial statistics, features shrink from layer to layer, in LeViT to rounding errors.
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    try:
        if norms:
            with torch.no_grad():
                model(torch.cat([inputs, inputs.flip(-1)]))  # two samples: a norm after the pooling needs more than one value
    finally:
        for norm in norms:
            norm.eval()
    return True


def _outcome(model: nn.Module, inputs: Tensor) -> dict[str, Any]:
    cam = _ProbedCAM(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CamtoolWarning)  # with random weights a map may be negative everywhere
        result = cam(inputs)
    (path,) = cam.target_layers
    layer = next(layer for layer in cam.last_probe.layers if layer.path == path)
    assert layer.reading is not None, "a target layer was read as maps"
    raw = result.raw[path]
    varies = bool(raw.amax() - raw.amin() > FLAT_SHARE * raw.abs().amax())
    replay, deviation = _replayed(model, inputs, layer)
    problem = "" if varies else "the map is constant"
    evidence = result.layout_evidence.get(path, "")
    if evidence not in (MEASURED, ONLY_READING):
        problem = "the layer's reading is not known"
    if deviation > REPLAY_TOLERANCE:
        problem = f"replay differs from whole forward passes by {deviation:.1e}"
    return {
        "status": FAILED if problem else OK,
        "words": problem,
        "layer": path,
        "axes": layer.reading.axes,
        "extra_tokens": layer.reading.extra_tokens,
        "gradient_share": layer.gradient_share,
        "replay": replay,
        "evidence": evidence,
    }


def _replayed(model: nn.Module, inputs: Tensor, layer: ProbedLayer) -> tuple[str, float]:
    """Return (status of the replay of the network's tail, its deviation from whole forward passes relative to the largest score)."""
    recording = Recording(model, layer.module, layer.record.call)
    with evaluating(model), torch.no_grad():
        with recording.recording():
            output = model(inputs)
        replay = Replay(recording, layer.record.index, find_inputs(inputs), output)
        factors = torch.rand(2, *replay.activations.shape[1:], generator=torch.Generator().manual_seed(0))
        scores, expected = [next(tensors_in(run(0, replay.activations * 2 * factors))) for run in (replay, replay.whole)]
    return replay.status, ((scores - expected).abs().amax() / expected.abs().amax()).item()


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def markdown(measured: Sequence[BackboneResult]) -> str:
    """Return the table of supported backbones in markdown, and below it the classes without a map, with the reason."""
    sizes = [times(size) for size in SIZES]
    lines = [
        f"| backbone | default target layer | axes + extra tokens | known by | {' | '.join(sizes)} | perturbed by |",
        f"|---|---|---|---|{'---|' * len(sizes)}---|",
    ]
    backbones = dict.fromkeys(result.backbone for result in measured)
    lines += [markdown_row([result for result in measured if result.backbone == name]) for name in backbones]
    lines += ["", "Not classifiers by themselves:", ""]
    lines += [f"- {', '.join(names)}: {reason}" for reason, names in WITHOUT_MAP.items()]
    return "\n".join(lines)


def markdown_row(measured: Sequence[BackboneResult]) -> str:
    """Return the row of one backbone."""
    shown = next((result for result in measured if result.status == OK), measured[0])
    where = "" if shown.size == SIZES[0] else f" at {times(shown.size)}"
    extra = f" + {shown.extra_tokens}" if shown.extra_tokens else ""
    labels = {OK: "yes", REFUSED: "the network refuses", FAILED: "no"}
    by_size = [labels[result.status] for size in SIZES for result in measured if result.size == size]
    return (
        f"| {shown.backbone} | `{shown.layer}`{where} | {shown.axes}{extra} | {shown.evidence} | {' | '.join(by_size)} | {shown.replay} |"
    )
