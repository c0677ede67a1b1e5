"""Deletion and insertion: by hand, against a loop over positions, torchcam's, and on networks whose explanation is known."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool.errors import NOT_FINITE, DataError, TargetError
from camtool.metrics import ScoreCurves, deletion, deletion_curves, insertion, insertion_curves
from camtool.metrics.altered_inputs import ExplainedScores, hyperplane, removal_ranks
from camtool.metrics.curves import gaussian_blur
from camtool.targets import BinaryScore, ClassProbability, ClassScore
from tests.metrics.planted import fading, is_monotone, noise_like, planted
from tests.networks import RANKS, images, small_net

Metric = Callable[..., np.ndarray]


def literal_probability(model: nn.Module, one: np.ndarray, index: int) -> float:
    with torch.no_grad():
        logits = model(torch.from_numpy(one)[None])[0].tolist()
    return math.exp(logits[index]) / sum(math.exp(value) for value in logits)


def literal_area(model: nn.Module, one: np.ndarray, other: np.ndarray, score_map: np.ndarray, index: int, step: int) -> float:
    """Turn `one` into `other`, one position after the next, and look at the score after each `step` of them."""
    places = sorted(itertools.product(*map(range, score_map.shape)), key=lambda place: -score_map[place])
    now, shares, values = one.copy(), [0.0], [literal_probability(model, one, index)]
    for number, place in enumerate(places, start=1):
        for channel in range(len(one)):
            now[(channel, *place)] = other[(channel, *place)]
        if number % step == 0 or number == len(places):
            shares.append(number / len(places))
            values.append(literal_probability(model, now, index))
    return sum((shares[k + 1] - shares[k]) * (values[k + 1] + values[k]) / 2 for k in range(len(shares) - 1))


def literal_blur(one: np.ndarray) -> np.ndarray:
    weights = [math.exp(-(k**2) / 50) for k in range(-5, 6)]
    weights = [weight / sum(weights) for weight in weights]
    for axis in range(1, one.ndim):
        blurred = np.zeros_like(one)
        for place in itertools.product(*map(range, one.shape)):
            for k in range(-5, 6):
                other = (*place[:axis], place[axis] + k, *place[axis + 1 :])
                if 0 <= other[axis] < one.shape[axis]:
                    blurred[place] += weights[k + 5] * one[other]
        one = blurred
    return one


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("step", [None, 7])
def test_the_areas_equal_a_loop_over_positions(rank: int, step: int | None) -> None:
    model, inputs = small_net(rank, double=True), images(rank, double=True)
    maps = torch.rand(2, *inputs.shape[2:], generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.3
    size = maps.shape[1:]
    taken = step or (1 if rank == 1 else min(size) if rank == 2 else min(size) ** 2)
    for metric, start, end in (
        (deletion, lambda one: one, np.zeros_like),
        (insertion, literal_blur, lambda one: one),
    ):
        expected = [
            literal_area(model, start(one), end(one), score_map, index, taken)
            for one, score_map, index in zip(inputs.numpy(), maps.numpy(), (3, 1), strict=True)
        ]
        np.testing.assert_allclose(metric(model, inputs, maps, [3, 1], step=step, batch_size=5), expected, rtol=1e-9)


def test_the_areas_of_a_hand_worked_case() -> None:
    # The scores are the inputs' values, taken as they are: 4 of 4 pixels, then what is left of the sum.
    model, inputs = nn.Flatten(), torch.tensor([[[4.0, 0.0, 2.0]]])
    total: Any = lambda output: output.sum()  # noqa: E731
    order = torch.tensor([[3.0, 1.0, 2.0]])
    found = deletion_curves(model, inputs, order, total)
    np.testing.assert_allclose(found.scores, [[6, 2, 0, 0]])
    np.testing.assert_allclose(found.areas(), [(8 + 2 + 0) / 2 / 3])
    found = insertion_curves(model, inputs, order, total, substrate=torch.tensor([1.0]))
    np.testing.assert_allclose(found.scores, [[3, 6, 7, 6]])
    found = deletion_curves(model, inputs, order, total, step=2)  # the last step is of one position
    np.testing.assert_allclose(found.fractions, [0, 2 / 3, 1])
    np.testing.assert_allclose(found.areas(), [(6 + 0) / 2 * 2 / 3])


def test_a_step_is_the_shorter_sides_length_in_pixels() -> None:
    assert hyperplane((224, 224)) == hyperplane((320, 224)) == 224
    found = deletion_curves(nn.Flatten(), torch.ones(1, 3, 8, 20), torch.rand(1, 8, 20), 0)
    assert len(found.fractions) == 20 + 1


def test_the_areas_are_torchcams() -> None:
    metrics = pytest.importorskip("torchcam.metrics")
    from torchcam.methods import GradCAM

    model, inputs = small_net(2), images(2)
    with GradCAM(model, model.late) as extractor:
        theirs = metrics.DeletionInsertionMetric(extractor, torch.nn.Softmax(dim=-1), steps=9)
        theirs.update(inputs, [0, 2])
        (maps,) = extractor([0, 2], model(inputs).softmax(dim=1))
    large = nn.functional.interpolate(maps[:, None], inputs.shape[2:], mode="bilinear")[:, 0]
    positions = large[0].numel()
    step = -(-positions // 9)
    # Equal values lie in torchcam's order of positions; here they are lifted apart.
    apart = large.double() - torch.arange(positions).reshape(large.shape[1:]) * 1e-12
    expected = theirs.summary()
    assert deletion(model, inputs, apart, [0, 2], step=step).mean() == pytest.approx(expected["deletion_auc"], abs=1e-6)
    found = insertion(model, inputs, apart, [0, 2], step=step, substrate=0.0).mean()
    assert found == pytest.approx(expected["insertion_auc"], abs=1e-6)


@pytest.mark.parametrize("rank", RANKS)
def test_the_areas_are_monotone_from_the_truth_to_noise_and_rank_oracle_random_inverted(rank: int) -> None:
    network, inputs, truth = planted(rank)
    for metric, falling in ((deletion, False), (insertion, True)):
        means = [metric(network, inputs, maps, 1, substrate=0.0).mean() for maps in fading(truth)]
        assert is_monotone(means, falling=falling), means
        oracle, random, inverted = (metric(network, inputs, m, 1, substrate=0.0).mean() for m in (truth, noise_like(truth), -truth))
        assert (oracle > random > inverted) if falling else (oracle < random < inverted)


@pytest.mark.parametrize("rank", RANKS)
def test_the_blur_is_a_loop_over_positions(rank: int) -> None:
    inputs = images(rank, double=True)
    np.testing.assert_allclose(gaussian_blur(inputs)[0].numpy(), literal_blur(inputs[0].numpy()), atol=1e-12)
    small = torch.rand(1, 1, *[3] * rank, dtype=torch.float64)  # smaller than the kernel
    np.testing.assert_allclose(gaussian_blur(small)[0].numpy(), literal_blur(small[0].numpy()), atol=1e-12)


def test_equal_values_are_in_a_seeded_order_which_the_rest_of_the_batch_does_not_change() -> None:
    maps = torch.tensor([[0.0, 1.0] * 20, [2.0, 2.0, 0.0, 1.0] * 10])
    ranks = removal_ranks(maps, seed=3)
    for values, places in zip(maps, ranks, strict=True):
        assert sorted(places.tolist()) == list(range(40))
        assert values[places.argsort()].tolist() == sorted(values.tolist(), reverse=True)
    assert ranks[1].equal(removal_ranks(maps[1:], seed=3)[0])
    assert not ranks.equal(removal_ranks(maps, seed=4))
    assert ranks[0].argsort()[:20].tolist() != sorted(ranks[0].argsort()[:20].tolist())


def test_the_batch_size_changes_nothing_and_every_step_is_one_row() -> None:
    model, inputs = small_net(2, double=True), images(2, count=3, double=True)
    maps = torch.rand(3, *inputs.shape[2:])
    sizes: list[int] = []
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    expected = deletion(model, inputs, maps, batch_size=1)
    rows = 3 + 3 * 15  # 140 positions by 10
    assert sum(sizes) == rows
    sizes.clear()
    np.testing.assert_allclose(deletion(model, inputs, maps, batch_size=16), expected, atol=1e-12)
    assert sizes == [3, 16, 16, 13]


def test_the_network_and_torchs_random_numbers_stay_as_they_are() -> None:
    model = small_net(2).train()
    model.late.eval()
    modes, state = [module.training for module in model.modules()], torch.get_rng_state()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    insertion(model, images(2), torch.rand(2, 10, 14), 0, batch_size=7)
    assert [module.training for module in model.modules()] == modes
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    torch.set_rng_state(state)
    expected = torch.rand(3)
    torch.set_rng_state(state)
    deletion(model, images(2), noise_like(torch.zeros(2, 10, 14) + 1), 0)
    assert torch.rand(3).equal(expected)


def test_a_class_is_its_probability_and_any_other_target_its_own_value() -> None:
    model, inputs = small_net(2, double=True), images(2, double=True)
    logits = model(inputs).detach()
    expected = logits.softmax(dim=1)

    def before(targets: Any, network: Any = model) -> Tensor:
        return ExplainedScores(network, inputs, targets).before

    torch.testing.assert_close(before([3, 1]), expected[[0, 1], [3, 1]])
    torch.testing.assert_close(before(torch.tensor([3, 1])), expected[[0, 1], [3, 1]])
    torch.testing.assert_close(before(2), expected[:, 2])
    torch.testing.assert_close(before(None), expected.amax(dim=1))
    torch.testing.assert_close(before([ClassScore(3), 1]), torch.stack([logits[0, 3], expected[1, 1]]))
    torch.testing.assert_close(before(ClassProbability(0, scale="sigmoid")), logits[:, 0].sigmoid())
    # Networks that give probabilities, and functions.
    torch.testing.assert_close(before(2, nn.Sequential(model, nn.Softmax(dim=1))), expected[:, 2])
    torch.testing.assert_close(before(2, nn.Sequential(model, nn.Sigmoid())), logits[:, 2].sigmoid())
    torch.testing.assert_close(before(2, lambda given: {"logits": model(given)}), expected[:, 2])
    torch.testing.assert_close(before(2, lambda given: model(given).softmax(dim=1)), expected[:, 2])
    # A single score.
    one = nn.Sequential(model, nn.Linear(4, 1).double())
    torch.testing.assert_close(before(None, one), one(inputs).detach()[:, 0].sigmoid())
    torch.testing.assert_close(before(BinaryScore(0), one), -one(inputs).detach()[:, 0])


def test_areas_are_by_trapezoids_over_the_fractions() -> None:
    found = ScoreCurves(np.array([0.0, 0.2, 1.0]), np.array([[1.0, 1.0, 0.0], [0.3, 0.3, 0.3]]))
    np.testing.assert_allclose(found.areas(), [0.2 + 0.4, 0.3])
    np.testing.assert_allclose(ScoreCurves(np.array([0.1, 0.5, 0.9]), np.array([[1.0, 1.0, 0.0]])).areas(), [0.75])


GOOD: dict[str, Any] = {"inputs": torch.ones(2, 1, 4, 4), "maps": torch.rand(2, 4, 4), "targets": 0}


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"maps": torch.rand(2, 2, 2)}, DataError, r"of the inputs' size, 2 of 4x4, got shape \(2, 2, 2\); resize them first"),
        ({"maps": torch.rand(4, 4)}, DataError, "of the inputs' size"),
        ({"maps": torch.rand(2, 1, 4, 4)}, DataError, r"got shape \(2, 1, 4, 4\); add them up first: maps.sum\(dim=1\)"),
        ({"maps": torch.rand(2, 4, 4) * 1j}, DataError, "of real numbers, got complex64"),
        ({"maps": torch.full((2, 4, 4), torch.nan)}, DataError, "finite maps, got NaN or infinity in that of sample 0"),
        ({"maps": torch.stack([torch.rand(4, 4), torch.ones(4, 4)])}, DataError, "differs between positions, got 1 everywhere in .* 1"),
        ({"inputs": torch.ones(2, 1, 4, 4).log() / 0}, DataError, "finite inputs"),
        ({"inputs": torch.ones(2, 4)}, DataError, r"inputs \(n, c, \*spatial\)"),
        ({"inputs": torch.ones(2, 1, 4, 4).long()}, DataError, "floating point, got torch.int64"),
        ({"step": 0}, DataError, "a step of at least 1"),
        ({"batch_size": 0}, DataError, "a batch size of at least 1"),
        ({"substrate": "blurr"}, DataError, "No substrate 'blurr'; closest: 'blur'"),
        ({"substrate": torch.ones(3)}, DataError, "a substrate that broadcasts"),
        ({"targets": 16}, TargetError, "out of range: the network has 16 classes"),
        ({"targets": [0, 1, 2]}, TargetError, "one target per sample: 2 samples, 3 targets"),
        ({"targets": [[0, 1], [1, 0]]}, TargetError, "got lists of targets"),
        ({"targets": 1.5}, TargetError, "Expected a class index"),
    ],
)
@pytest.mark.parametrize("metric", [deletion, insertion])
def test_bad_input_is_one_line(metric: Metric, wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    given = GOOD | wrong
    settings = {name: given[name] for name in given if name not in ("inputs", "maps", "targets")}
    with pytest.raises(error, match=message) as refused:
        metric(nn.Flatten(), given["inputs"], given["maps"], given["targets"], **settings)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_maps_of_others_are_taken_as_they_lie_in_memory(rank: int) -> None:
    model, inputs = small_net(rank), images(rank)
    maps = np.random.default_rng(0).random((len(inputs), *inputs.shape[2:])).astype(np.float32)
    expected = deletion(model, inputs, maps, 1, step=20)
    backwards = np.ascontiguousarray(maps[..., ::-1])[..., ::-1]  # as files that are turned around are read
    for other in (backwards, maps.astype(">f4"), maps.astype(np.longdouble), torch.from_numpy(maps).double()):
        np.testing.assert_array_equal(deletion(model, inputs, other, 1, step=20), expected)
    whole = (1000 * maps).astype(np.uint16)
    np.testing.assert_array_equal(deletion(model, inputs, whole, 1, step=20), deletion(model, inputs, whole.astype(float), 1, step=20))


def test_a_single_fraction_has_no_area() -> None:
    with pytest.raises(DataError, match="at least two fractions"):
        ScoreCurves(np.array([0.5]), np.ones((2, 1))).areas()


def test_scores_that_are_nan_are_told() -> None:
    substrate = torch.tensor([[[1.0]], [[-1.0]]])  # has a logarithm in the first sample only
    with pytest.raises(TargetError, match="NaN on an altered input of sample 1") as refused:
        deletion(lambda given: given.flatten(1).log(), torch.ones(2, 1, 2), torch.tensor([[1.0, 2.0], [2.0, 1.0]]), 0, substrate=substrate)
    assert refused.value.status == NOT_FINITE
