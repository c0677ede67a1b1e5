"""Average drop, increase, gain and ADCC: by hand, against a loop, torchcam's, and on networks whose explanation is known."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool.errors import DataError, TargetError
from camtool.metrics import MaskedScores, adcc, average_drop, gain, increase, masked_scores
from camtool.targets import ClassScore
from tests.metrics.planted import fading, is_monotone, noise_like, planted
from tests.metrics.test_curves import literal_probability
from tests.networks import RANKS, images, small_net


def literal_mask(score_map: np.ndarray) -> np.ndarray:
    low, high = min(score_map.flat), max(score_map.flat)
    mask = np.zeros_like(score_map)
    for place in itertools.product(*map(range, score_map.shape)):
        mask[place] = (score_map[place] - low) / (high - low)
    return mask


def literal_scores(model: nn.Module, one: np.ndarray, score_map: np.ndarray, index: int) -> tuple[float, float, float]:
    mask = literal_mask(score_map)
    y = literal_probability(model, one, index)
    o = literal_probability(model, np.stack([channel * mask for channel in one]), index)
    return max(y - o, 0) / y, float(o > y), max(o - y, 0) / (1 - y)


@pytest.mark.parametrize("rank", RANKS)
def test_the_scores_equal_a_literal_replica(rank: int) -> None:
    model, inputs = small_net(rank, double=True), images(rank, count=5, double=True)
    maps = torch.rand(5, *inputs.shape[2:], generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 4 - 1
    targets = [0, 1, 2, 3, 0]
    expected = [literal_scores(model, *sample) for sample in zip(inputs.numpy(), maps.numpy(), targets, strict=True)]
    for metric, values in zip((average_drop, increase, gain), zip(*expected, strict=True), strict=True):
        np.testing.assert_allclose(metric(model, inputs, maps, targets, batch_size=2), values, rtol=1e-9)


def test_drop_increase_and_gain_worked_by_hand() -> None:
    found = MaskedScores(np.array([0.5, 0.5, 1.0]), np.array([0.2, 0.8, 0.25]))
    np.testing.assert_allclose(found.drop, [0.6, 0, 0.75])
    np.testing.assert_allclose(found.increase, [0, 1, 0])
    np.testing.assert_allclose(found.gain, [0, 0.6, 0])


def test_a_mask_of_ones_loses_nothing() -> None:
    model, inputs = small_net(2), images(2)
    ones = torch.ones(2, *inputs.shape[2:])
    for metric in (average_drop, increase, gain):
        assert metric(model, inputs, ones, 1, scale=False).tolist() == [0, 0]


def test_drop_and_increase_are_torchcams() -> None:
    metrics = pytest.importorskip("torchcam.metrics")
    from torchcam.methods import GradCAM

    model, inputs = small_net(2), images(2, count=4)
    with GradCAM(model, model.late) as extractor:
        theirs = metrics.ClassificationMetric(extractor, torch.nn.Softmax(dim=-1))
        theirs.update(inputs, [0, 2, 1, 3])
        (maps,) = extractor([0, 2, 1, 3], model(inputs).softmax(dim=1))
    large = nn.functional.interpolate(maps[:, None], inputs.shape[2:], mode="bilinear")[:, 0]
    found = masked_scores(model, inputs, large, [0, 2, 1, 3], scale=False)
    assert found.drop.mean() == pytest.approx(theirs.summary()["avg_drop"], abs=1e-5)
    assert found.increase.mean() == theirs.summary()["conf_increase"]


def input_itself(inputs: Tensor, targets: list[Any]) -> Tensor:
    return inputs.sum(dim=1)


def test_adcc_worked_by_hand() -> None:
    # The map is the input, 2 1 0; seen through it 2, 1/2, 0. Mean of the map in [0, 1] 1/2; the score is the sum: 3, then 5/2.
    inputs, total = torch.tensor([[[2.0, 1.0, 0.0]]], dtype=torch.float64), lambda output: output.sum()
    r = (1 * (2 - 5 / 6) + -1 * (0 - 5 / 6)) / math.sqrt(2 * ((2 - 5 / 6) ** 2 + (0.5 - 5 / 6) ** 2 + (5 / 6) ** 2))
    expected = 3 / (2 / (r + 1) + 2 + 1 / (1 - 1 / 6))
    assert adcc(nn.Flatten(), inputs, input_itself(inputs, []), input_itself, total) == pytest.approx([expected])
    # A second map that is opposite: coherency 0; everything let through: 1 - complexity is 0.
    assert adcc(nn.Flatten(), inputs, torch.tensor([[2.0, 1.0, 0.0]]), lambda _, __: torch.tensor([[0.0, 1.0, 2.0]]), total) == [0]
    assert adcc(nn.Flatten(), inputs, torch.ones(1, 3), input_itself, total, scale=False) == [0]


def test_adcc_explains_the_same_targets_in_batches_and_takes_a_constant_second_map_for_none() -> None:
    model, inputs = small_net(2), images(2, count=3)
    seen: list[list[Any]] = []

    def constant(part: Tensor, targets: list[Any]) -> Tensor:
        seen.append(targets)
        return torch.ones(len(part), *part.shape[2:])

    maps = torch.rand(3, *inputs.shape[2:])
    found = adcc(model, inputs, maps, constant, [2, 0, 1], batch_size=2)
    assert seen == [[2, 0], [1]]
    mask = (maps - maps.amin((1, 2), keepdim=True)) / (maps - maps.amin((1, 2), keepdim=True)).amax((1, 2), keepdim=True)
    drop = average_drop(model, inputs, maps, [2, 0, 1])
    np.testing.assert_allclose(found, 3 / (2 + 1 / (1 - mask.mean((1, 2)).numpy()) + 1 / (1 - drop)), rtol=1e-5)


@pytest.mark.parametrize("rank", RANKS)
def test_drop_ranks_the_truth_before_noise_before_inverted_and_adcc_is_monotone(rank: int) -> None:
    network, inputs, truth = planted(rank)
    oracle, random, inverted = (average_drop(network, inputs, maps, 1).mean() for maps in (truth, noise_like(truth), -truth))
    assert oracle < random < inverted

    def again(seen: Tensor, _: list[Any]) -> Tensor:
        return (seen * network.weights).sum(dim=1).detach()

    means = [adcc(network, inputs, maps, again, 1).mean() for maps in fading(truth)]
    assert is_monotone(means, falling=True), means
    assert adcc(network, inputs, -truth, again, 1).mean() < means[-1]


def _sure_of_others() -> Tensor:
    return torch.tensor([[[-900.0, 0.0, 0.0, 0.0]], [[1.0, 1.0, 1.0, 1.0]]])


GOOD: dict[str, Any] = {"inputs": torch.ones(2, 1, 4), "maps": torch.rand(2, 4), "targets": 0}


@pytest.mark.parametrize(
    ("metric", "wrong", "error", "message"),
    [
        (average_drop, {"maps": torch.rand(2, 2)}, DataError, "resize them first"),
        (gain, {"maps": torch.full((2, 4), torch.inf)}, DataError, "finite maps"),
        (increase, {"maps": torch.ones(2, 4)}, DataError, "differs between positions"),
        (average_drop, {"maps": 2 * torch.ones(2, 4), "scale": False}, DataError, r"masks in \[0, 1\], got values from 2 to 2"),
        (average_drop, {"inputs": -torch.ones(2, 1, 4), "targets": ClassScore(0)}, DataError, "a score above 0 that can drop, got -1 of"),
        (
            average_drop,
            {"inputs": _sure_of_others()},
            DataError,
            "above 0 that can drop, got 0 of sample 0",
        ),
        (gain, {"inputs": 2 * torch.ones(2, 1, 4), "targets": ClassScore(0)}, DataError, "Expected probabilities for the gain"),
        (gain, {"targets": 7}, TargetError, "out of range"),
    ],
)
def test_bad_input_is_one_line(metric: Callable[..., Any], wrong: dict[str, Any], error: type[Exception], message: str) -> None:
    given = GOOD | wrong
    with pytest.raises(error, match=message) as refused:
        metric(nn.Flatten(), given["inputs"], given["maps"], given["targets"], scale=given.get("scale", True))
    assert "\n" not in str(refused.value)


def test_adcc_refuses_maps_of_another_size() -> None:
    with pytest.raises(DataError, match="resize them first"):
        adcc(nn.Flatten(), torch.ones(1, 1, 4), torch.rand(1, 4), lambda _, __: torch.rand(1, 2), 0)
