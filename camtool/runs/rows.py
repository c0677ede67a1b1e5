"""Rows of a store from the answers for a batch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from camtool.apis import Explainer
from camtool.apis.selection_base import TargetSelection
from camtool.apis.selection_result import ExplainedTarget, SelectionResult
from camtool.errors import CamtoolError, emit_again, recorded_warnings
from camtool.functional import FLAT_SHARE
from camtool.runs.loader import Loaded
from camtool.store.schema import NO_EVIDENCE, OK, Row

FLAT = "flat"


class Remarks:
    """Shows the remarks on a network once, and none on single samples, whose rows have them."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    @contextmanager
    def filtered(self) -> Iterator[None]:
        """Filter the warnings of a `with` block."""
        with recorded_warnings() as caught:
            yield
        for warning in caught:
            text = str(warning.message)
            if getattr(warning.message, "sample", None) is None and text not in self._told:
                self._told.add(text)
                emit_again(warning)


def rows_of_batch(explainer: Explainer, selection: TargetSelection, batch: Sequence[Loaded], remarks: Remarks) -> Iterator[Row]:
    """Yield the rows of a batch's samples in order: those of one size go through the network together."""
    answers: dict[int, SelectionResult | CamtoolError] = {}
    together: dict[tuple[int, ...], list[Loaded]] = {}
    for loaded in batch:
        if loaded.prepared is not None:
            together.setdefault(tuple(loaded.prepared.inputs.shape), []).append(loaded)
    limit = explainer.batch_limit(len(batch))
    for group in together.values():
        for start in range(0, len(group), limit):
            part = group[start : start + limit]
            with remarks.filtered():
                found = explainer.answers([loaded.prepared for loaded in part if loaded.prepared is not None], selection)
            answers |= {loaded.number: answer for loaded, answer in zip(part, found, strict=True)}
    for loaded in batch:
        answer = answers.get(loaded.number)
        if isinstance(answer, SelectionResult):
            yield from _of_answer(loaded, answer, explainer)
        else:
            status, reason = (answer.status, str(answer)) if answer is not None else (loaded.status, loaded.reason)
            for method in explainer.cam.methods:
                yield Row(loaded.number, loaded.path, method, loaded.digest, loaded.label, status=status, reason=reason)


def _of_answer(loaded: Loaded, answer: SelectionResult, explainer: Explainer) -> Iterator[Row]:
    predicted = answer.ranking[0] if answer.ranking and answer.scale != "value" else None  # numbers of a regression are no classes
    remarks = " ".join(dict.fromkeys(loaded.prepared.warnings)) if loaded.prepared is not None else ""
    seen: set[Any] = set()
    for k, target in enumerate(answer.targets):
        if target.index is not None and target.index in seen:  # the predicted class, which is the true one too
            continue
        seen.add(target.index)
        common: dict[str, Any] = {"digest": loaded.digest, "label": loaded.label, "predicted": predicted, "target": target.index}
        common |= {"probability": _probability(answer, target), "logit": _logit(answer, target)}
        for method in explainer.cam.methods:
            if method not in answer.results:
                refusal = answer.refusals[method]
                yield Row(loaded.number, loaded.path, method, loaded.digest, loaded.label, status=refusal.status, reason=str(refusal))
                continue
            result = answer.results[method]
            for layer, raw in result.raw.items():
                place = result.placement.get(layer)
                yield Row(
                    loaded.number,
                    loaded.path,
                    method,
                    **common,
                    layer=layer,
                    map=raw[0, k],
                    placement=None if place is None else (*place.scale, *place.offset),
                    input_size=tuple(result.maps.shape[2:]),
                    status=map_status(raw[0, k]),
                    reason=remarks,
                    importances=_of_layer(result.importances, layer, k),
                )


def map_status(raw: Tensor) -> str:
    """Return what a row says of its raw map: "ok", "no positive evidence", or "flat".

    Example:
        >>> import torch
        >>> map_status(torch.tensor([-1.0, 2.0])), map_status(torch.tensor([-1.0, -2.0])), map_status(torch.tensor([3.0, 3.0]))
        ('ok', 'no positive evidence', 'flat')
    """
    highest = raw.amax()
    if not highest > 0:
        return NO_EVIDENCE
    return OK if highest - raw.clamp(min=0).amin() > FLAT_SHARE * highest else FLAT


def _of_layer(importances: Mapping[str, Tensor], layer: str, k: int) -> Tensor | None:
    return importances[layer][0, k] if layer in importances else None


def _probability(answer: SelectionResult, target: ExplainedTarget) -> float | None:
    known = target.index is not None and answer.by_class and answer.scale not in ("value", "none")
    return answer.by_class[target.index] if known and target.index is not None else None


def _logit(answer: SelectionResult, target: ExplainedTarget) -> float:
    logits = answer.logits
    if target.index is not None and isinstance(logits, Tensor) and logits.ndim == 2 and target.index < logits.shape[1]:
        return float(logits[0, target.index])
    return target.value
