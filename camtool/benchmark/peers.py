"""Run the peers, pytorch-grad-cam, torchcam and Quantus, as their documentation shows. The only module that imports them."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from camtool.benchmark.cases import Case
from camtool.benchmark.networks import Subject
from camtool.errors import CamtoolError

GRAD_CAM, TORCHCAM, QUANTUS = "pytorch-grad-cam", "torchcam", "Quantus"

OF_GRAD_CAM = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "layercam": "LayerCAM",
    "xgradcam": "XGradCAM",
    "hirescam": "HiResCAM",
    "eigencam": "EigenCAM",
    "eigengradcam": "EigenGradCAM",
    "kpcacam": "KPCA_CAM",
    "fullgrad": "FullGrad",
    "scorecam": "ScoreCAM",
    "ablationcam": "AblationCAM",
}
OF_TORCHCAM = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMpp",
    "layercam": "LayerCAM",
    "xgradcam": "XGradCAM",
    "smoothgradcam++": "SmoothGradCAMpp",
    "scorecam": "ScoreCAM",
}
AGREES = {
    GRAD_CAM: ("gradcam", "gradcam++", "layercam", "xgradcam", "hirescam", "eigencam", "eigengradcam", "fullgrad"),
    # Its GradCAM++ lacks the division, its SmoothGradCAM++ uses the gradients of the last noisy sample only.
    TORCHCAM: ("gradcam", "layercam", "xgradcam"),
}
"""Methods with the same formula as camtool's, the eigen methods up to sign. torchcam's maps have the size of the features."""

SETTINGS: dict[str, dict[str, Any]] = {"gradcam++": {"type": "gradcam++", "epsilon": 1e-6}}  # pytorch-grad-cam's
"""Settings by method with which camtool's formula is theirs."""

Run = Callable[[], list[Tensor]]
"""Computes the maps (n, h, w) of the subject for each method and class, in this order."""
Peer = Callable[[Subject, Case], AbstractContextManager[Run]]
"""Context manager that sets up a contestant, untimed; its hooks are removed at the end, so that they do not slow others."""


def check_installed() -> None:
    """Raise CamtoolError if a peer is not installed."""
    try:
        import pytorch_grad_cam  # noqa: F401
        import torchcam  # noqa: F401
    except ImportError as error:
        raise CamtoolError(
            f'The benchmark needs the packages grad-cam and torchcam: {error}. Install them with: pip install -e ".[bench]"'
        ) from error


def check_metrics_installed() -> None:
    """Raise CamtoolError if a peer whose metrics are measured is not installed."""
    check_installed()
    try:
        import quantus  # noqa: F401
    except ImportError as error:
        raise CamtoolError(
            f'The benchmark of metrics needs the package quantus, too: {error}. Install it with: pip install -e ".[bench]"'
        ) from error


def peers_of(case: Case) -> dict[str, Peer]:
    """Return the peers, by name, that have all methods of the case."""
    peers: dict[str, Peer] = {}
    if all(method in OF_GRAD_CAM for method in case.methods):
        peers[GRAD_CAM] = _grad_cam
    if all(method in OF_TORCHCAM for method in case.methods) and not case.aug_smooth:
        peers[TORCHCAM] = _torchcam
    return peers


@contextmanager
def _grad_cam(subject: Subject, case: Case) -> Iterator[Run]:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    layer = subject.model.get_submodule(subject.layer)
    options = {} if subject.extra_tokens is None else {"reshape_transform": _grid(subject.extra_tokens)}
    with ExitStack() as stack, _silence():
        extractors = [
            stack.enter_context(getattr(pytorch_grad_cam, OF_GRAD_CAM[method])(subject.model, [layer], **options))
            for method in case.methods
        ]

        def run() -> list[Tensor]:
            # One call, with a forward pass, for each class.
            return [
                torch.from_numpy(extractor(subject.inputs, list(map(ClassifierOutputTarget, classes)), aug_smooth=case.aug_smooth))
                for extractor in extractors
                for classes in zip(*subject.classes, strict=True)
            ]

        yield run
    subject.model.zero_grad(set_to_none=True)


@contextmanager
def _torchcam(subject: Subject, case: Case) -> Iterator[Run]:
    import torchcam.methods

    options = {} if subject.extra_tokens is None else {"reshape_transform": _grid(subject.extra_tokens)}
    classes = [list(of_batch) for of_batch in zip(*subject.classes, strict=True)]

    def maps_of(method: str) -> list[Tensor]:
        with getattr(torchcam.methods, OF_TORCHCAM[method])(subject.model, subject.layer, **options) as extractor:
            if method == "scorecam":
                with torch.no_grad():
                    subject.model(subject.inputs)
                return [extractor(of_batch)[0] for of_batch in classes]
            scores = subject.model(subject.inputs)
            if method == "smoothgradcam++":
                return [extractor(of_batch)[0] for of_batch in classes]
            last = len(classes) - 1
            return [extractor(of_batch, scores, retain_graph=number < last)[0] for number, of_batch in enumerate(classes)]

    with _silence():
        yield lambda: [maps for method in case.methods for maps in maps_of(method)]


@contextmanager
def grad_cam_of_batches(model: nn.Module, layer: nn.Module) -> Iterator[Callable[[Tensor], Any]]:
    """Yield a function that computes pytorch-grad-cam's Grad-CAM of the predicted classes of a batch."""
    from pytorch_grad_cam import GradCAM

    with GradCAM(model, [layer]) as extractor:
        yield lambda inputs: extractor(inputs, None)


@contextmanager
def torchcam_of_batches(model: nn.Module, layer: nn.Module) -> Iterator[Callable[[Tensor], Any]]:
    """Yield a function that computes torchcam's Grad-CAM of the predicted classes of a batch."""
    from torchcam.methods import GradCAM

    with GradCAM(model, target_layer=layer) as extractor:

        def maps_of(inputs: Tensor) -> Any:
            scores = model(inputs)
            return extractor(scores.argmax(dim=1).tolist(), scores)

        yield maps_of


def grad_cam_road(model: nn.Module, inputs: Tensor, maps: Tensor, classes: Sequence[int], fractions: Sequence[float]) -> Any:
    """Return pytorch-grad-cam's ROAD of maps (n, h, w); its percentiles are what stays."""
    from pytorch_grad_cam.metrics.road import ROADCombined
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputSoftmaxTarget

    targets = list(map(ClassifierOutputSoftmaxTarget, classes))
    return ROADCombined([100 * (1 - share) for share in fractions])(inputs, maps.numpy(), targets, model)


def torchcam_areas(model: nn.Module, layer: str, inputs: Tensor, classes: list[int], steps: int, batch_size: int) -> Any:
    """Return torchcam's deletion and insertion of its own Grad-CAM, the mean over samples."""
    from torchcam.methods import GradCAM
    from torchcam.metrics import DeletionInsertionMetric

    with GradCAM(model, target_layer=layer) as extractor:
        metric = DeletionInsertionMetric(extractor, nn.Softmax(dim=-1), steps=steps, batch_size=batch_size)
        metric.update(inputs, classes)
        return metric.summary()


def quantus_pixel_flipping(model: nn.Module, inputs: Tensor, maps: Tensor, classes: Sequence[int], step: int) -> Any:
    """Return Quantus's PixelFlipping of maps (n, h, w): the score after each step of so many values, which must divide the positions."""
    import quantus

    metric = quantus.PixelFlipping(features_in_step=step, disable_warnings=True)
    return metric(model=model, x_batch=inputs.numpy(), y_batch=torch.tensor(classes).numpy(), a_batch=maps.unsqueeze(1).numpy())


def quantus_max_sensitivity(
    model: nn.Module, inputs: Tensor, classes: Sequence[int], explain: Callable[[Tensor, list[int]], Tensor], draws: int
) -> Any:
    """Return Quantus's MaxSensitivity of a function of inputs and classes that returns maps (n, h, w)."""
    import quantus

    def explained(model: Any, inputs: Any, targets: Any, **_: Any) -> Any:
        return explain(torch.as_tensor(inputs), list(map(int, targets))).unsqueeze(1).numpy()

    metric = quantus.MaxSensitivity(nr_samples=draws, lower_bound=0.02, disable_warnings=True)
    return metric(model=model, x_batch=inputs.numpy(), y_batch=torch.tensor(classes).numpy(), explain_func=explained)


def _grid(extra_tokens: int) -> Callable[[Tensor], Tensor]:
    def to_maps(tokens: Tensor) -> Tensor:
        patches = tokens[:, extra_tokens:]
        side = round(patches.shape[1] ** 0.5)
        return patches.unflatten(1, (side, side)).permute(0, 3, 1, 2)

    return to_maps


@contextmanager
def _silence() -> Iterator[Any]:
    # One of them prints, the other draws progress bars.
    with open(os.devnull, "w", encoding="utf-8") as null, contextlib.redirect_stdout(null), contextlib.redirect_stderr(null):
        yield
