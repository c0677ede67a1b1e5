"""Targets: what may be given, what it means, and what is refused."""

from collections import OrderedDict, namedtuple
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from camtool.errors import CamtoolWarning, TargetError
from camtool.targets import (
    ClassContrast,
    ClassScore,
    FinerScore,
    FromLogits,
    Region,
    find_logits,
    of_first_sample,
    resolve_targets,
    scores,
    top_k,
)

LOGITS = torch.tensor([[1.0, 5.0, 3.0], [9.0, 2.0, 4.0]])


def margin(logits: Tensor) -> Tensor:
    return logits[0] - logits[1]


def indices(targets: Any) -> tuple[list[list[int]], bool]:
    rows, nested = resolve_targets(targets, LOGITS)
    return [[target.index for target in row] for row in rows], nested


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (None, ([[1], [0]], False)),
        (2, ([[2], [2]], False)),
        (np.int64(2), ([[2], [2]], False)),
        (torch.tensor(2), ([[2], [2]], False)),
        (ClassScore(2), ([[2], [2]], False)),
        ([2, 0], ([[2], [0]], False)),
        ((2, np.int64(0)), ([[2], [0]], False)),
        (np.array([2, 0]), ([[2], [0]], False)),
        (torch.tensor([2, 0]), ([[2], [0]], False)),
        ([[2, 0], [1, 1]], ([[2, 0], [1, 1]], True)),
        ([[2], [1]], ([[2], [1]], True)),
        (torch.tensor([[2, 0], [1, 1]]), ([[2, 0], [1, 1]], True)),
        (np.array([[2, 0], [1, 1]]), ([[2, 0], [1, 1]], True)),
        ([torch.tensor([2, 0]), (1, ClassScore(0))], ([[2, 0], [1, 0]], True)),
        (top_k(2), ([[1, 2], [0, 2]], True)),
        (top_k(99), ([[1, 2, 0], [0, 2, 1]], True)),
        (FromLogits(lambda logits: logits.argmin(dim=1)), ([[0], [1]], False)),
    ],
)
def test_every_way_to_name_classes(targets: Any, expected: Any) -> None:
    assert indices(targets) == expected


def test_callables_stay_as_they_are_for_one_all_or_mixed_with_classes() -> None:
    assert resolve_targets(margin, LOGITS) == ([[margin], [margin]], False)
    assert resolve_targets([margin, 1], LOGITS) == ([[margin], [ClassScore(1)]], False)
    assert resolve_targets([[margin, 0], [2, margin]], LOGITS) == ([[margin, ClassScore(0)], [ClassScore(2), margin]], True)


def test_scores_are_one_number_per_sample_with_a_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    values = scores([ClassScore(2), margin], logits)
    assert values.tolist() == [3.0, 7.0]
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert gradient.tolist() == [[0.0, 0.0, 1.0], [1.0, -1.0, 0.0]]


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        ([1], "2 samples, 1 targets"),
        (torch.tensor([1]), "2 samples, 1 targets"),
        (np.array([1]), "2 samples, 1 targets"),
        ([1, 1, 1], "2 samples, 3 targets"),
        ([[1, 1]], "2 samples, 1 targets"),
        ([], "2 samples, 0 targets"),
        ([[], []], "at least one"),
        ([[1], [1, 2]], r"same number of targets.*\[1, 2\]"),
        ([1, [1]], "got a mixture"),
        (3, "Class index 3 is out of range: the network has 3 classes, 0 to 2"),
        (-1, "Class index -1 is out of range"),
        ([0, 7], "Class index 7 is out of range"),
        ([[0.5], [0.5]], "class index or a callable as target, got 0.5"),
    ],
)
def test_wrong_targets_are_refused_in_words(targets: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        resolve_targets(targets, LOGITS)


@pytest.mark.parametrize("targets", [1.5, "cat", ["cat", "dog"], torch.tensor([1.0, 2.0]), [None, None]])
def test_what_is_no_class_is_refused_as_a_target_error(targets: Any) -> None:
    with pytest.raises(TargetError):
        resolve_targets(targets, LOGITS)


@pytest.mark.parametrize("convert", [Tensor.float, Tensor.long, Tensor.bool, Tensor.tolist, Tensor.numpy])
@pytest.mark.parametrize("labels", [[[0, 1, 1], [1, 0, 0]], [[0, 0, 0], [1, 1, 1]], [[1, 0, 0], [0, 0, 1]]])
def test_labels_of_zero_and_one_are_no_lists_of_classes(labels: list[list[int]], convert: Any) -> None:
    with pytest.raises(TargetError, match="one number, 0 or 1, for each of the 3 classes"):
        resolve_targets(convert(torch.tensor(labels)), LOGITS)


def test_lists_of_the_classes_0_and_1_are_lists_of_classes() -> None:
    both, logits = [[0, 1], [1, 0]], LOGITS[:, :2]
    assert resolve_targets(both, logits) == ([[ClassScore(0), ClassScore(1)], [ClassScore(1), ClassScore(0)]], True)
    assert resolve_targets(both, LOGITS)[1]
    with pytest.raises(TargetError, match="labels, not classes"):
        resolve_targets([[1, 1], [0, 1]], logits)


@pytest.mark.parametrize("targets", [True, [True, False], [[True], [False]], torch.tensor([True, False]), np.array([True, False])])
def test_truth_values_are_no_classes(targets: Any) -> None:
    with pytest.raises(TargetError, match=r"class index.*got .*(True|False)"):
        resolve_targets(targets, LOGITS)


def test_settings_of_targets_that_are_no_numbers_are_refused_in_words() -> None:
    for alpha in ("0.6", True, None, float("nan")):
        with pytest.raises(TargetError, match="finite number as alpha"):
            FinerScore(0, alpha=alpha)
    for make in (
        ClassScore,
        lambda index: ClassContrast(3, index),
        lambda index: Region([[1]], index),
        lambda index: FinerScore(3, references=[index]),
    ):
        with pytest.raises(TargetError, match="class index, got True"):
            make(True)
    for references in (True, "12"):
        with pytest.raises(TargetError, match="number of reference classes"):
            FinerScore(0, references=references)


def test_a_target_that_gives_no_single_number_is_refused() -> None:
    with pytest.raises(TargetError, match=r"one number per sample.*shape \(3,\)"):
        scores([lambda logits: logits, margin], LOGITS)


def test_class_indices_need_an_output_of_samples_and_classes() -> None:
    dense = torch.zeros(2, 3, 4, 4)
    with pytest.raises(TargetError, match=r"\(2, 3, 4, 4\).*give a callable"):
        resolve_targets(1, dense)
    with pytest.raises(TargetError, match="give targets"):
        resolve_targets(None, dense)
    assert resolve_targets(margin, dense) == ([[margin], [margin]], False)


@pytest.mark.parametrize(
    ("targets", "expected"), [(None, None), (1, 1), (margin, margin), ([1, 2], [1]), ([[1, 2], [0, 1]], [[1, 2]]), ((4, 5), [4])]
)
def test_targets_of_the_first_sample(targets: Any, expected: Any) -> None:
    assert of_first_sample(targets) == expected


Pair = namedtuple("Pair", ["aux", "logits"])


@pytest.mark.parametrize(
    "output",
    [
        LOGITS,
        (LOGITS, torch.zeros(2, 3)),
        (torch.zeros(2, 3, 4, 4), LOGITS),
        [LOGITS],
        (None, LOGITS),
        (torch.zeros(5), LOGITS),
        (torch.zeros(1, 2, 3), LOGITS),
        (torch.zeros(2, 3, dtype=torch.long), LOGITS),
        {"logits": LOGITS, "aux": torch.zeros(2, 9)},
        {"aux": torch.zeros(2, 9), "logits": LOGITS},
        OrderedDict(out=LOGITS),
        SimpleNamespace(logits=LOGITS, loss=None),
        Pair(torch.zeros(2, 9), LOGITS),
        (SimpleNamespace(logits=LOGITS),),
        {"out": (LOGITS,)},
    ],
)
def test_scores_are_found_in_whatever_a_network_returns(output: Any) -> None:
    assert find_logits(output, 2) is LOGITS


def test_scores_of_several_widths_are_remarked_on() -> None:
    with pytest.warns(CamtoolWarning, match="scores of 3, 7 classes; the maps explain the first"):
        assert find_logits((LOGITS, torch.zeros(2, 7)), 2) is LOGITS


def test_a_batch_of_one_that_the_network_squeezed_away_is_put_back() -> None:
    assert find_logits(torch.arange(10.0), batch=1).shape == (1, 10)
    with pytest.raises(TargetError):
        find_logits(torch.arange(10.0), batch=2)


def test_one_score_a_sample_is_a_network_of_one_class() -> None:
    assert find_logits(torch.tensor([1.0, 2.0]), 2).tolist() == [[1.0], [2.0]]
    assert find_logits(torch.tensor([1.0]), 1).tolist() == [[1.0]]


@pytest.mark.parametrize(
    "output",
    [
        *(None, "text", (), {}, (None, "text"), {"logits": None}, SimpleNamespace(logits=None)),
        *(torch.tensor(1.0), torch.zeros(3, 5), torch.zeros(2, 3, dtype=torch.long)),
        (torch.zeros(3, 5), torch.zeros(2, 3, dtype=torch.long)),
    ],
)
def test_an_output_without_scores_is_refused_in_words(output: Any) -> None:
    with pytest.raises(TargetError, match="No scores of 2 samples"):
        find_logits(output, 2)


def test_class_scores_compare_by_their_class() -> None:
    assert ClassScore(3) == ClassScore(np.int64(3))
    assert ClassScore(3) != ClassScore(4)
    assert len({ClassScore(3), ClassScore(3)}) == 1
    assert repr(ClassScore(3)) == "ClassScore(3)"
