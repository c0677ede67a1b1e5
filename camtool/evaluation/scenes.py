"""Held-out scenes of shapes, which are in no file: a data set to explain, samples to score, and masks of what makes their classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from camtool.analysis.stored_samples import StoredSample, StoredSamples
from camtool.apis import Explainer
from camtool.apis.images import NamedPicture
from camtool.datasets.annotations import class_masks, sample_annotations
from camtool.datasets.splits import Samples
from camtool.errors import DataError
from camtool.evaluation.masks import SampleMasks
from camtool.store import MapRow, Store

SPLIT = "val"
_SETTINGS = ("rank", "size", "channels", "distractors", "fewest", "metainfo")


def scenes_for(config: Any, count: int) -> Samples:
    """Return held-out scenes of the rank and size that a config's own validation has; pictures of 64 pixels where it has none of shapes.

    Example:
        >>> from mmengine.config import Config
        >>> from camtool.evaluation.scenes import scenes_for
        >>> own = dict(type="camtool.Shapes", split="val", count=600, rank=1, size=96)
        >>> len(scenes_for(Config(dict(val_dataloader=dict(dataset=own))), 5)), scenes_for(Config(), 5)[1].picture.shape
        (5, (64, 64, 3))
        >>> scenes_for(Config(dict(val_dataloader=dict(dataset=own))), 5)[1].picture.shape  # a signal is a picture one pixel wide
        (96, 1, 3)

    Args:
        config: an OpenMMLab config.
        count: of scenes.
    """
    own = config.get("val_dataloader", {}).get("dataset", {})
    is_of_shapes = str(own.get("type", "")).rpartition(".")[2] == "Shapes"
    settings = {name: own[name] for name in _SETTINGS if name in own} if is_of_shapes else {}
    if settings.get("rank", 2) > 2 or settings.get("channels", 3) != 3:
        raise DataError("Expected scenes that are pictures or signals of three channels; volumes are in no picture.")
    dataset = {"type": "camtool.Shapes", "split": SPLIT, "count": count, **settings}
    return Samples(type(config)({"val_dataloader": {"dataset": dataset}}), SPLIT, "shapes")


@dataclass(frozen=True)
class SceneSamples(StoredSamples):
    """Samples of a store of scenes, which are made anew instead of read."""

    scenes: Samples

    @classmethod
    def of_run(cls, store: Store, explainer: Explainer, scenes: Samples) -> "SceneSamples":
        """Return the samples of a run over scenes."""
        return cls(store, explainer.network.reading, explainer.network.preprocess, scenes)

    def read(self, row: MapRow) -> StoredSample:
        scene = self.scenes[row["id"]]
        subject = NamedPicture(scene.picture, scene.name)
        inputs = self.preprocess(subject.content)
        return StoredSample(subject, inputs, subject.canvas(inputs, self.preprocess, original=not _is_signal(subject)))

    def on_input(self, mask: np.ndarray, sample: StoredSample) -> np.ndarray:
        assert isinstance(sample.subject, NamedPicture)
        if not _is_signal(sample.subject):
            return super().on_input(mask, sample)
        # Where a network sees a picture is measured on both sides, of which this has one: it must see all of it.
        if mask.shape != tuple(sample.inputs.shape[2:]):
            raise DataError(f"Expected a network that sees signals of {len(mask)} steps as they are, got {tuple(sample.inputs.shape[2:])}.")
        if not mask.any():
            raise DataError(
                f"Expected a mask with at least one position, got an empty one of '{sample.subject.name}'; leave the sample out."
            )
        return mask

    def masks(self) -> SampleMasks:
        """Return the masks of the scenes' objects; DataError of a scene without one."""
        annotations = sample_annotations(self.scenes)

        def regions_of(row: MapRow, sample: StoredSample) -> np.ndarray:
            assert isinstance(sample.subject, NamedPicture)
            regions = class_masks(annotations[row["path"]])
            return np.reshape(regions, (len(regions), *sample.subject.picture.shape[:2]))

        return SampleMasks(self, regions_of)


def _is_signal(subject: NamedPicture) -> bool:
    """Return whether a picture is one pixel wide."""
    return subject.picture.shape[1] == 1
