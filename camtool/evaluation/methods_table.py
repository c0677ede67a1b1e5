"""All methods by all metrics on scenes of which is known where the object is: which method for which network?"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camtool.apis import Explainer
from camtool.apis.model import ModelRequest
from camtool.attribution.costs import MANY
from camtool.datasets.splits import Samples
from camtool.errors import CamtoolError, DataError
from camtool.evaluation.cases import explained_sources
from camtool.evaluation.explaining import Methods
from camtool.evaluation.metric import METHOD, Metric
from camtool.evaluation.protocols import score_files
from camtool.evaluation.results import Results
from camtool.evaluation.scenes import SceneSamples, scenes_for
from camtool.evaluation.scoring import Material, Scoring
from camtool.methods import build_method
from camtool.models.loading import kind_of
from camtool.runs import run
from camtool.runs.data import SplitData
from camtool.store import open as open_store

PASSES = 2000
"""Forward passes of the maps of all scenes on which a method is asked again."""
FEWEST = 4
"""Scenes on which a method is asked again, or it is not asked."""


@dataclass(frozen=True)
class MethodScores:
    """What the metrics say of a method, or why it has no maps."""

    method: str
    layer: str = ""
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By metric the row of `Results.summary`."""
    by_scene: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    """By metric the score of each scene that has one."""
    asked_again: int = 0
    """Scenes of the metrics that ask the method again; 0: too costly, it has no score by them."""
    baseline: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Trial:
    """A network, and the scenes on which its maps are scored.

    Args:
        config, checkpoint: of the network, a classifier of the shapes.
        methods: by name.
        metrics: with their protocols.
        scenes: how many, held out from training.
        seed: of ties, random maps, and methods that draw.
        batch_size: how many inputs share a forward pass.
        device: "cpu", "cuda".
        random_weights: no checkpoint, seeded weights.
        passes: of the network for one map of each scene on which the metrics that ask the method again are computed: a method of n passes
            a map is asked on `passes // n` scenes, the first ones, and not at all where these would be fewer than 4. A method that takes
            some for each channel or position of its layer, 100 at most, counts as one of 100.
    """

    config: str
    checkpoint: str | None
    methods: Sequence[str]
    metrics: Sequence[Metric]
    scenes: int = 100
    seed: int = 0
    batch_size: int = 16
    device: str = "cpu"
    random_weights: bool = False
    passes: int = PASSES

    def scores(self, folder: Path, progress: Callable[[str, int, int], None] | None = None) -> Iterator[MethodScores]:
        """Yield the scores of each method, then those of the baselines, and of the mask itself and its opposite as maps.

        Maps explain the true class, since the masks are of its object; scenes without an object have no mask and no score.

        Args:
            folder: an empty one for maps and scores.

        Raises:
            DataError: if no method has maps.
        """
        loaded = ModelRequest(self.config).read_config()
        scenes = scenes_for(loaded.config, self.scenes, kind_of(loaded))
        baselines: list[MethodScores] = []
        reasons = []
        for number, method in enumerate(self.methods):
            if progress is not None:
                progress(method, number, len(self.methods))
            try:
                found = self._scores_of(folder, scenes, method, baselines=not baselines)
            except CamtoolError as error:
                reasons.append(str(error))
                yield MethodScores(method, reason=str(error))
                continue
            baselines = baselines or [one for one in found if one.baseline]
            yield from (one for one in found if not one.baseline)
        if not baselines:
            raise DataError(f"No method has maps of this network: {reasons[0] if reasons else 'no method was asked for'}")
        yield from baselines

    def _scores_of(self, folder: Path, scenes: Samples, method: str, *, baselines: bool) -> list[MethodScores]:
        explainer = Explainer(
            self.config, self.checkpoint, method=method, device=self.device, seed=self.seed, random_weights=self.random_weights
        )
        passes: dict[str, int] = {}
        explainer.cam.announce = lambda name, count, _: passes.update({name: count})
        maps, scores = folder / "maps" / method, folder / "scores" / method
        run(explainer, SplitData(scenes, explainer.network.reading), maps, categories="label", batch_size=self.batch_size)
        store = open_store(maps)
        samples = SceneSamples.of_run(store, explainer, scenes)
        material = Material(samples, samples.masks(), Methods(explainer, store.run))
        built = build_method(method)
        # The store has the factors of a product (guidedgradcam), too, which are methods of their own.
        chosen = [source for source in explained_sources(store) if source.method == built.name]
        size = scenes.answers(0)["mask"].shape
        few = min(MANY, built.further_passes(MANY, MANY, size))  # not announced: at most so many, whatever the layer
        asked = min(self.scenes, self.passes // (1 + passes.get(built.name, few)))
        asked = asked if asked >= min(FEWEST, self.scenes) else 0
        found = []
        for limit, metrics in (
            (None, [metric for metric in self.metrics if metric.needs != METHOD]),
            (asked, [metric for metric in self.metrics if metric.needs == METHOD]),
        ):
            if metrics and limit != 0:
                scoring = Scoring(store, chosen, metrics, material, self.seed, self.batch_size, limit, baselines=baselines, truth=baselines)
                scoring.write(scores)
                found.append(Results.read(score_files(scoring, scores), metrics, seed=self.seed))
        return _merged(found, asked)


def _merged(results: Iterable[Results], asked: int) -> list[MethodScores]:
    """Return the scores of several metrics by what they are of: methods in the order of their rows, then baselines."""
    rows: dict[tuple[bool, str, str], dict[str, Mapping[str, Any]]] = {}
    scenes: dict[tuple[bool, str, str], dict[str, dict[int, float]]] = {}
    for one in results:
        for (of, series), row in zip(one.series.items(), one.summary(), strict=True):
            key = (of.baseline, of.method, of.layer or "")
            rows.setdefault(key, {})[of.metric] = row
            known = {scene: score for (scene, _), score in zip(series.maps, series.scores, strict=True) if math.isfinite(score)}
            scenes.setdefault(key, {})[of.metric] = known
    return [
        MethodScores(method, layer, rows[key], scenes[key], 0 if baseline else asked, baseline)
        for key in rows
        for baseline, method, layer in [key]
    ]
