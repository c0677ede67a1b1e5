"""Score the maps of a store, shard by shard: each metric's scores of a shard are a file, so that a run that was interrupted goes on."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from camtool.analysis.sources import Source
from camtool.analysis.stored_samples import StoredSample, StoredSamples
from camtool.apis.stored_pictures import scaled_map
from camtool.errors import CamtoolError, DataError
from camtool.evaluation.baselines import baseline_maps
from camtool.evaluation.explaining import Batch, Methods
from camtool.evaluation.masks import MaskOf
from camtool.evaluation.metric import MAP, MASK, METHOD, NETWORK, Metric, check_needs
from camtool.metrics import ScoreCurves
from camtool.store import MapRow, Store
from camtool.store.reader import rows_of
from camtool.store.scores import ScoreRow, scores_path, write_scores


@dataclass(frozen=True)
class Material:
    """What metrics are computed from, beside the maps of a store."""

    samples: StoredSamples | None = None
    masks: MaskOf | None = None
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
            cases = [Case(row, sample, row["method"], row["layer"], reason=reason or _status(row)) for row in rows]
            explained = {case.row["target"]: case.row for case in reversed(cases) if not case.reason and self.baselines}
            inputs = None if sample is None else sample.inputs
            for row in reversed(explained.values()):
                known = baseline_maps(row.input_size, inputs, seed=self.seed + row["id"]) | self._true_maps(row, sample)
                cases += [Case(row, sample, name, None, baseline=saliency) for name, saliency in known.items()]
            yield cases

    def _true_maps(self, row: MapRow, sample: StoredSample | None) -> dict[str, Tensor]:
        masks, samples = self.material.masks, self.material.samples
        if not self.truth or sample is None or masks is None or samples is None:
            return {}
        try:
            mask = samples.on_input(masks(row, sample), sample)
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
            for numbers in _together(known, metric):
                scores |= zip(numbers, self._with_reasons([known[number] for number in numbers], metric), strict=True)
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
        settings: dict[str, Any] = {**metric.protocol, **({"seed": self.seed} if metric.seeded else {})}
        if metric.needs == MASK:
            return [Score(self._of_mask(case, metric, settings)) for case in cases]
        maps = torch.stack([case.saliency() for case in cases])
        if metric.needs == MAP:
            return [Score(float(value)) for value in metric.function(maps, **settings)]
        classes = [case.row["target"] for case in cases]
        if None in classes:
            raise DataError("The map explains no class; this metric follows a class's probability.")
        methods = self.material.methods
        assert methods is not None  # checked at first
        model = methods.classifier
        inputs = torch.cat([case.sample.inputs for case in cases if case.sample is not None])
        targets = model.targets(classes, inputs)
        if metric.needs == NETWORK:
            values = metric.function(model, inputs, maps, targets, batch_size=self.batch_size, **settings)
        else:
            source = cases[0].source
            if source is None:
                raise DataError("A baseline is no method that could be asked again.")
            values = metric.function(Batch(methods, source, inputs, maps, targets, self.batch_size), **settings)
        if isinstance(values, ScoreCurves):
            areas = values.areas()
            return [Score(float(area), values.fractions, curve) for area, curve in zip(areas, values.scores, strict=True)]
        return [Score(float(value)) for value in values]

    def _of_mask(self, case: "Case", metric: Metric, settings: Mapping[str, Any]) -> float:
        masks = self.material.masks
        assert case.sample is not None and masks is not None  # noqa: PT018 - checked at first
        mask = masks(case.row, case.sample)
        return float(metric.function(case.sample.placed(case.saliency())[None], mask[None], **settings)[0])


@dataclass(frozen=True)
class Score:
    """A map's score, the area under a curve or not; or why there is none."""

    value: float | None = None
    fractions: np.ndarray | None = None
    curve: np.ndarray | None = None
    reason: str = ""


@dataclass(frozen=True)
class Case:
    """A map that is scored."""

    row: MapRow
    sample: StoredSample | None
    method: str
    layer: str | None
    baseline: Tensor | None = None
    """Map (*size) of a baseline, in place of the row's."""
    reason: str = ""
    """Why there is no score."""

    @property
    def source(self) -> Source | None:
        """Method and layer; None of a baseline."""
        return None if self.layer is None else Source(self.method, self.layer)

    @property
    def size(self) -> tuple[int, ...] | None:
        """Of the network's input."""
        return self.row.input_size

    def saliency(self) -> Tensor:
        """Return the map at the input's size (*size), in [0, 1]."""
        return scaled_map(self.row) if self.baseline is None else self.baseline

    def score_row(self, metric: str, protocol: str, score: Score) -> ScoreRow:
        """Return the row of a score."""
        of_sample: dict[str, Any] = {name: self.row[name] for name in ("id", "path", "label", "target")}
        return ScoreRow(
            **of_sample,
            method=self.method,
            layer=self.layer,
            baseline=self.baseline is not None,
            metric=metric,
            protocol=protocol,
            score=score.value,
            reason=score.reason,
            fractions=None if score.fractions is None else score.fractions.tolist(),
            curve=None if score.curve is None else score.curve.tolist(),
        )


def _together(cases: Mapping[int, Case], metric: Metric) -> list[list[int]]:
    """Return the numbers of the cases that are scored at once: those of one method, if the metric asks the method itself."""
    groups: dict[Any, list[int]] = {}
    for number, case in cases.items():
        groups.setdefault(case.source if metric.needs == METHOD else None, []).append(number)
    return list(groups.values())


def _status(row: MapRow) -> str:
    """Return why a row has no map; "" if it has one."""
    return "" if row.map is not None else f"{row['status']}: {row['reason']}" if row["reason"] else str(row["status"])
