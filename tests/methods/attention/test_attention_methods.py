"""Attention methods: replicas, a hand-worked example, a planted network, and what the engine makes of them."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import LayerError, MethodError
from camtool.methods import AttentionMethod, build_method
from camtool.methods.attention._base import AttentionEvidence
from tests.methods.attention.networks import CLASSES, PlainViT, Planted, plain_vit
from tests.methods.attention.replicas import EXAMPLE, EXPECTED, REPLICAS, Sample
from tests.methods.kinds import OF_ATTENTION
from tests.methods.replicas import pipeline
from tests.networks import RANKS, SIZES, images

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")

GRIDS = {rank: tuple(size // 2 for size in SIZES[rank]) for rank in RANKS}


def evidence_of(samples: list[Sample]) -> AttentionEvidence:
    """Return what the engine would hand over for a batch of samples."""
    rows = torch.zeros(len(samples), samples[0].weights[0].shape[1], dtype=torch.bool)
    for sample, read in zip(samples, rows, strict=True):
        read[sample.rows] = True

    def batched(name: str) -> list[Tensor]:
        return [torch.from_numpy(np.stack(layer)) for layer in zip(*(getattr(sample, name) for sample in samples), strict=True)]

    return AttentionEvidence(batched("weights"), batched("scores"), rows, batched("gradients"), batched("layer_gradients"))


def random_sample(seed: int, rows: list[int]) -> Sample:
    generator = np.random.default_rng(seed)
    scores = [generator.normal(size=(2, 5, 5)) for _ in range(3)]
    weights = [np.exp(one) / np.exp(one).sum(axis=-1, keepdims=True) for one in scores]
    return Sample(weights, scores, *([generator.normal(size=(2, 5, 5)) for _ in range(3)] for _ in range(2)), rows=rows)


def built(name: str) -> AttentionMethod:
    method = build_method(name)
    assert isinstance(method, AttentionMethod)
    return method


def test_every_attention_method_has_a_replica_and_a_hand_worked_example() -> None:
    assert set(OF_ATTENTION) == set(REPLICAS) == set(EXPECTED)


@pytest.mark.parametrize("name", OF_ATTENTION)
def test_relevance_equals_the_replica(name: str) -> None:
    samples = [random_sample(0, [0]), random_sample(1, [1, 2, 4])]
    expected = np.stack([REPLICAS[name](sample) for sample in samples])
    np.testing.assert_allclose(built(name).raw_map(evidence_of(samples)).numpy(), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", OF_ATTENTION)
def test_relevance_equals_the_hand_worked_example(name: str) -> None:
    np.testing.assert_allclose(built(name).raw_map(evidence_of([EXAMPLE]))[0].numpy(), EXPECTED[name], rtol=1e-12)
    np.testing.assert_allclose(REPLICAS[name](EXAMPLE), EXPECTED[name], rtol=1e-12)


def kept_samples(model: PlainViT, inputs: Tensor, classes: list[int]) -> list[Sample]:
    """Return what the network with its attention written out says, by the plainest means."""
    for block in model.blocks:
        block.fused = False
    chosen = torch.arange(len(inputs)), torch.tensor(classes)
    score = model(inputs)[chosen].sum()
    weights = [block.weights for block in model.blocks]
    gradients = torch.autograd.grad(score, weights, retain_graph=True)
    own = [torch.autograd.grad(model.tail(block.tokens)[chosen].sum(), block.weights, retain_graph=True)[0] for block in model.blocks]
    for block in model.blocks:
        block.fused = True
    length = weights[0].shape[-1]
    parts = [weights, [block.scores for block in model.blocks], gradients, own]
    rows = list(range(1, length)) if model.pooled else [0]
    return [Sample(*([layer[n].detach().numpy() for layer in part] for part in parts), rows=rows) for n in range(len(inputs))]


@pytest.mark.parametrize("pooled", [False, True], ids=["class token", "pooled"])
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("name", OF_ATTENTION)
def test_engine_equals_replica_and_pipeline_on_a_network(name: str, rank: int, pooled: bool) -> None:
    model, inputs, classes = plain_vit(rank, pooled=pooled), images(rank, double=True), [1, 3]
    raws = [REPLICAS[name](sample)[1:].reshape(GRIDS[rank]) for sample in kept_samples(model, inputs, classes)]
    result = CAM(model, method=name)(inputs, classes)
    np.testing.assert_allclose(result.raw["attention"].numpy(), np.stack(raws), rtol=1e-5, atol=1e-7)
    expected = np.stack([pipeline([raw], SIZES[rank]) for raw in raws])
    np.testing.assert_allclose(result.maps.numpy(), expected, atol=1e-5)
    assert list(result.raw) == list(result.layer_maps) == ["attention"]
    assert result.layers == ["blocks[0]", "blocks[1]", "blocks[2]"]
    assert result.source == "from the attention of 3 layers"


@pytest.mark.parametrize(("blocks", "layers"), [(1, [2]), (2, [1, 2]), (3, [0, 1, 2]), ([0], [0]), ((-1, 0), [0, 2]), ([1, -1], [1, 2])])
def test_legrad_averages_the_chosen_blocks(blocks: int | list[int], layers: list[int]) -> None:
    model, inputs, classes = plain_vit(2), images(2, double=True), [1, 3]
    raws = [REPLICAS["legrad"](sample, layers)[1:].reshape(GRIDS[2]) for sample in kept_samples(model, inputs, classes)]  # type: ignore[call-arg]
    result = CAM(model, method={"type": "legrad", "blocks": blocks})(inputs, classes)
    np.testing.assert_allclose(result.raw["attention"].numpy(), np.stack(raws), rtol=1e-5, atol=1e-7)
    assert result.layers == [f"blocks[{layer}]" for layer in layers]
    assert result.source == f"from the attention of {len(layers)} layer{'s' * (len(layers) > 1)}"


def test_legrad_of_one_block_of_two_by_hand() -> None:
    # The second layer's gradients are twice those of the example: 1 2 1 for it alone, the mean of 0.5 1 0.5 and 1 2 1 for both.
    gradients = [torch.from_numpy(layer).unsqueeze(0) for layer in (EXAMPLE.layer_gradients[0], 2 * EXAMPLE.layer_gradients[0])]
    evidence = AttentionEvidence(gradients, gradients, torch.tensor([[True, False, False]]), gradients, gradients)
    expected = {"legrad(blocks=1)": [1.0, 2.0, 1.0], "legrad(blocks=2)": [0.75, 1.5, 0.75], "legrad(blocks=-2x1)": [0.75, 1.5, 0.75]}
    for name, values in expected.items():
        np.testing.assert_allclose(built(name).raw_map(evidence)[0].numpy(), values)


@pytest.mark.parametrize(
    ("blocks", "words"),
    [
        (4, "the network has 3 attention layers, 0 to 2; got the last 4"),
        ((0, 3), "the network has 3 attention layers, 0 to 2; got blocks 0, 3"),
        ((2, -1), "expected each block once, got 2, -1"),
        (0, "at least 1, or their indices, got 0"),
        ((), "expected the indices of blocks, got none"),
    ],
)
def test_blocks_that_do_not_exist_are_one_line(blocks: int | tuple[int, ...], words: str) -> None:
    with pytest.raises(MethodError, match=words):
        CAM(plain_vit(2), method={"type": "legrad", "blocks": blocks})(images(2, double=True), 1)


def planted_image() -> Tensor:
    """Return scores ln 1, ln 2, ln 3, ln 1 and values 4, -4, 8, 2; with the class token's ln 1 the weights are 1 1 2 3 1 / 8."""
    return torch.stack([torch.tensor([[1.0, 2.0], [3.0, 1.0]]).log(), torch.tensor([[4.0, -4.0], [8.0, 2.0]])]).unsqueeze(0).double()


def test_genericattention_on_a_planted_block_has_the_values_worked_out_by_hand() -> None:
    # The gradient of class 0 is the value at each key: I + relu(value * weight), which the class token's row reads.
    result = CAM(Planted(), method="genericattention")(planted_image(), [[0, 1]])
    expected = torch.tensor([[[4 * 1 / 8, 0.0], [8 * 3 / 8, 2 * 1 / 8]], [[0.0, 4 * 2 / 8], [0.0, 0.0]]], dtype=torch.float64)
    torch.testing.assert_close(result.raw["attention"][0], expected, rtol=1e-6, atol=1e-7)


def test_genericattention_on_a_planted_block_equals_the_papers_algorithm_written_out() -> None:
    image = planted_image()
    tokens = torch.cat([torch.zeros(1, 2, dtype=torch.float64), image[0].flatten(1).T])
    weights = tokens[:, 0].softmax(dim=0).expand(5, 5).clone().requires_grad_()
    (gradient,) = torch.autograd.grad((weights @ tokens[:, 1])[0], weights)
    relevance = torch.eye(5, dtype=torch.float64)
    relevance = relevance + (gradient * weights).clamp(min=0) @ relevance
    result = CAM(Planted(), method="genericattention")(image, 0)
    torch.testing.assert_close(result.raw["attention"][0].double().flatten(), relevance[0, 1:].detach(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", OF_ATTENTION)
@pytest.mark.parametrize("place", [(0, 3), (1, 0), (2, 4)])
def test_the_map_is_highest_where_the_planted_attention_looks_also_on_a_grid_that_is_not_square(name: str, place: tuple[int, int]) -> None:
    image = torch.zeros(1, 2, 3, 5)
    image[:, 1] = 0.1
    image[(0, slice(None), *place)] = torch.tensor([3.0, 1.0])
    result = CAM(Planted(), method=name)(image, 0)
    assert result.raw["attention"].shape == (1, 3, 5)
    assert np.unravel_index(int(result.raw["attention"][0].argmax()), (3, 5)) == place
    assert np.unravel_index(int(result.maps[0].argmax()), (3, 5)) == place


@pytest.mark.parametrize("name", OF_ATTENTION)
def test_batch_equals_single_and_maps_are_finite_and_within_0_and_1(name: str) -> None:
    model, inputs = plain_vit(double=False), images(count=3)
    cam = CAM(model, method=name)
    batch = cam(inputs, [[1, 2]] * 3)
    assert batch.maps.shape == (3, 2, *SIZES[2])
    assert batch.maps.isfinite().all()
    assert batch.maps.amin() >= 0
    assert batch.maps.amax() <= 1
    for sample in range(3):
        single = cam(inputs[sample : sample + 1], [[1, 2]])
        torch.testing.assert_close(single.maps[0], batch.maps[sample], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(single.raw["attention"][0], batch.raw["attention"][sample], rtol=1e-4, atol=1e-6)
    for k, target in enumerate((1, 2)):
        torch.testing.assert_close(cam(inputs, target).raw["attention"], batch.raw["attention"][:, k], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", OF_ATTENTION)
def test_class_agnostic_methods_say_so_and_give_one_map_for_all_classes(name: str) -> None:
    result = CAM(plain_vit(), method=name)(images(double=True), [list(range(CLASSES))] * 2)
    same = all(torch.equal(result.maps[:, 0], result.maps[:, k]) for k in range(1, CLASSES))
    assert same is not result.class_discriminative


class TwoReaders(PlainViT):
    """Classes 0 and 1 are read from the class token, 2 and 3 from the patch behind it."""

    def tail(self, tokens: Tensor) -> Tensor:
        scores = self.head(self.norm(tokens))
        return torch.cat([scores[:, 0, :2], scores[:, 1, 2:]], dim=1)


@pytest.mark.parametrize("name", OF_ATTENTION)
def test_classes_that_read_other_tokens_are_explained_as_if_asked_for_alone(name: str) -> None:
    torch.manual_seed(7)
    model, inputs = TwoReaders().eval().double(), images(double=True)
    both = CAM(model, method=name)(inputs, [[0, 3]] * 2)
    turned = CAM(model, method=name)(inputs, [[3, 0]] * 2)
    torch.testing.assert_close(both.raw["attention"], turned.raw["attention"].flip(1))
    alone = [CAM(model, method=name)(inputs, target).raw["attention"] for target in (0, 3)]
    if both.class_discriminative:
        torch.testing.assert_close(both.raw["attention"], torch.stack(alone, dim=1))
    else:  # one map, of both tokens
        torch.testing.assert_close(both.raw["attention"][:, 0], (alone[0] + alone[1]) / 2)


def test_attention_and_layer_methods_share_one_forward_pass_and_give_what_each_gives_alone() -> None:
    model, inputs = plain_vit(), images(double=True)
    passes: list[int] = []
    model.patches.register_forward_pre_hook(lambda *_: passes.append(1))
    # eigencam reads its layer without graph, and must not cut the attention before it from the score
    names = ["gradcam", "eigencam", "cdam", *OF_ATTENTION]
    layer = "blocks[2].norm1"
    alone = {name: CAM(model, None if name in OF_ATTENTION else layer, name)(inputs, [0, 1]) for name in names}
    for several in (names, ["rollout", "eigencam"], ["eigencam", "genericattention"]):
        passes.clear()
        results = CAM(model, layer, several)(inputs, [0, 1])
        assert list(results) == several
        for name in several:
            torch.testing.assert_close(results[name].maps, alone[name].maps, rtol=1e-4, atol=1e-5)
        # legrad's tail is a second pass, of one sample and without graph
        assert len(passes) == (2 if "legrad" in several else 1)
    assert results["eigencam"].source == "at blocks[2].norm1"
    assert results["genericattention"].layers == ["blocks[0]", "blocks[1]", "blocks[2]"]


@pytest.mark.parametrize("name", OF_ATTENTION)
def test_no_layer_is_derived_for_attention_methods(name: str) -> None:
    cam = CAM(plain_vit(), method=name)
    cam(images(double=True), 0)
    assert cam.target_layers == []


@pytest.mark.parametrize("name", OF_ATTENTION)
def test_aug_smooth_is_the_mean_over_the_six_copies(name: str) -> None:
    model, inputs = plain_vit(double=False), images()
    plain, smooth = CAM(model, method=name), CAM(model, method=name, aug_smooth=True)
    maps = []
    for factor in (1.0, 0.9, 1.1):
        maps += [plain(inputs * factor, 1).maps, plain(inputs.flip(-1) * factor, 1).maps.flip(-1)]
    torch.testing.assert_close(smooth(inputs, 1).maps, torch.stack(maps).mean(dim=0), rtol=1e-4, atol=1e-5)


def test_frozen_parameters_and_a_callers_no_grad_change_nothing() -> None:
    model, inputs = plain_vit(), images(double=True)
    expected = CAM(model, method=OF_ATTENTION)(inputs, 1)
    with torch.no_grad():
        results = CAM(model.requires_grad_(False), method=OF_ATTENTION)(inputs, 1)
    for name in OF_ATTENTION:
        assert torch.equal(results[name].raw["attention"], expected[name].raw["attention"])


def test_a_callers_autocast_does_not_reach_the_arithmetic_of_maps() -> None:
    model, inputs = plain_vit(double=False), images()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        results = CAM(model, method=OF_ATTENTION)(inputs, 1)
    expected = CAM(model, method=OF_ATTENTION)(inputs, 1)
    for name in OF_ATTENTION:
        assert results[name].raw["attention"].dtype == torch.float32
        torch.testing.assert_close(results[name].maps, expected[name].maps, rtol=0, atol=0.2)


def test_target_layers_with_attention_methods_alone_are_refused() -> None:
    with pytest.raises(MethodError, match=r"Target layers are given, but 'rollout', 'legrad' reads the attention"):
        CAM(plain_vit(), "blocks[2].norm1", ["rollout", "legrad"])


def test_eigen_smooth_is_refused() -> None:
    with pytest.raises(MethodError, match="eigen-smooth is a principal component over channels; 'rollout' has none"):
        CAM(plain_vit(), method=["gradcam", "rollout"], eigen_smooth=True)


def test_a_head_with_weights_of_zero_is_said() -> None:
    model = plain_vit()
    nn.init.zeros_(model.head.weight)
    with pytest.raises(MethodError, match=r"'blocks\[2\]' has a gradient of exactly zero \(sample 0, 1\).*load trained weights"):
        CAM(model, method="rollout")(images(double=True), 0)


def test_attention_under_the_models_own_no_grad_is_said() -> None:
    for which in (0, 1):  # the first one ends in the grad mode that camtool found; the second would lose a part of its gradient
        model = plain_vit()
        model.blocks[which].forward = torch.no_grad()(model.blocks[which].forward)  # type: ignore[method-assign]
        with pytest.raises(MethodError, match=r"No gradient reaches the attention of layer 'blocks\[0\]'.*'blocks\[1\]'.*no_grad"):
            CAM(model, method="genericattention")(images(double=True), 0)


class Reversible(torch.autograd.Function):
    """A network's own backward, as reversible blocks have it."""

    @staticmethod
    def forward(_context: object, tokens: Tensor, block: nn.Module) -> Tensor:
        return block(tokens)

    @staticmethod
    def backward(_context: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def test_attention_inside_a_networks_own_autograd_function_is_said() -> None:
    model = plain_vit()
    last = model.blocks[2]
    model.blocks[2].forward = lambda tokens, inner=last.forward: Reversible.apply(tokens, inner)  # type: ignore[method-assign]
    with pytest.raises(MethodError, match=r"No gradient reaches the attention of layer 'blocks\[[12]\]'.*autograd function"):
        CAM(model, method="genericattention")(images(double=True), 0)


def nowhere(logits: Tensor) -> Tensor:
    return torch.zeros((), dtype=torch.float64)


def test_a_score_that_attention_does_not_reach_is_said() -> None:
    with pytest.raises(MethodError, match="No gradient reaches the attention"):
        CAM(plain_vit(), method="rollout")(images(double=True), nowhere)
    with pytest.raises(LayerError):
        CAM(plain_vit(), method=["gradcam", "rollout"])(images(double=True), nowhere)


def test_scores_that_are_nan_are_said() -> None:
    model = plain_vit()
    nn.init.constant_(model.blocks[0].qkv.weight, 1e200)
    with pytest.raises(Exception, match="NaN"):
        CAM(model, method="rollout")(images(double=True), 0)
