"""Infidelity, max-sensitivity and faithfulness correlation: Captum's values, by hand, against a loop, on networks that are known."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool.errors import DataError, TargetError
from camtool.metrics import faithfulness_correlation, infidelity, max_sensitivity
from camtool.targets import ClassScore
from tests.metrics.planted import fading, is_monotone, noise_like, planted
from tests.networks import RANKS, images, small_net


def uniform(inputs: Tensor, generator: torch.Generator) -> Tensor:
    return 0.3 * torch.rand(inputs.shape, generator=generator, dtype=torch.float64).to(inputs)


@pytest.mark.parametrize("rank", RANKS)
def test_infidelity_equals_a_literal_replica(rank: int) -> None:
    model, inputs = small_net(rank, double=True), images(rank, double=True)
    maps = torch.rand(2, *inputs.shape[2:], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn: list[np.ndarray] = []

    def perturb(given: Tensor, generator: torch.Generator) -> Tensor:
        drawn.append(uniform(given, generator)[0].numpy())
        return torch.from_numpy(drawn[-1])[None]

    found = infidelity(model, inputs, maps, [ClassScore(1), ClassScore(3)], perturb=perturb, samples=3, batch_size=4)
    assert len(drawn) == 6
    for sample, index in enumerate((1, 3)):
        errors = []
        for change in drawn[3 * sample : 3 * sample + 3]:
            product = 0.0
            for place in itertools.product(*map(range, change.shape)):
                product += change[place] * float(maps[(sample, *place[1:])])
            with torch.no_grad():
                fall = model(inputs[sample][None])[0, index] - model((inputs[sample] - torch.from_numpy(change))[None])[0, index]
            errors.append((product - float(fall)) ** 2)
        assert found[sample] == pytest.approx(sum(errors) / 3, rel=1e-9)


def test_infidelity_of_captums_case() -> None:
    # Its `test_basic_infidelity_single`: integrated gradients over the input, (1.5, -0.5) / (3, 1); expected there: 0.0000316 +- 0.0001.
    # By hand: I . M = 0.0009 / 2 - 0.0121 / 2 = -0.0056; f falls from 1 to 1.0112.
    inputs, maps = torch.tensor([[[3.0, 1.0]]], dtype=torch.float64), torch.tensor([[0.5, -0.5]], dtype=torch.float64)

    def f(given: Tensor) -> Tensor:
        return (given[:, 0, 0].relu() - 1 - given[:, 0, 1].relu()).relu().unsqueeze(1)

    change = torch.tensor([[[0.0009, 0.0121]]], dtype=torch.float64)
    found = infidelity(f, inputs, maps, ClassScore(0), perturb=lambda _, __: change, samples=4)
    assert found == pytest.approx([0.0056**2], rel=1e-9)


@pytest.mark.parametrize("rank", RANKS)
def test_infidelity_is_zero_at_the_truth_and_monotone(rank: int) -> None:
    network, inputs, _ = planted(rank, count=3)
    gradient = network.weights.detach().expand(3, *network.weights.shape)
    means = [infidelity(network, inputs, maps, ClassScore(1), perturb=uniform, samples=50).mean() for maps in fading(gradient)]
    assert means[0] == pytest.approx(0, abs=1e-12)
    assert is_monotone(means, falling=False), means
    of_channels = gradient.unsqueeze(1).expand_as(inputs)
    assert infidelity(network, inputs, of_channels, ClassScore(1)) == pytest.approx(np.zeros(3), abs=1e-12)


def test_batches_change_nothing_and_perturbations_do_not_accumulate() -> None:
    model, inputs = small_net(2, double=True), images(2, count=3, double=True)
    maps, kept = torch.rand(3, *inputs.shape[2:]), inputs.clone()
    first = infidelity(model, inputs, maps, 1, batch_size=1)
    np.testing.assert_allclose(infidelity(model, inputs, maps, 1, batch_size=64), first, rtol=1e-9)
    assert not np.allclose(infidelity(model, inputs, maps, 1, seed=1), first, rtol=1e-6)
    assert inputs.equal(kept)

    def explain(given: Tensor, targets: list[Any]) -> Tensor:
        return given.sum(dim=1)

    found = max_sensitivity(model, inputs, explain, 1, batch_size=1)
    np.testing.assert_allclose(max_sensitivity(model, inputs, explain, 1, batch_size=7), found, rtol=1e-9)
    # Captum's bound for draws within the radius: sqrt(positions) of channels * radius over the norm.
    bound = 2 * 0.02 * math.sqrt(140) / inputs.sum(dim=1).flatten(1).norm(dim=1).numpy()
    assert ((found > 0) & (found < bound)).all()


def test_max_sensitivity_is_a_loop_over_draws_which_methods_share() -> None:
    model, inputs = small_net(2, double=True), images(2, double=True)
    calls: list[Tensor] = []
    asked: list[list[Any]] = []

    def explain(given: Tensor, targets: list[Any]) -> dict[str, Tensor]:
        calls.append(given)
        asked.append(targets)
        return {"sum": given.sum(dim=1), "square": given.square().sum(dim=1), "none": torch.ones(len(given), 3)}

    found = max_sensitivity(model, inputs, explain, radius=0.1, samples=4, batch_size=3)
    original, changed = calls[0], torch.cat(calls[1:])
    assert [len(one) for one in calls] == [2, 3, 3, 2]  # one call for all methods
    predicted = model(inputs).argmax(dim=1).tolist()
    assert asked[0] == predicted
    assert list(itertools.chain(*asked[1:])) == [predicted[0]] * 4 + [predicted[1]] * 4
    assert float((changed - inputs.repeat_interleave(4, dim=0)).abs().max()) <= 0.1
    assert len((changed - inputs.repeat_interleave(4, dim=0)).flatten(1)[:, 0].unique()) == 8  # each draw is another
    for name, of in (("sum", lambda x: x.sum(0)), ("square", lambda x: x.square().sum(0))):
        for sample in range(2):
            here = of(original[sample])
            expected = max(float((of(one) - here).norm() / here.norm()) for one in changed[4 * sample : 4 * sample + 4])
            assert found[name][sample] == pytest.approx(expected, rel=1e-9)
    assert found["none"].tolist() == [0, 0]


def literal_correlation(first: list[float], second: list[float]) -> float:
    means = sum(first) / len(first), sum(second) / len(second)
    parts = [[value - mean for value in values] for values, mean in zip((first, second), means, strict=True)]
    return sum(a * b for a, b in zip(*parts, strict=True)) / math.sqrt(sum(a * a for a in parts[0]) * sum(b * b for b in parts[1]))


@pytest.mark.parametrize("rank", RANKS)
def test_faithfulness_correlation_equals_a_literal_replica(rank: int) -> None:
    model, inputs = small_net(rank, double=True), images(rank, double=True)
    maps = torch.rand(2, *inputs.shape[2:], generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    seen: list[Tensor] = []

    def watched(given: Tensor) -> Tensor:
        seen.append(given)
        return model(given)

    found = faithfulness_correlation(watched, inputs, maps, [ClassScore(1), ClassScore(2)], subset=5, runs=8, batch_size=6)
    altered = torch.cat(seen[1:]).unflatten(0, (2, 8))
    gone = (altered == 0).all(dim=2)
    assert gone.flatten(2).sum(dim=2).unique().tolist() == [5]
    assert gone[0].equal(gone[1])
    for sample, index in enumerate((1, 2)):
        sums = [float(sum(maps[sample][run])) for run in gone[sample]]
        with torch.no_grad():
            falls = (model(inputs[sample][None])[0, index] - model(altered[sample])[:, index]).tolist()
        assert found[sample] == pytest.approx(literal_correlation(sums, falls), abs=1e-9)


@pytest.mark.parametrize("rank", RANKS)
def test_faithfulness_correlation_is_one_on_a_linear_network_monotone_and_ranks(rank: int) -> None:
    network, inputs, truth = planted(rank)
    means = [faithfulness_correlation(network, inputs, maps, ClassScore(1)).mean() for maps in fading(truth)]
    assert means[0] == pytest.approx(1)
    assert is_monotone(means, falling=True), means
    oracle, random, inverted = (faithfulness_correlation(network, inputs, m, 1).mean() for m in (truth, noise_like(truth), -truth))
    assert oracle > random > inverted


def test_a_score_that_never_changes_has_no_correlation() -> None:
    assert faithfulness_correlation(lambda given: given.new_zeros(len(given), 2), torch.ones(1, 1, 9), torch.rand(1, 9), 0) == [0]


MAPS = torch.rand(2, 4)


@pytest.mark.parametrize(
    ("metric", "third", "settings", "error", "message"),
    [
        (infidelity, torch.rand(2, 2), {}, DataError, "resize them first"),
        (infidelity, torch.full((2, 4), torch.nan), {}, DataError, "finite maps"),
        (infidelity, MAPS, {"perturb": lambda given, _: given[..., :1]}, DataError, r"the input's shape, \(1, 1, 4\), got \(1, 1, 1\)"),
        (infidelity, MAPS, {"samples": 0}, DataError, "at least 1 of the perturbations"),
        (infidelity, MAPS, {"targets": 9}, TargetError, "out of range"),
        (faithfulness_correlation, torch.ones(2, 4), {}, DataError, "differs between positions"),
        (faithfulness_correlation, MAPS, {"subset": 4}, DataError, "a subset of 1 to 3 positions, got 4"),
        (faithfulness_correlation, MAPS, {"runs": 1}, DataError, "at least 2 runs"),
        (max_sensitivity, lambda _, __: torch.zeros(2, 4), {}, DataError, "got zero everywhere in that of sample 0"),
        (max_sensitivity, lambda _, __: {"a": torch.zeros(2, 4)}, {}, DataError, "zero everywhere in that of sample 0 by a"),
        (max_sensitivity, lambda x, _: x.sum(dim=1).log() * torch.nan, {}, DataError, "got NaN or infinity"),
        (max_sensitivity, lambda _, __: torch.rand(1, 4), {}, DataError, "one for each of 2 inputs, got 1 maps"),
        (max_sensitivity, lambda x, _: x.sum(dim=1), {"radius": 0.0}, DataError, "a radius above 0"),
        (max_sensitivity, lambda x, _: x.sum(dim=1), {"samples": 0}, DataError, "at least 1 of the changes"),
    ],
)
def test_bad_input_is_one_line(
    metric: Callable[..., Any], third: Any, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as refused:
        metric(nn.Flatten(), torch.ones(2, 1, 4), third, **{"targets": 0} | settings)
    assert "\n" not in str(refused.value)
