"""What a trained network says of scenes whose answers are known: its accuracy, where its CAM lies, and what erasing does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.datasets.synthetic.scenes import Sample, Scene
from camtool.functional import resize


@dataclass(frozen=True)
class Answers:
    """Shares are of all samples; those of CAM and of erasing of the samples with an object."""

    accuracy: float
    energy: float
    """Of relu(raw) inside the object's mask, by the mask's share of the picture; averaged over samples."""
    object_to_distractor: float
    """Mean of relu(raw) on the object by its mean on the distractor."""
    flips: float
    """Erasing the object changes the prediction away from its class."""
    stays: float
    """Erasing the distractors leaves the prediction."""


def ask(model: nn.Module, to_inputs: Any, scenes: Sequence[Scene], **settings: Any) -> Answers:
    """Return the network's answers. `to_inputs` turns pictures, uint8 (n, c, *spatial), into its input; settings are CAM's."""
    labels = torch.tensor([scene.label for scene in scenes])
    accuracy = (_predicted(model, to_inputs, [scene.sample() for scene in scenes]) == labels).double().mean().item()
    scenes = [scene for scene in scenes if scene.object is not None]
    labels = torch.tensor([scene.label for scene in scenes])
    samples = [scene.sample() for scene in scenes]
    before = _predicted(model, to_inputs, samples)
    erased = _predicted(model, to_inputs, [scene.without_object().sample() for scene in scenes])
    plain = _predicted(model, to_inputs, [scene.without_distractors().sample() for scene in scenes])
    masks, distractors = (torch.from_numpy(np.stack([getattr(one, name) for one in samples])) for name in ("mask", "distractor_mask"))
    axes = tuple(range(1, masks.ndim))
    energy = _positive_maps(model, to_inputs, samples, labels, masks.shape[1:], settings)
    inside = (energy * masks).sum(axes) / energy.sum(axes).clamp(min=1e-12)
    on_object, on_distractor = ((energy * mask).sum() / mask.sum() for mask in (masks, distractors))
    return Answers(
        accuracy=accuracy,
        energy=(inside / masks.double().mean(axes)).mean().item(),
        object_to_distractor=(on_object / on_distractor.clamp(min=1e-12)).item(),
        flips=(erased != labels).double().mean().item(),
        stays=(plain == before).double().mean().item(),
    )


def pictures_of(samples: Sequence[Sample]) -> Tensor:
    """Return uint8 (n, c, *spatial), in RGB."""
    return torch.from_numpy(np.stack([np.moveaxis(sample.picture, -1, 0) for sample in samples]))


def _predicted(model: nn.Module, to_inputs: Any, samples: Sequence[Sample]) -> Tensor:
    with torch.no_grad():
        chunks = [samples[start : start + 100] for start in range(0, len(samples), 100)]
        return torch.cat([model(to_inputs(pictures_of(chunk))).argmax(dim=1) for chunk in chunks])


def _positive_maps(
    model: nn.Module, to_inputs: Any, samples: Sequence[Sample], labels: Tensor, size: Sequence[int], settings: dict[str, Any]
) -> Tensor:
    cam = CAM(model, **{"method": "cam", **settings})
    maps = []
    for start in range(0, len(samples), 100):
        result = cam(to_inputs(pictures_of(samples[start : start + 100])), labels[start : start + 100].tolist())
        (raw,) = result.raw.values()
        raw = raw.reshape(raw.shape[: 1 + len(size)])  # of signals as pictures one pixel wide, that axis is left out
        maps.append(resize(raw.clamp(min=0), size).double())
    return torch.cat(maps)
