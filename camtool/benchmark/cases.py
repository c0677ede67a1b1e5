"""Benchmark cases: network, batch, methods, and the target ratio of each. Cases with an unknown method or keyword are listed as absent."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from camtool.attribution.cam import CAM
from camtool.errors import MethodError
from camtool.methods import find_method

FORWARDS, PEERS, MEMORY = "forwards", "of the better peer", "of the forward's memory"


@dataclass(frozen=True)
class Case:
    """A benchmark case."""

    row: str
    """Row of the table that it belongs to."""
    network: str
    """A key of `camtool.benchmark.networks.LAYERS`."""
    batch: int
    methods: tuple[str, ...]
    asked: float | None
    """Target: at most this many `unit`; None: no target."""
    unit: str = FORWARDS
    classes: int = 1
    """Number of classes explained for each sample, the most probable ones."""
    aug_smooth: bool = False
    speed: Mapping[str, Any] = field(default_factory=dict)
    """Argument `speed` of CAM."""
    quick: bool = False
    """Whether it is part of a quick run."""

    @property
    def name(self) -> str:
        """Name for `--filter` and `--profile`: "gradcam resnet50 8"."""
        what = self.methods[0] if len(self.methods) == 1 else f"{len(self.methods)} methods"
        parts = [what, f"{self.classes} classes" if self.classes > 1 else "", "aug-smooth" if self.aug_smooth else ""]
        parts += [key if value is True else str(value) for key, value in self.speed.items()]
        parts += ["memory" if self.unit == MEMORY else "", self.network, str(self.batch)]
        return " ".join(filter(None, parts))

    def missing(self) -> str:
        """Return what camtool lacks for this case ("no method …"), "" if nothing."""
        unknown = [name for name in self.methods if not _exists(name)]
        if unknown:
            return f"no method {', '.join(unknown)}"
        if self.speed and "speed" not in inspect.signature(CAM).parameters:
            return "CAM has no keyword speed"
        return ""


def _exists(method: str) -> bool:
    try:
        find_method(method)
    except MethodError:
        return False
    return True


GRADIENT = ("gradcam", "gradcam++", "layercam", "xgradcam", "hirescam")
EIGEN = ("eigencam", "eigengradcam", "kpcacam")
BATCHES = (1, 8)


def _cases() -> Iterator[Case]:
    for network, asked in (("resnet50", 1.05), ("vit_b_16", 1.15)):
        for batch in BATCHES:
            for method in GRADIENT:
                quick = batch == 1 and (network == "resnet50" or method == "gradcam")
                yield Case(", ".join(GRADIENT), network, batch, (method,), asked, quick=quick)
    for network in ("resnet50", "vit_b_16"):
        for batch in BATCHES:
            for method in EIGEN:
                yield Case(", ".join(EIGEN), network, batch, (method,), 1.10, quick=batch == 1 and network == "resnet50")
    for network, asked in (("resnet50", 1.3), ("vit_b_16", 2.2)):
        for batch in BATCHES:
            yield Case("five gradient methods of one batch", network, batch, GRADIENT, 1.3, quick=batch == 1 and network == "resnet50")
            yield Case("ten classes of one batch", network, batch, ("gradcam",), asked, classes=10, quick=batch == 1)
    for batch in BATCHES:
        yield Case("aug-smooth", "resnet50", batch, ("gradcam",), 6.2, aug_smooth=True, quick=batch == 1)
    yield Case("fullgrad", "resnet50", 1, ("fullgrad",), 5.0)
    yield Case("smoothgradcam++ (4 samples)", "resnet50", 1, ("smoothgradcam++",), 4.3, quick=True)
    yield Case("ablationcam, 512 channels", "resnet18", 1, ("ablationcam",), 3.0)
    yield Case("reciprocam", "resnet50", 1, ("reciprocam",), 2.0, quick=True)
    yield Case("scorecam, 512 channels", "resnet18", 1, ("scorecam",), 1.0, unit=PEERS)
    folded = {"channels_last": True, "fold": True}
    yield Case("scorecam, 512 channels, folded", "resnet18", 1, ("scorecam",), 0.75, unit=PEERS, speed=folded)
    yield Case("gradcam, compiled", "resnet50", 8, ("gradcam",), 0.65, speed={"compile": True})
    yield Case("gradcam, bfloat16", "resnet50", 8, ("gradcam",), 0.5, speed={**folded, "amp": "bf16"})
    yield Case("gradcam, peak memory", "resnet50", 8, ("gradcam",), 1.15, unit=MEMORY, quick=True)
    yield Case("gradcam, peak memory", "resnet50", 32, ("gradcam",), 1.15, unit=MEMORY)


CASES = tuple(_cases())


def on_tiny() -> tuple[Case, ...]:
    """Return the cases of the ResNets on a tiny network, without targets: a test of function, not of speed."""
    tiny = [replace(case, network="tiny", batch=min(case.batch, 2), asked=None, quick=True) for case in CASES if case.network != "vit_b_16"]
    return tuple({case.name: case for case in tiny}.values())
