"""What is asked of every metric that has a name: it falls as maps fade from the truth to noise, and ranks oracle, method, noise, inverted.

Those that do not are shown not to, by a wrong map that scores as well as the truth: a new metric stands in one of these tables.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool import CAM, metrics
from camtool.datasets.annotations import bounding_box
from camtool.evaluation import METRICS
from camtool.targets import ClassScore
from tests.metrics.planted import Planted, fading, noise_like, planted
from tests.networks import RANKS

README = Path(metrics.__file__).with_name("README.md").read_text(encoding="utf-8")
MEANS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
COUNT = 16
SIZES = {1: (40,), 2: (12, 14), 3: (8, 9, 10)}
STEP = 3  # fewer positions than the object has, so that a map's order within it counts


class Blurred(nn.Module):
    """A planted network with a layer that holds what each position adds, spread over its neighbours: where a method looks is coarser."""

    def __init__(self, network: Planted, rank: int) -> None:
        super().__init__()
        self.network = network
        self.features = MEANS[rank](3, stride=1, padding=1)

    def forward(self, inputs: Tensor) -> Tensor:
        added = self.features((inputs * self.network.weights).sum(dim=1, keepdim=True))
        score = added.flatten(1).sum(dim=1) + self.network.bias
        return torch.stack([torch.zeros_like(score), score], dim=1)


class Case:
    """Inputs whose object is an island of high values, so that it can be filled in from around it, and maps of them."""

    def __init__(self, rank: int) -> None:
        network, inputs, _ = planted(rank, COUNT, size=SIZES[rank])
        self.inputs = torch.where(network.weights > 0, inputs, 0.1 * inputs)
        self.model = Blurred(network, rank).eval()
        self.gradient = network.weights.detach().expand(COUNT, *network.weights.shape)
        self.truth = (self.inputs * network.weights).sum(dim=1).detach()
        self.masks = self.truth > 0
        self.boxes = [bounding_box(mask.numpy())[None] for mask in self.masks]

    def by_method(self) -> Tensor:
        return CAM(self.model, method="gradcam", target_layers="features")(self.inputs, [1] * COUNT).maps

    def again(self, seen: Tensor, _: list[Any]) -> Tensor:
        """Return the truth of other inputs."""
        return (seen * self.model.network.weights).sum(dim=1).detach()


def of_network(name: str, **settings: Any) -> Callable[[Case, Tensor], np.ndarray]:
    metric = getattr(metrics, name)
    return lambda case, maps: metric(case.model, case.inputs, maps, 1, **settings)


def of_masks(name: str, **settings: Any) -> Callable[[Case, Tensor], np.ndarray]:
    metric = getattr(metrics, name)
    return lambda case, maps: metric(maps - maps.amin(), case.masks, **settings)


def of_maps_alone(name: str) -> Callable[[Case, Tensor], np.ndarray]:
    metric = getattr(metrics, name)
    return lambda _, maps: metric(maps)


SCORES: dict[str, Callable[[Case, Tensor], np.ndarray]] = {
    "deletion": of_network("deletion", step=STEP),
    "insertion": of_network("insertion", step=STEP, substrate=0.0),
    "road": of_network("road"),
    "average-drop": of_network("average_drop"),
    "increase": of_network("increase"),
    "gain": of_network("gain"),
    "faithfulness-correlation": of_network("faithfulness_correlation"),
    "adcc": lambda case, maps: metrics.adcc(case.model, case.inputs, maps, case.again, 1),
    "infidelity": lambda case, maps: metrics.infidelity(case.model, case.inputs, maps, ClassScore(1), samples=20),
    "energy": of_masks("energy"),
    "pointing": of_masks("pointing", tolerance=0),
    "rank-accuracy": of_masks("rank_accuracy"),
    "iou": of_masks("iou"),
    "ioa": of_masks("ioa"),
    "wioa": of_masks("wioa"),
    "wsol": lambda case, maps: np.array(metrics.max_box_accuracy(maps - maps.amin(), case.boxes).accuracy),
    "pxap": lambda case, maps: np.array(metrics.pxap(maps - maps.amin(), case.masks).area),
    "sparseness": of_maps_alone("sparseness"),
    "complexity": of_maps_alone("complexity"),
}
FUNCTIONS = {"wsol": "max_box_accuracy"}
"""Names in `camtool.metrics` that are not those of the metrics."""
MONOTONE = {
    *("deletion", "insertion", "road", "faithfulness-correlation", "adcc", "infidelity"),
    *("energy", "pointing", "rank-accuracy", "iou", "ioa", "wioa", "wsol", "pxap"),
}
RANKING = MONOTONE - {"infidelity"}
"""Those that rank; infidelity compares attributions in units of the score, and puts the truth first only."""
SLACK = {"road": 1e-3}  # while a fraction takes the same set of positions nothing changes
TIED = {"pointing", "wsol"}
"""Where the truth and a method are both without fault, and a few maps of noise may hit no object, as the inverted truth does."""


def mean(name: str, case: Case, maps: Tensor) -> float:
    """Return the mean score, signed so that higher is better."""
    sign = {"higher": 1, "lower": -1, "": 1}[METRICS[name].better]
    return sign * float(np.mean(SCORES[name](case, maps)))


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", sorted(MONOTONE))
def test_a_score_falls_from_the_truth_to_noise(name: str, rank: int) -> None:
    case = Case(rank)
    values = [mean(name, case, maps) for maps in fading(case.gradient if name == "infidelity" else case.truth)]
    assert (np.diff(values) <= SLACK.get(name, 1e-12)).all(), values
    assert values[-1] < values[0]


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", sorted(RANKING))
def test_a_score_ranks_oracle_method_noise_inverted(name: str, rank: int) -> None:
    case = Case(rank)
    oracle, method, noise, inverted = (
        mean(name, case, maps) for maps in (case.truth, case.by_method(), noise_like(case.truth), -case.truth)
    )
    found = oracle, method, noise, inverted
    assert oracle >= method > noise >= inverted, found
    assert name in TIED or (oracle > method and noise > inverted), found


def one_place(case: Case) -> Tensor:
    """Return maps of a single position, off the object."""
    maps = torch.zeros_like(case.truth)
    maps.flatten(1)[:, 0] = 1
    return maps


def on_random_weights(metric: Callable[..., Any], case: Case) -> tuple[float, float]:
    """Return the scores of what each position adds to a random network, and of noise that no weight of it enters but as a seed."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(case.inputs[0].numel(), 2).double())

    def true(network: nn.Module, inputs: Tensor, _: list[Any]) -> Tensor:
        return (inputs * network[1].weight[1].detach().abs().reshape(inputs.shape[1:])).sum(dim=1)

    def noise(network: nn.Module, inputs: Tensor, _: list[Any]) -> Tensor:
        sharp = 1.0 if network[1].weight.equal(model[1].weight) else 0.0  # one place before, anything after
        drawn = torch.rand(inputs[:, 0].shape, generator=torch.Generator().manual_seed(int(sharp)), dtype=inputs.dtype)
        return drawn**40 if sharp else drawn

    found = [metric(model, case.inputs, explain, 1) for explain in (true, noise)]
    return tuple(float(np.mean(list(one.values()) if isinstance(one, dict) else one)) for one in found)  # type: ignore[return-value]


def steadiness(case: Case) -> tuple[float, float]:
    def constant(inputs: Tensor, _: list[Any]) -> Tensor:
        return noise_like(case.truth)[:1].expand(len(inputs), *case.truth.shape[1:])

    return tuple(float(metrics.max_sensitivity(case.model, case.inputs, explain, 1).mean()) for explain in (case.again, constant))  # type: ignore[return-value]


def of_maps(name: str, wrong: Callable[[Case], Tensor]) -> Callable[[Case], tuple[float, float]]:
    return lambda case: tuple(float(SCORES[name](case, maps).mean()) for maps in (case.truth, wrong(case)))  # type: ignore[return-value]


COUNTEREXAMPLES: dict[str, Callable[[Case], tuple[float, float]]] = {
    "average-drop": of_maps("average-drop", lambda case: 1 - one_place(case)),
    "increase": of_maps("increase", lambda case: -case.truth),
    "gain": of_maps("gain", lambda case: -case.truth),
    "max-sensitivity": steadiness,
    "randomisation": lambda case: on_random_weights(metrics.randomisation, case),
    "emprt": lambda case: on_random_weights(metrics.emprt, case),
    "sparseness": of_maps("sparseness", one_place),
    "complexity": of_maps("complexity", one_place),
}
"""The score of the truth, and of a map that is wrong and yet no worse."""
SPARSE_IS_MORE = {"sparseness": 1, "complexity": -1}


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", sorted(COUNTEREXAMPLES))
def test_of_these_metrics_a_wrong_map_is_no_worse_than_the_truth(name: str, rank: int) -> None:
    truth, wrong = COUNTEREXAMPLES[name](Case(rank))
    sign = {"higher": 1, "lower": -1}.get(METRICS[name].better) or SPARSE_IS_MORE[name]
    assert sign * wrong >= sign * truth


def test_every_metric_is_shown_to_be_monotone_or_not() -> None:
    assert not MONOTONE & set(COUNTEREXAMPLES)
    assert set(METRICS) == MONOTONE | set(COUNTEREXAMPLES)
    assert set(METRICS) >= RANKING


@pytest.mark.parametrize("name", METRICS)
def test_the_docstring_and_the_readme_say_whether_it_is_monotone(name: str) -> None:
    function = FUNCTIONS.get(name, name.replace("-", "_"))
    text = getattr(metrics, function).__doc__.lower()
    rows = [row for row in README.splitlines() if row.startswith("|") and f"`{function}`" in row.split("|")[1]]
    last = rows[-1].split("|")[-2].lower()
    assert ("not monotone" in text) == (name in COUNTEREXAMPLES), text
    assert last.strip().startswith(("no", "**not")) == (name in COUNTEREXAMPLES), last
