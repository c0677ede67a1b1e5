"""ROAD: its system against SciPy's direct solution, by hand, against a loop, and on networks whose explanation is known."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csc_array
from scipy.sparse.linalg import spsolve
from torch import Tensor, nn

from camtool.errors import DataError
from camtool.metrics import road, road_curves
from camtool.metrics.imputation import imputed
from camtool.metrics.removal import NOISE
from tests.metrics.planted import fading, is_monotone, noise_like, planted
from tests.metrics.test_curves import literal_probability
from tests.networks import RANKS, images, small_net

SIZES = [(40,), (17, 30), (6, 9, 7), (1, 9), (3, 1, 5), (2, 2)]


def literal_imputation(one: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Write down one equation a removed position, and solve them directly."""
    places = [place for place in itertools.product(*map(range, removed.shape)) if removed[place]]
    number = {place: k for k, place in enumerate(places)}
    matrix, right = np.zeros((len(places), len(places))), np.zeros((len(places), len(one)))
    for place, k in number.items():
        for offset in itertools.product((-1, 0, 1), repeat=len(place)):
            moved = tuple(a + b for a, b in zip(place, offset, strict=True))
            if not any(offset) or not all(0 <= a < length for a, length in zip(moved, removed.shape, strict=True)):
                continue
            weight = 1 / 6 / 2 ** (sum(map(abs, offset)) - 1)
            matrix[k, k] += weight
            if moved in number:
                matrix[k, number[moved]] -= weight
            else:
                right[k] += weight * one[(slice(None), *moved)]
    filled = one.copy()
    for values, place in zip(spsolve(csc_array(matrix), right).reshape(len(places), -1), places, strict=True):
        filled[(slice(None), *place)] = values
    return filled


def removed_parts(size: tuple[int, ...], seed: int) -> Tensor:
    """Return scattered positions, a large hole, and all but one: (3, *size)."""
    generator = torch.Generator().manual_seed(seed)
    positions = int(np.prod(size))
    scattered = torch.rand(positions, generator=generator) < 0.6
    scattered[0] = False
    scattered[1] = True
    hole = torch.arange(positions) >= -(-positions // 3)
    but_one = torch.arange(positions) != positions // 2
    return torch.stack([scattered, hole, but_one]).reshape(3, *size)


@pytest.mark.parametrize("size", SIZES)
def test_the_batch_is_solved_as_scipy_does_directly(size: tuple[int, ...]) -> None:
    inputs = torch.randn(3, 2, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    removed = removed_parts(size, seed=1)
    expected = np.stack([literal_imputation(one, gone) for one, gone in zip(inputs.numpy(), removed.numpy(), strict=True)])
    np.testing.assert_allclose(imputed(inputs, removed, tolerance=1e-8).numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(imputed(inputs.float(), removed).numpy(), expected, atol=1e-3)  # a tenth of the noise


def test_a_picture_of_the_usual_size_is_solved_to_a_millionth() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(1, 1, 96, 96, generator=generator, dtype=torch.float64)
    coarse = nn.functional.interpolate(torch.rand(1, 1, 4, 4, generator=generator, dtype=torch.float64), size=(96, 96), mode="bilinear")[
        :, 0
    ]
    removed = coarse > coarse.median()
    weights = {(a, b): 1 / 6 / (abs(a) + abs(b)) for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b}
    filled = imputed(inputs, removed, tolerance=1e-9)[0, 0]
    # Every removed position is the mean of its neighbours, and no other has changed.
    sums, total = torch.zeros(98, 98, dtype=torch.float64), torch.zeros(98, 98, dtype=torch.float64)
    for (a, b), weight in weights.items():
        sums[1 + a : 97 + a, 1 + b : 97 + b] += weight * filled
        total[1 + a : 97 + a, 1 + b : 97 + b] += weight
    means = (sums / total.clamp(min=1e-9))[1:-1, 1:-1]
    torch.testing.assert_close(filled[removed[0]], means[removed[0]], atol=1e-8, rtol=0)
    assert filled[~removed[0]].equal(inputs[0, 0][~removed[0]])


def test_a_line_is_interpolated() -> None:
    signal = torch.tensor([[[2.0, 0.0, 0.0, 8.0, 0.0]]])
    found = imputed(signal, torch.tensor([[False, True, True, False, True]]))
    torch.testing.assert_close(found, torch.tensor([[[2.0, 4.0, 6.0, 8.0, 8.0]]]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("order", ["morf", "lerf"])
def test_the_curves_equal_a_literal_replica(rank: int, order: str) -> None:
    model, inputs = small_net(rank, double=True), images(rank, double=True)
    maps = torch.rand(2, *inputs.shape[2:], generator=torch.Generator().manual_seed(0), dtype=torch.float64) - 0.5
    found = road_curves(model, inputs, maps, [3, 1], order=order, fractions=[0.1, 0.7], seed=5, batch_size=3)
    noise = NOISE * torch.randn(inputs.shape[1:], generator=torch.Generator().manual_seed(5)).double().numpy()
    for sample, index in enumerate((3, 1)):
        score_map = maps[sample].numpy()
        places = sorted(
            itertools.product(*map(range, score_map.shape)), key=lambda place: score_map[place] * (1 if order == "lerf" else -1)
        )
        for k, share in enumerate((0.1, 0.7)):
            removed = np.zeros(score_map.shape, dtype=bool)
            for place in places[: int(share * len(places) + 1e-9)]:
                removed[place] = True
            filled = literal_imputation(inputs[sample].numpy(), removed) + noise * removed
            assert found.scores[sample, k] == pytest.approx(literal_probability(model, filled, index), abs=1e-5)


@pytest.mark.parametrize("rank", RANKS)
def test_road_is_monotone_from_the_truth_to_noise_and_ranks_oracle_random_inverted(rank: int) -> None:
    network, inputs, truth = planted(rank)
    # What is removed can be filled in again where the input is smooth: the object is an island of high values.
    inputs = torch.where(network.weights > 0, inputs, 0.1 * inputs)
    truth = (inputs * network.weights).sum(dim=1).detach()
    means = [road(network, inputs, maps, 1).mean() for maps in fading(truth)]
    assert is_monotone(means, falling=True, slack=1e-3), means  # the first fractions take the same set of positions
    oracle, random, inverted = (road(network, inputs, maps, 1).mean() for maps in (truth, noise_like(truth), -truth))
    assert oracle > random > inverted
    assert -0.5 <= inverted < -oracle / 2


def test_exactly_so_many_are_removed_and_equal_values_are_in_a_seeded_order() -> None:
    seen: list[Tensor] = []

    def model(inputs: Tensor) -> Tensor:
        seen.append(inputs)
        return inputs.flatten(1)

    maps = torch.zeros(1, 10, 10)
    maps[:, 0, 0] = 1
    inputs = torch.ones(1, 1, 10, 10)
    road_curves(model, inputs, maps, 0, fractions=[0.1, 0.29, 0.5])  # 0.29 * 100 is 28.999999999999996
    altered = seen[-1]
    assert (altered != 1).flatten(1).sum(dim=1).tolist() == [10, 29, 50]  # all of them have noise
    assert bool((altered[:, 0, 0, 0] != 1).all())
    first = altered.clone()
    road_curves(model, inputs, maps, 0, fractions=[0.1, 0.29, 0.5])
    assert seen[-1].equal(first)
    road_curves(model, inputs, maps, 0, fractions=[0.1, 0.29, 0.5], seed=1)
    assert not seen[-1].ne(1).equal(first.ne(1))


def test_road_is_half_of_what_lies_between_its_curves() -> None:
    model, inputs = small_net(2), images(2)
    maps = torch.rand(2, *inputs.shape[2:])
    morf, lerf = (road_curves(model, inputs, maps, 0, order=order).scores for order in ("morf", "lerf"))
    np.testing.assert_allclose(road(model, inputs, maps, 0), (lerf - morf).mean(axis=1) / 2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": "more"}, "No order 'more' of removal; closest: 'morf'"),
        ({"fractions": []}, "fractions above 0 and below 1"),
        ({"fractions": [0.5, 1.0]}, "fractions above 0 and below 1"),
        ({"fractions": [0.5, 0.2]}, "that grow"),
        ({"maps": torch.rand(1, 2, 2)}, "resize them first"),
        ({"maps": torch.ones(1, 4, 4)}, "differs between positions"),
    ],
)
def test_bad_input_is_one_line(settings: dict[str, Any], message: str) -> None:
    maps = settings.pop("maps", torch.rand(1, 4, 4))
    with pytest.raises(DataError, match=message) as refused:
        road_curves(nn.Flatten(), torch.ones(1, 1, 4, 4), maps, 0, **settings)
    assert "\n" not in str(refused.value)


def test_nothing_is_filled_in_from_nothing() -> None:
    with pytest.raises(DataError, match="a position of each sample to fill the others from"):
        imputed(torch.ones(1, 1, 3), torch.ones(1, 3, dtype=torch.bool))
