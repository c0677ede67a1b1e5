"""The same networks, inputs and maps scored by Quantus: equal, or the difference has a name."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool.errors import DataError
from camtool.metrics import deletion_curves, faithfulness_correlation, max_sensitivity, pointing, randomisation
from camtool.metrics.altered_inputs import hyperplane
from camtool.targets import ClassScore
from tests.networks import images, small_net

quantus = pytest.importorskip("quantus")
pytestmark = pytest.mark.filterwarnings("ignore")

PLAIN: dict[str, Any] = {"normalise": False, "abs": False, "disable_warnings": True}
"""Quantus divides a map by its largest absolute value, which changes no order; nothing else is changed by default."""
QUANTUS_RANKS = [1, 2]
"""It knows channels of signals and of pictures."""
TARGETS = [3, 1]


def maps_of(inputs: Tensor, seed: int = 0) -> Tensor:
    """Return maps without equal values (n, *spatial), of either sign."""
    positions = inputs[0, 0].numel()
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randperm(positions, generator=generator) for _ in inputs])
    return (drawn.reshape(len(inputs), *inputs.shape[2:]) / positions - 0.3).to(inputs)


def arrays(inputs: Tensor, maps: Tensor | None = None) -> dict[str, Any]:
    """Return what Quantus's metrics are called with."""
    given = {"x_batch": inputs.numpy(), "y_batch": np.array(TARGETS)}
    return given if maps is None else given | {"a_batch": maps.unsqueeze(1).numpy()}


@pytest.mark.parametrize("rank", QUANTUS_RANKS)
def test_pixel_flipping_is_the_deletion_curve_without_its_first_point(rank: int) -> None:
    model, inputs = small_net(rank), images(rank)
    maps, channels, step = maps_of(inputs), inputs.shape[1], 5
    # Its "black" is each sample's lowest value, and its features are values: those of a position are taken together if the step is
    # a multiple of the channels.
    black = inputs.flatten(1).amin(dim=1).reshape(-1, *[1] * (rank + 1))
    ours = deletion_curves(model, inputs, maps, TARGETS, step=step, substrate=black)
    theirs = quantus.PixelFlipping(features_in_step=channels * step, **PLAIN)(model=model, **arrays(inputs, maps), softmax=True)
    np.testing.assert_allclose(ours.scores[:, 1:], theirs, atol=1e-6)


@pytest.mark.parametrize("rank", QUANTUS_RANKS)
def test_pointing_is_equal_without_a_tolerance(rank: int) -> None:
    inputs = images(rank, count=40)
    maps = maps_of(inputs)
    masks = torch.zeros(40, *inputs.shape[2:], dtype=torch.bool)
    masks[(slice(None), *[slice(1, 8)] * rank)] = True
    given = {"x_batch": inputs.numpy(), "y_batch": np.zeros(40, int), "a_batch": maps.unsqueeze(1).numpy()}
    theirs = quantus.PointingGame(**PLAIN)(model=small_net(rank), s_batch=masks.unsqueeze(1).numpy(), **given)
    assert pointing(maps, masks, tolerance=0).tolist() == [bool(hit) for hit in theirs]
    assert 0 < sum(theirs) < 40


def test_pointing_at_an_empty_mask_is_an_error_here_and_a_hit_there() -> None:
    inputs = images(2)
    maps, masks = maps_of(inputs), torch.zeros(2, *inputs.shape[2:], dtype=torch.bool)
    masks[0, 0, 0] = True
    theirs = quantus.PointingGame(**PLAIN)(model=small_net(2), s_batch=masks.unsqueeze(1).numpy(), **arrays(inputs, maps))
    assert bool(theirs[1])  # NaN, written into an array of booleans, is True
    with pytest.raises(DataError, match="mask"):
        pointing(maps, masks, tolerance=0)


@pytest.mark.parametrize("rank", QUANTUS_RANKS)
def test_max_sensitivity_is_equal_for_the_same_draws(rank: int) -> None:
    model, inputs, samples = small_net(rank), images(rank), 6
    changed: list[Tensor] = []

    def gradients(network: nn.Module, given: Tensor, targets: list[int]) -> Tensor:
        with torch.enable_grad():
            leaf = given.clone().requires_grad_()
            score = network(leaf)[torch.arange(len(leaf)), torch.as_tensor(targets)].sum()
            (gradient,) = torch.autograd.grad(score, leaf)
        return gradient.abs().sum(dim=1)

    def explain(given: Tensor, targets: list[Any]) -> Tensor:
        changed.append(given)
        return gradients(model, given, targets)

    ours = max_sensitivity(model, inputs, explain, TARGETS, radius=0.2, samples=samples)
    draws = torch.cat(changed[1:]).unflatten(0, (len(inputs), samples)).unbind(dim=1)
    rounds = iter(draws)

    def same_draws(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
        return next(rounds).numpy().reshape(arr.shape)

    def theirs_explain(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
        return gradients(model, torch.as_tensor(inputs), targets.tolist()).unsqueeze(1).numpy()

    metric = quantus.MaxSensitivity(nr_samples=samples, perturb_func=same_draws, **PLAIN)
    theirs = metric(model=model, **arrays(inputs), explain_func=theirs_explain)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


class Fixed(nn.Linear):
    """A linear layer whose initial weights do not depend on torch's random numbers, but on itself."""

    def reset_parameters(self) -> None:
        own = torch.Generator().manual_seed(self.in_features * 100 + self.out_features)
        with torch.no_grad():
            self.weight.copy_(torch.randn(self.weight.shape, generator=own))
            self.bias.copy_(torch.randn(self.bias.shape, generator=own))


@pytest.mark.parametrize("cascading", [True, False])
def test_mprt_is_equal_where_layers_become_the_same(cascading: bool) -> None:
    inputs = images(1)
    model = nn.Sequential(nn.Flatten(), Fixed(40, 12), nn.Tanh(), Fixed(12, 9), nn.Tanh(), Fixed(9, 4)).eval()
    for number, parameter in enumerate(model.parameters()):
        nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(number))

    def saliency(network: nn.Module, given: Any, targets: Any) -> Tensor:
        with torch.enable_grad():
            leaf = torch.as_tensor(given).clone().requires_grad_()
            (gradient,) = torch.autograd.grad(network(leaf)[torch.arange(2), torch.as_tensor(targets)].sum(), leaf)
        return gradient.sum(dim=1)

    def theirs_explain(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
        return saliency(model, inputs, targets).unsqueeze(1).numpy()

    metric = quantus.MPRT(layer_order="top_down" if cascading else "independent", **PLAIN)
    theirs = metric(model=model, **arrays(inputs), explain_func=theirs_explain)
    ours = randomisation(model, inputs, saliency, TARGETS, cascading=cascading)
    assert theirs.pop("original") == pytest.approx([1, 1])  # it is no layer, yet part of its mean
    assert set(ours) == set(theirs) == {"1", "3", "5"}
    for layer, scores in ours.items():
        np.testing.assert_allclose(scores, theirs[layer], atol=1e-6)


def test_mprt_of_quantus_draws_every_layer_from_one_seed() -> None:
    model, seen = nn.Sequential(nn.Flatten(), nn.Linear(6, 6), nn.Linear(6, 6)), []

    def explain(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: Any) -> np.ndarray:
        seen.append([layer.weight.detach().clone() for layer in (model[1], model[2])])
        return np.random.default_rng(len(seen)).random(inputs.shape)

    metric = quantus.MPRT(layer_order="top_down", **PLAIN)
    with torch.random.fork_rng():
        metric(model=model, x_batch=np.random.rand(2, 1, 6).astype(np.float32), y_batch=np.array([0, 1]), explain_func=explain)
    assert torch.equal(*seen[-1])  # both layers got the same weights; `randomisation` gives each its own


@pytest.mark.parametrize("rank", QUANTUS_RANKS)
def test_faithfulness_correlation_is_equal_for_the_same_subsets(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs, runs = small_net(rank), images(rank)[:, :1], 20  # its subsets are of values: the same with one channel
    network = nn.Sequential(Twice(), model).eval()
    maps, subset = maps_of(inputs), min(hyperplane(tuple(inputs.shape[2:])), 10)
    ours = faithfulness_correlation(network, inputs, maps, list(map(ClassScore, TARGETS)), subset=subset, runs=runs)
    generator = torch.Generator().manual_seed(0)
    positions = maps[0].numel()
    drawn = [torch.randperm(positions, generator=generator)[:subset].numpy() for _ in range(runs)]
    asked = iter(one for one in drawn for _ in TARGETS)
    monkeypatch.setattr(np.random, "choice", lambda *_, **__: next(asked))
    metric = quantus.FaithfulnessCorrelation(nr_runs=runs, subset_size=subset, perturb_baseline=0.0, return_aggregate=False, **PLAIN)
    theirs = metric(model=network, **arrays(inputs, maps), softmax=False)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


class Twice(nn.Module):
    """Two channels of one."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([inputs, inputs.square()], dim=1)
