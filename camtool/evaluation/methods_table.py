"""All methods by all metrics on scenes of which is known where the object is: which method for which network?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from camtool.analysis.overlap import Masks
from camtool.analysis.stored_samples import StoredSamples
from camtool.apis import Explainer
from camtool.datasets.synthetic.image_folder import MASKS, write_folder
from camtool.datasets.synthetic.scenes import ShapeScenes
from camtool.errors import CamtoolError, DataError
from camtool.evaluation.cases import explained_sources
from camtool.evaluation.explaining import Methods
from camtool.evaluation.masks import folder_masks
from camtool.evaluation.metric import Metric
from camtool.evaluation.protocols import score_files
from camtool.evaluation.results import Results
from camtool.evaluation.scoring import Material, Scoring
from camtool.runs import run
from camtool.store import open as open_store

SPLIT = "val"


@dataclass(frozen=True)
class MethodScores:
    """What the metrics say of a method, or why it has no maps."""

    method: str
    layer: str = ""
    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By metric the row of `Results.summary`."""
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

    def scores(self, folder: Path, progress: Callable[[str, int, int], None] | None = None) -> Iterator[MethodScores]:
        """Yield the scores of each method, then those of the baselines, and of the mask itself and its opposite as maps.

        Maps explain the true class, since the masks are of its object; scenes without an object have no mask and no score.

        Args:
            folder: an empty one for scenes, maps and scores.

        Raises:
            DataError: if no method has maps.
        """
        data = folder / "scenes"
        write_folder(data, ShapeScenes(), {SPLIT: self.scenes})
        baselines: Results | None = None
        reasons = []
        for number, method in enumerate(self.methods):
            if progress is not None:
                progress(method, number, len(self.methods))
            try:
                results = self._results(folder, data, method, baselines=baselines is None)
            except CamtoolError as error:
                reasons.append(str(error))
                yield MethodScores(method, reason=str(error))
                continue
            baselines = baselines or results
            yield from _of(results, baseline=False)
        if baselines is None:
            raise DataError(f"No method has maps of this network: {reasons[0] if reasons else 'no method was asked for'}")
        yield from _of(baselines, baseline=True)

    def _results(self, folder: Path, data: Path, method: str, *, baselines: bool) -> Results:
        explainer = Explainer(
            self.config, self.checkpoint, method=method, device=self.device, seed=self.seed, random_weights=self.random_weights
        )
        maps, scores = folder / "maps" / method, folder / "scores" / method
        run(explainer, data / SPLIT, maps, categories="label", batch_size=self.batch_size)
        store = open_store(maps)
        samples = StoredSamples(store, explainer.network.reading, explainer.network.preprocess)
        material = Material(samples, folder_masks(Masks(data / MASKS / SPLIT), samples), Methods(explainer, store.run))
        scoring = Scoring(
            store, explained_sources(store), self.metrics, material, self.seed, self.batch_size, baselines=baselines, truth=baselines
        )
        scoring.write(scores)
        return Results.read(score_files(scoring, scores), self.metrics, seed=self.seed)


def _of(results: Results, *, baseline: bool) -> Iterator[MethodScores]:
    rows: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for of, row in zip(results.series, results.summary(), strict=True):
        if of.baseline == baseline:
            rows.setdefault((of.method, of.layer or ""), {})[of.metric] = row
    for (method, layer), scores in rows.items():
        yield MethodScores(method, layer, scores, baseline)
