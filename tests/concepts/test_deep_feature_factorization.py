"""Deep feature factorization: worked by hand, planted, and against pytorch-grad-cam."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pytorch_grad_cam.feature_factorization.deep_feature_factorization import DeepFeatureFactorization, dff
from torch import Tensor, nn

from camtool.concepts.deep_feature_factorization import deep_feature_factorization
from camtool.concepts.nmf import factorize
from camtool.errors import CamtoolWarning, LayerError, MethodError
from tests.apis.dense import Segmenter
from tests.methods.test_no_trace import assert_same, state, worn_net
from tests.networks import CLASSES, RANKS, SIZES, images, small_net, small_vit

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{text}") for text in ("The factorization has not converged", "Maximum number of iterations 200")
]


def test_one_component_worked_by_hand() -> None:
    # The channel minima are -1 and 3; less these, the channels are (0 1 2 4) and twice that: one component, at its peak (4, 8).
    activations = torch.tensor([[[[-1.0, 0.0], [1.0, 3.0]], [[3.0, 5.0], [7.0, 11.0]]]], dtype=torch.float64)
    factors = factorize(activations, 1)
    torch.testing.assert_close(factors.maps, torch.tensor([[[[0.0, 0.25], [0.5, 1.0]]]], dtype=torch.float64), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(factors.vectors, torch.tensor([[4.0, 8.0]], dtype=torch.float64), rtol=1e-4, atol=1e-4)
    assert factors.offset.tolist() == [-1.0, 3.0]


@pytest.mark.parametrize("rank", RANKS)
def test_planted_concepts_are_found_wherever_they_are_and_the_larger_comes_first(rank: int) -> None:
    grid = {1: (12,), 2: (3, 4), 3: (2, 2, 3)}[rank]
    parts = torch.zeros(2, 3, 12, dtype=torch.float64)  # of two samples, three concepts that never overlap
    parts[0, 0, 0:6], parts[0, 1, 6:9], parts[1, 2, 2:4] = 1, 0.5, 1
    parts[1, 1, 5:8] = 1
    vectors = torch.tensor([[4.0, 0.0, 4.0, 0.0], [0.0, 3.0, 0.0, 0.0], [0.0, 0.0, 0.0, 4.0]], dtype=torch.float64)
    activations = torch.einsum("nkp,kc->ncp", parts, vectors).unflatten(2, grid)
    factors = factorize(activations, 3, iterations=2000)
    torch.testing.assert_close(factors.maps, parts.unflatten(2, grid), rtol=0, atol=1e-6)
    torch.testing.assert_close(factors.vectors, vectors, rtol=0, atol=1e-6)


def theirs(activations: Tensor, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pytorch-grad-cam's (vectors (k, c), maps (n, k, h, w)), ordered and scaled as ours."""
    concepts, maps = dff(activations.numpy().copy(), components)
    offset = activations.transpose(0, 1).flatten(1).amin(dim=1).numpy()
    vectors = (concepts - offset[:, None]).T
    order = np.argsort(-vectors.sum(axis=1) * maps.sum(axis=(0, 2, 3)))
    vectors, maps = vectors[order], maps[:, order]
    peaks = maps.max(axis=(0, 2, 3))
    return vectors * peaks[:, None], maps / peaks[None, :, None, None]


@pytest.mark.parametrize("components", [1, 3, 6])
def test_factors_equal_those_of_pytorch_grad_cam(components: int) -> None:
    activations = torch.randn(3, 8, 5, 6, generator=torch.Generator().manual_seed(4))
    vectors, maps = theirs(activations, components)
    factors = factorize(activations, components)
    np.testing.assert_allclose(factors.maps.numpy(), maps, atol=1e-5)
    np.testing.assert_allclose(factors.vectors.numpy(), vectors, atol=1e-4)
    torch.testing.assert_close(factors.maps.amax(dim=(0, 2, 3)), torch.ones(components))


def test_maps_equal_those_of_pytorch_grad_cam_on_a_network() -> None:
    model, inputs = small_net(), images(count=3)
    _, expected = DeepFeatureFactorization(model, model.early)(inputs.clone(), 3)
    found = deep_feature_factorization(model, inputs, 3, target_layer="early")
    assert found.maps.shape == (3, 3, *SIZES[2])
    for sample in range(3):
        matches = np.abs(found.maps[sample].numpy()[:, None] - expected[sample][None]).max(axis=(2, 3)) < 1e-5
        assert (matches.sum(axis=0) == 1).all()
        assert (matches.sum(axis=1) == 1).all()


@pytest.mark.parametrize("rank", RANKS)
def test_class_scores_are_the_heads_of_the_concept_vectors(rank: int) -> None:
    model, inputs = small_net(rank), images(rank)
    model.late[2] = torch.nn.Identity()  # activations of both signs
    found = deep_feature_factorization(model, inputs, 2, target_layer="late")
    factors = factorize(model.late(model.early(inputs)), 2)
    assert factors.offset.abs().amax() > 0.1
    torch.testing.assert_close(found.vectors, factors.vectors + factors.offset)
    assert found.maps.shape == (2, 2, *SIZES[rank])
    assert found.maps.amin() >= 0
    assert found.maps.amax() <= 1
    assert found.scores is not None
    assert found.scores.shape == (2, CLASSES)
    torch.testing.assert_close(found.scores, model.fc(found.vectors).detach())
    torch.testing.assert_close(found.logits, model(inputs).detach())
    assert not found.remark


def test_a_network_whose_head_is_not_pooling_and_one_linear_layer_gives_no_scores_and_says_why() -> None:
    found = deep_feature_factorization(small_net(), images(), 2, target_layer="early")
    assert found.scores is None
    assert "global average pooling and one linear layer" in found.remark
    found = deep_feature_factorization(small_vit(), torch.rand(1, 3, 64, 64), 2)
    assert found.maps.shape == (1, 2, 64, 64)
    assert found.scores is None


def test_the_layer_is_derived_as_for_maps_and_named() -> None:
    found = deep_feature_factorization(small_net(), images(), 2)
    assert found.layer.startswith("late")
    assert found.reason != "as given"
    model = small_net()
    assert deep_feature_factorization(model, images(), 2, target_layer=model.early).reason == "as given"


class Scores(nn.Module):
    """Scores of four classes at every position, classes first or last."""

    def __init__(self, *, last: bool) -> None:
        super().__init__()
        self.features, self.head, self.last = nn.Conv1d(2, 6, 5, stride=2, padding=2), nn.Conv1d(6, 4, 1), last

    def forward(self, signals: Tensor) -> Tensor:
        scores = self.head(torch.relu(self.features(signals)))
        return scores.mT if self.last else scores


@pytest.mark.parametrize(
    ("network", "inputs"),
    [
        (lambda: Scores(last=False), (1, 2, 40)),
        (lambda: Scores(last=True), (1, 2, 40)),
        (Segmenter, (1, 3, 16, 16)),
    ],
)
def test_of_a_network_without_a_predicted_class_the_layer_is_that_in_front_of_the_scores(
    network: Callable[[], nn.Module], inputs: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    found = deep_feature_factorization(network().eval(), torch.randn(inputs), 3)
    assert found.layer.startswith("features")
    assert found.maps.shape == (1, 3, *inputs[2:])
    assert found.scores is None


def test_the_same_concepts_come_twice_and_another_seed_starts_elsewhere() -> None:
    model, inputs = small_net(), images()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again, other = (deep_feature_factorization(model, inputs, 3, target_layer="early", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first.raw, again.raw)
    assert not torch.equal(first.raw, other.raw)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_it_leaves_no_trace_also_after_an_exception() -> None:
    model, inputs = worn_net(), images()
    before, values = state(model), inputs.clone()
    deep_feature_factorization(model, inputs, 2)
    with pytest.raises(MethodError):
        deep_feature_factorization(model, inputs, 99)
    assert_same(before, state(model))
    assert torch.equal(inputs, values)


@pytest.mark.parametrize("components", [0, -1, 6])
def test_a_number_of_components_that_cannot_be_is_refused(components: int) -> None:
    with pytest.raises(MethodError, match=f"Expected 1 to 5 components, of 5 channels at 70 positions; got {components}"):
        deep_feature_factorization(small_net(), images(), components, target_layer="early")


def test_activations_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(LayerError, match="NaN or infinite"):
        deep_feature_factorization(small_net(), images() * torch.inf, 2, target_layer="early")


@pytest.mark.filterwarnings("default:The factorization has not converged")
def test_a_factorization_cut_short_says_so() -> None:
    with pytest.warns(CamtoolWarning, match="after 3 iterations"):
        factorize(torch.rand(1, 8, 6, 6), 4, iterations=3)
