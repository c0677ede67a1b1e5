"""The first sample of a run, before anything is written: errors that are not a sample's own end the run here."""

from camtool.apis import Explainer
from camtool.apis.selection_base import TargetSelection
from camtool.apis.selection_result import SelectionResult
from camtool.errors import NO_LABEL, NOT_FINITE, UNREADABLE, ZERO_GRADIENT, CamtoolError
from camtool.runs.data import RunData
from camtool.runs.labels import Labels
from camtool.runs.loader import Batches
from camtool.runs.rows import Remarks

_TRIALS = 4
_OF_THE_SAMPLE = (UNREADABLE, ZERO_GRADIENT, NOT_FINITE, NO_LABEL)


def first_answer(
    explainer: Explainer, selection: TargetSelection, samples: RunData, count: int, remarks: Remarks
) -> SelectionResult | None:
    """Return the answer for the first sample that has one, so that the target layer is derived from it, whichever process asks.

    Raises:
        CamtoolError: if the first few cannot be explained for a reason that is not theirs, such as a method that does not fit.
    """
    wrong: list[CamtoolError] = []
    labels = Labels({})
    batches = Batches(samples, explainer, labels, [], explainer.settings.model.seed)
    for number in range(count):
        loaded = batches.sample(number)
        if loaded.prepared is None:
            continue
        loaded.prepared.label = loaded.prepared.label if loaded.prepared.label is not None else 0  # the classes are not known yet
        with remarks.filtered():
            (answer,) = explainer.answers([loaded.prepared], selection)
        if isinstance(answer, SelectionResult):
            return answer
        if answer.status not in _OF_THE_SAMPLE:
            wrong.append(answer)
            if len(wrong) == _TRIALS:
                break
    if wrong:
        raise wrong[0]
    return None
