"""Score the maps of a store, shard by shard: each metric's scores of a shard are a file, so that a run that was interrupted goes on."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from camtool.analysis.sources import Source
from camtool.analysis.stored_samples import StoredSample, StoredSamples
from camtool.errors import CamtoolError, DataError
from camtool.evaluation.baselines import baseline_maps
from camtool.evaluation.cases import Case, Score, together, why_no_map
from camtool.evaluation.counted import BOXES
from camtool.evaluation.explaining import Batch, Methods
from camtool.evaluation.masks import SampleMasks
from camtool.evaluation.metric import MAP, MASK, METHOD, Metric, check_needs
from camtool.metrics import ScoreCurves
from camtool.metrics.removal import RoadCurves
from camtool.store import MapRow, Store
from camtool.store.reader import rows_of
from camtool.store.scores import ScoreRow, scores_path, write_scores


@dataclass(frozen=True)
class Material:
    """What metrics are computed from, beside the maps of a store."""

    samples: StoredSamples | None = None
    masks: SampleMasks | None = None
    methods: Methods | None = None
    """The run's network and methods."""

    def check(self, metrics: Sequence[Metric]) -> None:
        """Raise DataError if a metric needs what is not there."""
        has_samples = self.samples is not None
        check_needs(metrics, masks=has_samples and self.masks is not None, network=has_samples and self.methods is not None)


@dataclass(frozen=True)
class Scoring:
    """Scores of a store's maps.

    Args:
        store: of the maps.
        sources: the methods and layers whose maps are scored.
        metrics: with their protocols.
        material: what the metrics need.
        seed: of ties, random baselines and random subsets.
        batch_size: how many samples are scored at once, and how many inputs share a forward pass.
        limit: number of samples, from the first; None: all.
        baselines: whether maps that know nothing of the network are scored, too.
        truth: whether the mask itself is scored as a map, too, "object", and its opposite, "background".
    """

    store: Store
    sources: Sequence[Source]
    metrics: Sequence[Metric]
    material: Material
    seed: int = 0
    batch_size: int = 16
    limit: int | None = None
    baselines: bool = True
    truth: bool = False

    def __post_init__(self) -> None:
        self.material.check(self.metrics)

    def protocol(self, metric: Metric) -> str:
        """Return a metric's settings and the rule by which the run chose classes, as JSON."""
        rule = dict(self.store.run.get("fingerprint", {})).get("target")
        seed = {"seed": self.seed} if metric.seeded else {}
        return json.dumps({**metric.protocol, **seed, "class_rule": rule}, sort_keys=True)

    def write(self, out: Path, progress: Callable[[int, int], None] | None = None) -> None:
        """Write the scores of all shards that have none yet.

        Args:
            progress: called with the number of shards that are done, and of all.

        Raises:
            OutputError: if they cannot be written.
            DataError: if a shard is damaged.
        """
        shards = self.shards
        for done, number in enumerate(shards):
            if progress is not None:
                progress(done, len(shards))
            missing = [metric for metric in self.metrics if not scores_path(out, metric.name, number).is_file()]
            if not missing:
                continue
            found = self._of_shard(number, missing)
            for metric in missing:
                write_scores(scores_path(out, metric.name, number), found[metric.name])

    @property
    def shards(self) -> list[int]:
        """Numbers of the shards that have samples to score."""
        size = int(self.store.run["shard_size"])
        return [number for number in self.store.shards if self.limit is None or number * size < self.limit]

    def _of_shard(self, number: int, metrics: Sequence[Metric]) -> Mapping[str, list[ScoreRow]]:
        found: dict[str, list[ScoreRow]] = {metric.name: [] for metric in metrics}
        held: list[Case] = []
        samples = 0
        for cases in self._samples(number):
            if held and (samples == self.batch_size or {case.size for case in cases} != {held[0].size}):
                self._score(held, metrics, found)
                held, samples = [], 0
            held += cases
            samples += 1
        self._score(held, metrics, found)
        return found

    def _samples(self, number: int) -> Iterator[list["Case"]]:
        """Yield the maps of each sample of a shard, followed by its baselines."""
        for _, group in groupby(rows_of(self.store.shard(number)), key=lambda row: row["id"]):
            rows = [row for row in group if self._is_asked(row)]
            if not rows:
                continue
            sample: StoredSample | None = None
            reason = ""
            try:
                if self.material.samples is not None and any(row.map is not None for row in rows):
                    sample = self.material.samples.read(rows[0])
            except CamtoolError as error:
                reason = str(error)
            cases = [Case(row, sample, row["method"], row["layer"], reason=reason or why_no_map(row)) for row in rows]
            explained = {case.row["target"]: case.row for case in reversed(cases) if not case.reason and self.baselines}
            inputs = None if sample is None else sample.inputs
            for row in reversed(explained.values()):
                known = baseline_maps(row.input_size, inputs, seed=self.seed + row["id"]) | self._true_maps(row, sample)
                cases += [Case(row, sample, name, None, baseline=saliency) for name, saliency in known.items()]
            yield cases

    def _true_maps(self, row: MapRow, sample: StoredSample | None) -> dict[str, Tensor]:
        masks = self.material.masks
        if not self.truth or sample is None or masks is None:
            return {}
        try:
            mask = masks.on_input(row, sample)
        except CamtoolError:  # the scores against it say why
            return {}
        inside = torch.from_numpy(mask).float()
        return {"object": inside, "background": 1 - inside}

    def _is_asked(self, row: MapRow) -> bool:
        if self.limit is not None and row["id"] >= self.limit:
            return False
        return any(row["method"] == source.method and row["layer"] in (source.layer, None) for source in self.sources)

    def _score(self, cases: Sequence["Case"], metrics: Sequence[Metric], found: Mapping[str, list[ScoreRow]]) -> None:
        known = {number: case for number, case in enumerate(cases) if not case.reason}
        for metric in metrics:
            protocol = self.protocol(metric)
            scores: dict[int, Score] = {}
            if metric.needs == METHOD:
                for numbers in together(known):
                    scores |= self._asked_again({source: {n: known[n] for n in own} for source, own in numbers.items()}, metric)
            else:
                scores = dict(zip(known, self._with_reasons(list(known.values()), metric), strict=True))
            for number, case in enumerate(cases):
                score = scores.get(number, Score(reason=case.reason))
                found[metric.name].append(case.score_row(metric.name, protocol, score))

    def _with_reasons(self, cases: Sequence["Case"], metric: Metric) -> Iterator["Score"]:
        """Yield each case's score, or why there is none; a batch that fails is repeated case by case."""
        try:
            yield from self._scores(cases, metric)
        except CamtoolError as error:
            if len(cases) == 1:
                yield Score(reason=str(error))
                return
            for case in cases:
                yield from self._with_reasons([case], metric)

    def _scores(self, cases: Sequence["Case"], metric: Metric) -> "list[Score]":
        if not cases:
            return []
        settings = self._settings(metric)
        if metric.needs == MASK:
            return [self._of_mask(case, metric, settings) for case in cases]
        maps = torch.stack([case.saliency() for case in cases])
        if metric.needs == MAP:
            return [Score(float(value)) for value in metric.function(maps, **settings)]
        methods, inputs, targets = self._explained(cases)
        values = metric.function(methods.classifier, inputs, maps, targets, batch_size=self.batch_size, **settings)
        if isinstance(values, RoadCurves):
            morf, lerf = values.morf, values.lerf
            both = zip(values.scores(), morf.scores, lerf.scores, strict=True)
            return [Score(float(score), morf.fractions, high, low) for score, high, low in both]
        if isinstance(values, ScoreCurves):
            areas = values.areas()
            return [Score(float(area), values.fractions, curve) for area, curve in zip(areas, values.scores, strict=True)]
        return [Score(float(value)) for value in values]

    def _asked_again(self, cases: Mapping[Source | None, Mapping[int, Case]], metric: Metric) -> dict[int, Score]:
        """Return scores by number of methods on the same samples; where there is none for all, method by method, then case by case."""
        numbers = [number for own in cases.values() for number in own]
        if None in cases:
            return dict.fromkeys(numbers, Score(reason="A baseline is no method that could be asked again."))
        maps = {source: torch.stack([case.saliency() for case in own.values()]) for source, own in cases.items() if source is not None}
        try:
            methods, inputs, targets = self._explained(list(next(iter(cases.values())).values()))
            found = metric.function(Batch(methods, inputs, maps, targets, self.batch_size), **self._settings(metric))
        except CamtoolError as error:
            if len(numbers) == 1:
                return {numbers[0]: Score(reason=str(error))}
            parts = [{source: own} for source, own in cases.items()]
            if len(parts) == 1:
                parts = [{source: {number: case}} for source, own in cases.items() for number, case in own.items()]
            return {number: score for part in parts for number, score in self._asked_again(part, metric).items()}
        values = [float(value) for source in maps for value in found[str(source)]]
        return {number: Score(value) for number, value in zip(numbers, values, strict=True)}

    def _explained(self, cases: Sequence[Case]) -> tuple[Methods, Tensor, list[Any]]:
        """Return (the methods, inputs of the cases' samples, their explained classes' probabilities as targets)."""
        classes = [case.row["target"] for case in cases]
        if None in classes:
            raise DataError("The map explains no class; this metric follows a class's probability.")
        methods = self.material.methods
        assert methods is not None  # checked at first
        inputs = torch.cat([case.sample.inputs for case in cases if case.sample is not None])
        return methods, inputs, list(methods.classifier.targets(classes, inputs))

    def _settings(self, metric: Metric) -> dict[str, Any]:
        return {**metric.protocol, **({"seed": self.seed} if metric.seeded else {})}

    def _of_mask(self, case: "Case", metric: Metric, settings: Mapping[str, Any]) -> Score:
        masks, row, sample = self.material.masks, case.row, case.sample
        assert sample is not None and masks is not None  # noqa: PT018 - checked at first
        if metric.seeded:  # another draw for each sample, whatever batch it is in
            settings = {**settings, "seed": self.seed + row["id"]}
        if metric.counted is None:
            mask = masks.on_sample(row, sample)
            return Score(float(metric.function(sample.placed(case.saliency())[None], mask[None], **settings)[0]))
        truth = masks.boxes(row, sample) if metric.counted.against == BOXES else masks.on_input(row, sample)[None]
        found = metric.function(case.saliency()[None], truth, **settings)
        return Score(found.alone, counts=found.counts)
