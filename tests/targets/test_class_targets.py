"""Targets of a class: what each is worth on scores chosen by hand, what its gradient is, and what it refuses."""

import math
from typing import Any

import pytest
import torch
from pytorch_grad_cam.utils.model_targets import FinerWeightedTarget
from torch import Tensor

from camtool.errors import TargetError
from camtool.registry import TARGETS
from camtool.targets import (
    BinaryScore,
    ClassContrast,
    ClassProbability,
    ClassScore,
    FinerScore,
    RawOutput,
    Target,
    build_target_factory,
    find_target,
    resolve_targets,
    scores,
    target_names,
    top_k,
)

# Probabilities 1/10, 2/10, 3/10 and 4/10.
LOGITS = torch.tensor([1.0, 2.0, 3.0, 4.0]).log()
OF_SIGMOID = torch.tensor([math.log(3), -math.log(4)])  # probabilities 3/4 and 1/5


def value_and_gradient(target: Target, logits: Tensor) -> tuple[float, list[float]]:
    leaf = logits.clone().requires_grad_()
    value = target(leaf)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.item(), gradient.tolist()


@pytest.mark.parametrize(
    ("target", "logits", "value", "gradient"),
    [
        (ClassScore(2), LOGITS, math.log(3), [0, 0, 1, 0]),
        (ClassProbability(1), LOGITS, 0.2, [-0.02, 0.16, -0.06, -0.08]),  # p_c (1 - p_c), and -p_c p_d
        (ClassProbability(1, scale="sigmoid"), OF_SIGMOID, 0.2, [0, 0.16]),
        (ClassProbability(0), OF_SIGMOID[:1], 0.75, [0.1875]),  # a single score is decided by a sigmoid
        (BinaryScore(1), OF_SIGMOID[:1], math.log(3), [1]),
        (BinaryScore(0), OF_SIGMOID[:1], -math.log(3), [-1]),
        (ClassContrast(3, 0), LOGITS, math.log(4), [-1, 0, 0, 1]),
        (RawOutput(1), LOGITS, math.log(2), [0, 1, 0, 0]),
        (RawOutput(), LOGITS[2:3], math.log(3), [1]),
        (FinerScore(3, references=[2], alpha=0.5), LOGITS, math.log(4) - 0.5 * math.log(3), [0, 0, -0.5, 1]),
        # Weights 3/5 and 2/5; d/dy_d = -alpha w_d (1 + y_d - mean).
        (
            FinerScore(3, references=2, alpha=1.0),
            LOGITS,
            math.log(4) - 0.6 * math.log(3) - 0.4 * math.log(2),
            [0, -0.4 * (1 + 0.6 * math.log(2 / 3)), -0.6 * (1 + 0.4 * math.log(3 / 2)), 1],
        ),
    ],
    ids=repr,
)
def test_value_and_gradient_by_hand(target: Target, logits: Tensor, value: float, gradient: list[float]) -> None:
    found = value_and_gradient(target, logits)

    assert found[0] == pytest.approx(value, abs=1e-6)
    assert found[1] == pytest.approx(gradient, abs=1e-6)


@pytest.mark.parametrize(
    "target", [ClassProbability(1), ClassProbability(2, scale="sigmoid"), ClassContrast(0, 2), FinerScore(1, references=[0, 3])]
)
def test_gradients_are_those_of_finite_differences(target: Target) -> None:
    assert torch.autograd.gradcheck(target, LOGITS.double().requires_grad_())


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_finer_is_what_the_authors_code_gives(alpha: float) -> None:
    logits = torch.randn(12, dtype=torch.float64)
    index = 4
    others = sorted((one for one in range(12) if one != index), key=lambda one: abs(logits[one] - logits[index]).item())

    found = value_and_gradient(FinerScore(index, alpha=alpha), logits)
    theirs = value_and_gradient(FinerWeightedTarget(index, others[:3], alpha), logits)

    assert found[0] == pytest.approx(theirs[0], rel=1e-6)
    assert found[1] == pytest.approx(theirs[1], rel=1e-6, abs=1e-8)


def test_finer_does_not_underflow_where_the_references_have_no_probability() -> None:
    logits = torch.tensor([200.0, 1.0, 1.0])

    assert FinerScore(0, references=2, alpha=1.0)(logits).item() == 199
    assert FinerWeightedTarget(0, [1, 2], 1.0)(logits).item() == 0  # theirs


def test_finer_references_are_the_nearest_logits_above_or_below_chosen_once_for_each_sample() -> None:
    logits = torch.tensor([[5.0, 4.9, 0.0, 5.3, 5.2], [5.0, 0.0, 4.9, 1.0, 4.7]])

    (first,), (second,) = resolve_targets(FinerScore(0, references=2), logits)[0]

    assert first == FinerScore(0, references=(1, 4))
    assert second == FinerScore(0, references=(2, 4))
    assert first(torch.tensor([5.0, 0.0, 5.0, 5.0, 0.0])).item() == 5.0  # on an augmented copy the same references
    assert resolve_targets(FinerScore(0, references=99), logits)[0][0][0] == FinerScore(0, references=(1, 4, 3, 2))


def test_a_class_that_has_an_equal_is_never_its_own_reference() -> None:
    logits = torch.zeros(1, 4)

    assert resolve_targets(FinerScore(2, references=3), logits)[0][0][0] == FinerScore(2, references=(0, 1, 3))


@pytest.mark.parametrize(
    ("target", "outputs", "message"),
    [
        (ClassProbability(3), torch.zeros(1, 3), "Class index 3 is out of range: the network has 3 classes, 0 to 2"),
        (ClassContrast(0, 3), torch.zeros(1, 3), "Class index 3 is out of range"),
        (ClassContrast(-1, 0), torch.zeros(1, 3), "Class index -1 is out of range"),
        (FinerScore(7), torch.zeros(1, 3), "Class index 7 is out of range"),
        (FinerScore(0, references=[7]), torch.zeros(1, 3), "Class index 7 is out of range"),
        (FinerScore(0), torch.zeros(1, 1), "compares classes; the network has one only"),
        (BinaryScore(1), torch.zeros(1, 2), r"one output, \(n, 1\); this one gives \(1, 2\)"),
        (RawOutput(), torch.zeros(1, 3), r"gives 3 numbers; choose one: RawOutput\(0\) to RawOutput\(2\)"),
        (RawOutput(3), torch.zeros(1, 3), "Class index 3 is out of range"),
        (RawOutput(), torch.zeros(1, 1, 4, 4), r"\(1, 1, 4, 4\).*needs \(n, classes\)"),
        (ClassProbability(0), torch.zeros(1, 3, 4, 4), r"\(1, 3, 4, 4\).*needs \(n, classes\)"),
    ],
    ids=repr,
)
def test_outputs_that_have_no_such_thing_are_refused_in_words(target: Target, outputs: Tensor, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        resolve_targets(target, outputs)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClassProbability(0, scale="relu"), "Unknown scale 'relu'.*softmax, sigmoid"),
        (lambda: BinaryScore(2), "1, the positive class, or 0, the negative one, got 2"),
        (lambda: ClassContrast(3, 3), "Expected two classes to contrast, got class 3 twice"),
        (lambda: FinerScore(0, references=0), "at least one reference"),
        (lambda: FinerScore(0, references=[]), "at least one reference"),
        (lambda: FinerScore(1, references=[2, 1]), "class 1 is among its references"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_words(make: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        make()


def test_one_number_a_sample_is_a_regression() -> None:
    from camtool.targets import find_logits

    outputs = find_logits(torch.tensor([3.5, -1.0]), batch=2)
    rows, _ = resolve_targets(RawOutput(), outputs)

    assert scores([row[0] for row in rows], outputs).tolist() == [3.5, -1.0]


def test_class_scores_are_gathered_at_once_and_the_same_as_one_by_one() -> None:
    logits = torch.randn(50, 9).requires_grad_()
    targets = [ClassScore(one) for one in torch.randint(9, (50,)).tolist()]

    at_once = scores(targets, logits)
    one_by_one = scores([lambda row, target=target: target(row) for target in targets], logits)

    assert torch.equal(at_once, one_by_one)
    assert torch.equal(torch.autograd.grad(at_once.sum(), logits)[0], torch.autograd.grad(one_by_one.sum(), logits)[0])


@pytest.mark.parametrize("typed", ["probability", "ClassProbability", "PROBABILITY", "classprobability"])
def test_a_kind_is_found_under_its_name_and_its_class(typed: str) -> None:
    assert find_target(typed) is ClassProbability


def test_kinds_are_built_from_a_config_and_applied_to_each_class() -> None:
    assert build_target_factory({"type": "ClassContrast", "against": 2})(1) == ClassContrast(1, 2)
    assert build_target_factory({"type": "FinerScore", "references": 2, "alpha": 1.0})(5) == FinerScore(5, references=2, alpha=1.0)
    assert build_target_factory("raw")(0) == RawOutput(0)
    assert target_names() == ["binary", "box", "contrast", "finer", "logit", "probability", "raw", "region", "similarity"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("probabilty", "Unknown target 'probabilty'; closest: 'probability'; expected one of: binary, box, contrast"),
        ({"against": 3}, "as a name or a dict with 'type'"),
        ({"type": "ClassContrast"}, "'contrast': missing a required argument: 'against'"),
        ({"type": "FinerScore", "gamma": 1}, "'finer' has no setting 'gamma'; expected one of: references, alpha"),
    ],
)
def test_kinds_that_do_not_exist_are_refused_in_words(spec: Any, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        build_target_factory(spec)


def test_a_users_own_kind_is_found_by_its_class() -> None:
    class SquaredScore:
        def __init__(self, index: int) -> None:
            self.index = index

        def __call__(self, logits: Tensor) -> Tensor:
            return logits[self.index] ** 2

    TARGETS.register_module(module=SquaredScore)
    try:
        (row,), _ = resolve_targets(build_target_factory("squaredscore")(3), LOGITS[None])
        assert row[0](LOGITS).item() == pytest.approx(math.log(4) ** 2)
    finally:
        TARGETS.module_dict.pop("SquaredScore")


def test_targets_are_shown_and_compared_by_their_settings() -> None:
    assert repr(ClassContrast(3, 0)) == "ClassContrast(3, against=0)"
    assert repr(RawOutput()) == "RawOutput()"
    assert repr(RawOutput(2)) == "RawOutput(2)"
    assert ClassContrast(3, 0) == ClassContrast(3, 0) != ClassContrast(3, 1)
    assert ClassScore(1) != ClassProbability(1)
    assert len({FinerScore(1), FinerScore(1), FinerScore(1, alpha=1.0)}) == 2


def test_what_a_map_explains_in_words() -> None:
    names = {0: "cat", 3: "dog"}

    def name_of(index: int) -> str:
        return names.get(index, f"class {index}")

    assert ClassScore(0).describe(name_of) == "cat"
    assert BinaryScore(0).describe(name_of) == "cat"
    assert ClassProbability(0).describe(name_of) == "probability of cat"
    assert ClassContrast(0, 3).describe(name_of) == "cat against dog"
    assert FinerScore(0).describe(name_of) == "cat against its closest classes"
    assert FinerScore(0, references=[3, 1]).describe(name_of) == "cat against dog, class 1"
    assert RawOutput(1).describe(name_of) == "output 1"
    assert RawOutput(3).describe(name_of) == "dog"


def test_the_best_classes_are_chosen_of_scores_by_class_only() -> None:
    with pytest.raises(TargetError, match=r"\(2, 3, 4, 4\); the best classes are chosen of \(n, classes\)"):
        resolve_targets(top_k(1), torch.zeros(2, 3, 4, 4))
