"""Held-out scenes of shapes, which are in no file: a data set to explain, samples to score, and masks of what makes their classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from camtool.analysis.stored_samples import StoredSample, StoredSamples
from camtool.apis import Explainer
from camtool.apis.subjects import Subject, subject_of
from camtool.datasets.annotations import class_masks, sample_annotations
from camtool.datasets.splits import Samples
from camtool.errors import DataError
from camtool.evaluation.masks import SampleMasks
from camtool.models.sources.kinds import IMAGE, SIGNAL, VOLUME
from camtool.store import MapRow, Store

SPLIT = "val"
_SETTINGS = ("rank", "size", "channels", "distractors", "fewest", "kinds", "metainfo")
_RANKS = {SIGNAL: 1, IMAGE: 2, VOLUME: 3}


def scenes_for(config: Any, count: int, kind: str = IMAGE) -> Samples:
    """Return held-out scenes of the rank and size that a config's own validation has; pictures of 64 pixels where it has none of shapes.

    Raises:
        DataError: if the network takes another kind of input.

    Example:
        >>> from mmengine.config import Config
        >>> from camtool.evaluation.scenes import scenes_for
        >>> own = dict(type="camtool.Shapes", split="val", count=600, rank=1, size=96)
        >>> len(scenes_for(Config(dict(val_dataloader=dict(dataset=own))), 5, "signal")), scenes_for(Config(), 5)[1].content.shape
        (5, (64, 64, 3))

    Args:
        config: an OpenMMLab config.
        count: of scenes.
        kind: of the network's input: "image", "volume" or "signal".
    """
    own = config.get("val_dataloader", {}).get("dataset", {})
    is_of_shapes = str(own.get("type", "")).rpartition(".")[2] == "Shapes"
    settings = {name: own[name] for name in _SETTINGS if name in own} if is_of_shapes else {}
    rank = settings.get("rank", 2)
    if rank != _RANKS[kind]:
        raise DataError(
            f"Expected scenes with rank={_RANKS[kind]} for a network that takes {kind}s, got rank={rank}. Name them in "
            "'val_dataloader.dataset', or what the network takes by input=dict(kind=…)."
        )
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

    def subject(self, row: MapRow) -> Subject:
        return subject_of(self.scenes.read(row["id"], self.reading))

    def masks(self) -> SampleMasks:
        """Return the masks of the scenes' objects; DataError of a scene without one."""
        annotations = sample_annotations(self.scenes)

        def regions_of(row: MapRow, _: StoredSample) -> np.ndarray:
            return class_masks(annotations[row["path"]])

        return SampleMasks(self, regions_of)
