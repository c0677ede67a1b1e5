"""What every registered method must satisfy. The registry is the list: a method without a replica fails here."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tests.methods.replicas_perturbation  # noqa: F401 - registers its replicas
from camtool import CAM
from camtool.errors import MethodError
from camtool.methods import build_method, family
from camtool.methods._base import Evidence
from camtool.registry import METHODS
from tests.methods.examples import EXAMPLES
from tests.methods.kinds import NAMES, OF_ATTENTION, OF_CHANNELS, OF_INPUT, OF_LAYERS, OF_MAPS, REFUSING_EIGEN_SMOOTH
from tests.methods.queries import (
    ByHand,
    Formula,
    change_of_input,
    contributions_from_zero,
    gradient_of_input,
    score_of_activations,
    score_of_input,
)
from tests.methods.replicas import REPLICAS, TERMS, Sample, fem_of, pipeline, principal_component
from tests.methods.replicas_of_ablations import finer_coefficients
from tests.networks import CLASSES, RANKS, SIZES, SmallNet, autograd_evidence, images, small_net

# Maps without positive evidence occur among the seeded networks; what is said of them is tested in tests/attribution/test_cam.py.
pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")

TIGHT = {"rtol": 1e-9, "atol": 1e-12}


def draws(channels: int) -> np.ndarray:
    """Return the weights that a seed of 0 draws, for methods that draw some."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(channels, generator=generator, dtype=torch.float64) * 2 - 1).numpy()


def noise(*shape: int) -> np.ndarray:
    """Return the noise that a seed of 0 draws, copy by copy, for methods that draw some."""
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(16)]).numpy()


def mask_noise(rank: int) -> np.ndarray:
    """Return the pictures of noise that a seed of 0 draws."""
    return torch.randn(35, *SIZES[rank], generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()


def evidence(rank: int, count: int = 2, channels: int = 4) -> tuple[Evidence, list[Sample]]:
    """Return random evidence of both signs, with one exact zero gradient and some spikes, and the same as replicas want it."""
    generator = torch.Generator().manual_seed(rank)
    grid = {1: (9,), 2: (4, 5), 3: (3, 2, 4)}[rank]
    activations = torch.randn(count, channels, *grid, generator=generator, dtype=torch.float64)
    gradients = torch.randn(count, channels, *grid, generator=generator, dtype=torch.float64)
    activations[:, 0].view(count, -1)[:, 3] = 40.0
    gradients[:, 1].view(count, -1)[:, 2] = 0.0
    class_weights = torch.randn(count, channels, generator=generator, dtype=torch.float64)
    curvature = torch.randn(count, channels, *grid, generator=generator, dtype=torch.float64)
    pictures = torch.randn(count, 2, *SIZES[rank], generator=generator, dtype=torch.float64)
    formula = Formula(pictures, activations, gradients, class_weights)
    formula.scores = torch.tensor([score_of_activations(one.numpy()) for one in activations], dtype=torch.float64)
    samples = [
        Sample(a.numpy(), g.numpy(), w.numpy(), draws(channels), h.numpy(), x.numpy(), score_of_activations, score_of_input)
        for a, g, w, h, x in zip(activations, gradients, class_weights, curvature, pictures, strict=True)
    ]
    for sample in samples:
        sample.noise = noise(*sample.picture.shape)
        sample.evidence_of_input = partial(changed, sample)
        sample.mask_noise, sample.gradient_of_input = mask_noise(rank), gradient_of_input
        sample.contributions_from_zero = contributions_from_zero
    return Evidence(activations, gradients, lambda: class_weights, curvature, formula), samples


def changed(sample: Sample, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what `Formula.evidence_of` says of another picture."""
    change = change_of_input(picture)
    return sample.activations + change, sample.gradients * (1 + change)


def test_every_method_has_a_replica_and_a_hand_worked_example() -> None:
    assert set(OF_LAYERS) == set(REPLICAS)
    assert set(OF_LAYERS) == set(EXAMPLES)
    assert set(NAMES) == {*OF_LAYERS, *OF_ATTENTION, *OF_INPUT}  # the latter two's are in tests/methods/attention and …/input


def test_every_method_names_its_paper_and_has_a_docstring() -> None:
    for method_class in METHODS.module_dict.values():
        assert method_class.paper
        assert method_class.__doc__


def test_every_method_says_what_it_costs() -> None:
    for method_class in METHODS.module_dict.values():
        # What a base says is true of methods that ask no more than one pass; these ask more, each in its own way.
        assert family(method_class) != "perturbation" or "cost" in vars(method_class), f"{method_class.name} needs a cost of its own"
        assert any(term in method_class.cost for term in ("forward", "tail", "method"))


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", OF_LAYERS)
def test_raw_map_equals_the_replica(name: str, rank: int) -> None:
    given, samples = evidence(rank)
    expected = np.stack([REPLICAS[name](sample) for sample in samples])
    actual = build_method(name).raw_map(given)
    assert actual.dtype == torch.float64
    np.testing.assert_allclose(actual.numpy(), expected, **TIGHT)


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", OF_CHANNELS)
def test_eigen_smooth_equals_the_replica(name: str, rank: int) -> None:
    given, samples = evidence(rank)
    method = build_method(name)
    # Seg-Eigen-CAM keeps its own rule for the sign; for the others eigen-smooth is the component of what they would sum.
    collapse = REPLICAS[name] if name == "segeigencam" else lambda sample: principal_component(TERMS[name](sample))
    expected = np.stack([collapse(sample) for sample in samples])
    np.testing.assert_allclose(method.eigen_smooth_map(given).numpy(), expected, **TIGHT)


@pytest.mark.parametrize("name", OF_LAYERS)
def test_raw_map_equals_the_hand_worked_example(name: str) -> None:
    example = EXAMPLES[name]
    activations, gradients, weights, curvature, picture = (
        torch.tensor([values], dtype=torch.float64)
        for values in (example.activations, example.gradients, example.class_weights, example.curvature, example.picture)
    )
    queries = ByHand(picture, activations, gradients, weights)
    queries.scores = torch.tensor([queries.score_of_activations(activations[0].numpy())], dtype=torch.float64)
    given = Evidence(activations, gradients, lambda: weights, curvature, queries)
    actual = build_method({"type": name, **example.arguments}).raw_map(given)
    # The epsilons of 1e-6 and 1e-7 in some denominators are left out by hand.
    torch.testing.assert_close(actual[0], torch.tensor(example.expected, dtype=torch.float64), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", REFUSING_EIGEN_SMOOTH)
def test_eigen_smooth_of_a_method_that_is_no_sum_over_channels_is_refused(name: str) -> None:
    given, _ = evidence(2)
    with pytest.raises(MethodError, match="not a sum over channels"):
        build_method(name).eigen_smooth_map(given)


def layer_for(name: str) -> str:
    return "late" if name == "cam" else "early"  # cam is defined at the pooled layer only; elsewhere the tail is not linear


def tail_of(model: SmallNet, layer: str) -> nn.Module:
    behind = [model.late] if layer == "early" else []
    return nn.Sequential(*behind, model.pool, nn.Flatten(1), model.fc)


def score_through(network: nn.Module, index: int, values: np.ndarray) -> float:
    with torch.no_grad():
        return network(torch.from_numpy(values).unsqueeze(0))[0, index].item()


def probability_through(network: nn.Module, index: int, values: np.ndarray) -> float:
    with torch.no_grad():
        return network(torch.from_numpy(values).unsqueeze(0))[0].softmax(dim=0)[index].item()


def evidence_through(model: SmallNet, layer: str, index: int, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    activations, gradients, _ = autograd_evidence(model, model.get_submodule(layer), torch.from_numpy(picture).unsqueeze(0), [index])
    return activations[0].numpy(), gradients[0].numpy()


def finer_gradients(model: SmallNet, layer: str, inputs: Tensor, classes: list[int]) -> Tensor:
    """Return the gradients of Finer-CAM's score: those of every class, each with its share."""
    of_classes = [autograd_evidence(model, model.get_submodule(layer), inputs, [index] * 2) for index in range(CLASSES)]
    total = torch.zeros_like(of_classes[0][1])
    for sample, index in enumerate(classes):
        for other, share in enumerate(finer_coefficients(of_classes[0][2][sample].numpy(), index)):
            total[sample] += share * of_classes[other][1][sample]
    return total


def curvature_at(tail: nn.Module, index: int, activations: Tensor) -> np.ndarray:
    """Return the Hessian of the score in the activations, times these."""
    _, product = torch.autograd.functional.hvp(lambda values: tail(values.unsqueeze(0))[0, index], activations, activations)
    return product.numpy()


def gradient_through(network: nn.Module, index: int, values: np.ndarray) -> np.ndarray:
    leaf = torch.from_numpy(values).unsqueeze(0).requires_grad_()
    (gradient,) = torch.autograd.grad(network(leaf)[0, index], leaf)
    return gradient[0].numpy()


def contributions_through(model: SmallNet, index: int, values: np.ndarray) -> np.ndarray:
    """Return DeepLIFT's contributions of `early`: behind it only the ReLU of `late` is not linear, and it counts by its multiplier."""
    leaf = torch.from_numpy(values).unsqueeze(0).requires_grad_()
    before, of_zeros = (model.late[1](model.late[0](activations)) for activations in (leaf, torch.zeros_like(leaf)))
    multiplier = (before.relu() - of_zeros.relu()) / (before - of_zeros)
    (gradient,) = torch.autograd.grad((multiplier.detach() * before).flatten(2).mean(2) @ model.fc.weight[index], leaf)
    return (gradient * leaf).detach()[0].numpy()


SUMMED_OR_SMOOTHED = [(name, smooth) for name in OF_MAPS for smooth in (False, True) if not smooth or name in OF_CHANNELS]


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize(("name", "smooth"), SUMMED_OR_SMOOTHED)
def test_engine_equals_replica_and_pipeline_on_a_network(name: str, rank: int, smooth: bool) -> None:
    model, inputs, classes = small_net(rank, double=True), images(rank, double=True), [1, 3]
    layer = layer_for(name)
    activations, gradients, _ = autograd_evidence(model, model.get_submodule(layer), inputs, classes)
    if name == "finer":
        gradients = finer_gradients(model, layer, inputs, classes)
    rows = model.fc.weight.detach().numpy()
    score = probability_through if name in ("polycam", "sess") else score_through
    raws = []
    for sample, index in enumerate(classes):
        given = Sample(activations[sample].numpy(), gradients[sample].numpy(), rows[index], draws(activations.shape[1]))
        given.curvature = curvature_at(tail_of(model, layer), index, activations[sample])
        given.picture = inputs[sample].numpy()
        given.noise = noise(*given.picture.shape)
        given.evidence_of_input = partial(evidence_through, model, layer, index)
        given.mask_noise = mask_noise(rank)
        given.score_of_input = partial(score, model, index)
        given.gradient_of_input = partial(gradient_through, model, index)
        given.contributions_from_zero = partial(contributions_through, model, index)
        given.score_of_activations = partial(score, tail_of(model, layer), index)
        raws.append(principal_component(TERMS[name](given)) if smooth and name != "segeigencam" else REPLICAS[name](given))
    result = CAM(model, layer, name, eigen_smooth=smooth)(inputs, classes)
    np.testing.assert_allclose(result.raw[layer].numpy(), np.stack(raws), rtol=1e-5, atol=1e-7)
    expected = np.stack([pipeline([raw], SIZES[rank]) for raw in raws])
    np.testing.assert_allclose(result.maps.numpy(), expected, atol=2e-6)
    np.testing.assert_allclose(result.layer_maps[layer].numpy(), expected, atol=2e-6)
    assert result.maps.dtype == torch.float32


@pytest.mark.parametrize("rank", RANKS)
def test_several_layers_are_fused_by_the_mean_of_their_scaled_maps(rank: int) -> None:
    model, inputs, classes = small_net(rank, double=True), images(rank, double=True), [0, 2]
    raws: list[list[np.ndarray]] = [[], []]
    for layer in ("early", "late"):
        activations, gradients, _ = autograd_evidence(model, model.get_submodule(layer), inputs, classes)
        for sample in range(2):
            given = Sample(activations[sample].numpy(), gradients[sample].numpy(), np.zeros(0), np.zeros(0))
            raws[sample].append(REPLICAS["layercam"](given))
    result = CAM(model, ["early", "late"], "layercam")(inputs, classes)
    expected = np.stack([pipeline(per_layer, SIZES[rank]) for per_layer in raws])
    np.testing.assert_allclose(result.maps.numpy(), expected, atol=2e-6)
    assert result.layers == ["early", "late"]


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", OF_MAPS)
def test_batch_equals_single_and_maps_are_finite_and_within_0_and_1(name: str, rank: int) -> None:
    model, inputs = small_net(rank), images(rank, count=3)
    cam = CAM(model, layer_for(name), name)
    batch = cam(inputs, 1)
    assert batch.maps.shape == (3, *SIZES[rank])
    assert batch.maps.isfinite().all()
    assert batch.maps.amin() >= 0
    assert batch.maps.amax() <= 1
    atol = 5e-5 if name == "groupcam" else 1e-5  # it takes differences of nearly equal scores
    for sample in range(3):
        single = cam(inputs[sample : sample + 1], 1)
        torch.testing.assert_close(single.maps[0], batch.maps[sample], rtol=1e-4, atol=atol)
        torch.testing.assert_close(single.raw[cam.target_layers[0]][0], batch.raw[cam.target_layers[0]][sample], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OF_MAPS)
def test_the_same_map_comes_twice_whatever_was_drawn_between(name: str) -> None:
    cam, inputs = CAM(small_net(), layer_for(name), name), images()
    first = cam(inputs, 2)
    torch.rand(3)
    state = torch.get_rng_state()
    second = cam(inputs, 2)
    assert torch.equal(first.maps, second.maps)
    assert torch.equal(torch.get_rng_state(), state), "the global generator is not the method's to advance"


def test_another_seed_gives_another_random_map() -> None:
    inputs = images()
    one, other = (CAM(small_net(), "late", {"type": "randomcam", "seed": seed})(inputs, 0) for seed in (0, 1))
    assert not torch.equal(one.raw["late"], other.raw["late"])


UNSIGNED = ("gradcamelementwise", "centercam", "edgecam", "sess")  # a ReLU inside the formula, a Gaussian, a magnitude, scaled maps


@pytest.mark.parametrize("name", OF_LAYERS)
def test_raw_map_is_signed(name: str) -> None:
    given, _ = evidence(2, count=4)
    raw = build_method(name).raw_map(given)
    if name in UNSIGNED:
        assert raw.amin() >= 0
    else:
        assert raw.amin() < 0 < raw.amax()


@pytest.mark.parametrize("k", [0.0, 1.0, 3.0])
def test_fem_takes_its_k_from_the_config(k: float) -> None:
    given, samples = evidence(2)
    expected = np.stack([fem_of(sample, k).sum(axis=0) for sample in samples])
    np.testing.assert_allclose(build_method({"type": "FEM", "k": k}).raw_map(given).numpy(), expected, **TIGHT)


@pytest.mark.parametrize("name", OF_MAPS)
def test_class_agnostic_methods_say_so_and_give_one_map_for_all_classes(name: str) -> None:
    result = CAM(small_net(), layer_for(name), name)(images(), [list(range(CLASSES))] * 2)
    same = all(torch.equal(result.maps[:, 0], result.maps[:, k]) for k in range(1, CLASSES))
    assert same is not result.class_discriminative
