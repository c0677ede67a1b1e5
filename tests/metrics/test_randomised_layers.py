"""MPRT and eMPRT: a loop over layers, a seed for each, by hand; nothing is left in the network."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from camtool.errors import DataError
from camtool.metrics import emprt, randomisation
from tests.networks import RANKS, images, small_net


def saliency(network: nn.Module, inputs: Tensor, targets: list[int]) -> Tensor:
    with torch.enable_grad():
        given = inputs.clone().requires_grad_()
        score = sum(network(given)[sample, index] for sample, index in enumerate(targets))
        (gradient,) = torch.autograd.grad(score, given)
    return gradient.abs().amax(dim=1)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("cascading", [True, False])
def test_layers_go_from_the_top_and_the_correlation_is_scipys(rank: int, cascading: bool) -> None:
    model, inputs = small_net(rank), images(rank)
    states: list[dict[str, Tensor]] = []

    def explain(network: nn.Module, given: Tensor, targets: list[int]) -> Tensor:
        states.append({name: value.clone() for name, value in network.state_dict().items()})
        return saliency(network, given, targets)

    found = randomisation(model, inputs, explain, [1, 2], cascading=cascading)
    assert list(found) == ["fc", "late.1", "late.0", "early.1", "early.0"]
    before = saliency(model, inputs, [1, 2]).flatten(1)
    for number, (name, scores) in enumerate(found.items(), start=1):
        network = copy.deepcopy(model)
        network.load_state_dict(states[number])
        expected = [spearmanr(*pair).statistic for pair in zip(before, saliency(network, inputs, [1, 2]).flatten(1), strict=True)]
        np.testing.assert_allclose(scores, expected, atol=1e-9)
        changed = {key.rpartition(".")[0] for key, value in states[number].items() if not value.equal(states[0][key])}
        assert changed == (set(list(found)[:number]) if cascading else {name})


def test_every_layer_has_a_seed_of_its_own() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, 6), nn.Linear(6, 6))
    seen: list[nn.Module] = []

    def explain(network: nn.Module, given: Tensor, targets: list[int]) -> Tensor:
        seen.append(copy.deepcopy(network))
        return given.sum(dim=1)

    inputs = torch.rand(1, 1, 6)
    randomisation(model, inputs, explain)
    assert not seen[-1][1].weight.equal(seen[-1][2].weight)
    randomisation(model, inputs, explain)
    assert seen[-1][1].weight.equal(seen[2][1].weight)
    randomisation(model, inputs, explain, seed=1)
    assert not seen[-1][1].weight.equal(seen[2][1].weight)
    randomisation(model, inputs, explain, layers=["1"])
    assert seen[-1][2].weight.equal(model[2].weight)


def test_a_map_that_does_not_look_is_one_and_of_a_random_network_it_is_about_zero() -> None:
    model, inputs = small_net(2), images(2, count=8)
    found = randomisation(model, inputs, lambda _, given, __: given.sum(dim=1))
    assert all(scores.tolist() == [1.0] * 8 for scores in found.values())
    generator = torch.Generator().manual_seed(0)
    random = randomisation(model, inputs, lambda _, given, __: torch.rand(given[:, 0].shape, generator=generator))
    assert all(abs(scores.mean()) < 0.1 for scores in random.values())
    constant = randomisation(model, inputs, lambda _, given, __: torch.ones_like(given[:, 0]))
    assert np.isnan(constant["fc"]).all()


def test_the_network_and_torchs_random_numbers_stay_as_they_are() -> None:
    model, inputs = small_net(2).train(), images(2)
    before, state = {name: value.clone() for name, value in model.state_dict().items()}, torch.get_rng_state()
    randomisation(model, inputs, saliency, 0)
    emprt(model, inputs, saliency, 0)
    assert torch.get_rng_state().equal(state)
    assert all(module.training for module in model.modules())
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_single_layer_may_be_named_by_its_path_alone() -> None:
    model, inputs = small_net(2), images(2)
    (name, found), *rest = randomisation(model, inputs, saliency, 0, layers="fc").items()
    assert (name, rest) == ("fc", [])
    np.testing.assert_array_equal(found, randomisation(model, inputs, saliency, 0, layers=["fc"])["fc"])


def test_emprt_worked_by_hand() -> None:
    model, inputs = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.ones(1, 1, 4)

    def explain(network: nn.Module, given: Tensor, targets: list[int]) -> Tensor:
        return torch.tensor([[0.0, 0.0, 0.0, 1.0]] if network is model else [[0.0, 1.0, 2.0, 3.0]])

    simple = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert emprt(model, inputs, explain) == pytest.approx([(math.log(4) - simple) / simple])


@pytest.mark.parametrize(
    ("metric", "settings", "message"),
    [
        (randomisation, {"layers": ["fcc"]}, "no layer 'fcc'; closest: 'fc'"),
        (randomisation, {"layers": []}, "Expected layers to initialise anew, got none; there are"),
        (randomisation, {"model": nn.Flatten()}, "a network without a layer that can be; there are none"),
        (randomisation, {"explain": lambda _, __, ___: torch.rand(2, 2, 2)}, "resize them first"),
        (randomisation, {"explain": lambda _, given, __: given.sum(dim=1) * torch.nan}, "finite maps"),
        (emprt, {"explain": lambda _, given, __: torch.ones_like(given[:, 0])}, "the same everywhere in that of sample 0"),
        (emprt, {"bins": 1}, "at least 2 bins"),
    ],
)
def test_bad_input_is_one_line(metric: Any, settings: dict[str, Any], message: str) -> None:
    given = {"model": small_net(2), "inputs": images(2), "explain": saliency, "targets": 0} | settings
    with pytest.raises(DataError, match=message) as refused:
        metric(**given)
    assert "\n" not in str(refused.value)
