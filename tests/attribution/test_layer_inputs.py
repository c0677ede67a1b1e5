"""A layer's input as target: the map is that of an identity put in front of the layer."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM, deep_feature_factorization
from camtool.errors import LayerError
from camtool.instrumentation.layer_paths import find_layer
from tests.networks import CONV, RANKS, images

METHODS = ["gradcam", "gradcam++", "hirescam", "layercam", "eigencam", "ablationcam", "reciprocam", "scorecam", "shapleycam", "liftcam"]
METHODS += ["smooth(samples=2):gradcam", "integrated(steps=2):hirescam"]
pytestmark = pytest.mark.filterwarnings("ignore:.*no positive evidence", "ignore:.*scores of other activations take")


class Adding(nn.Module):
    """Two inputs, one by keyword, and a number: what comes of the first is added to the other."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.conv = CONV[rank](4, 4, 3, padding=1)

    def forward(self, features: Tensor, factor: float, *, skip: dict[str, Tensor]) -> Tensor:
        return torch.relu_(self.conv(features * factor) + skip["from"])


class Net(nn.Module):
    """A stem, a block whose input also takes a way around it, a chain, pooling and a classifier; with `between`, identities in front."""

    def __init__(self, rank: int, *, between: bool = False) -> None:
        super().__init__()
        torch.manual_seed(rank)
        self.stem = nn.Sequential(CONV[rank](2, 4, 3, padding=1, stride=2), nn.ReLU())
        self.block = Adding(rank)
        self.chain = nn.Sequential(nn.Sequential(CONV[rank](4, 5, 1), nn.Tanh()), CONV[rank](5, 5, 3, padding=1), nn.ReLU())
        self.fc = nn.Linear(5, 4)
        self.before_block = nn.Identity() if between else None
        self.before_chain = nn.Identity() if between else None

    def forward(self, image: Tensor) -> Tensor:
        features = self.stem(image)
        skip = {"from": features.tanh()}
        features = features if self.before_block is None else self.before_block(features)
        features = self.block(features, 0.5, skip=skip)
        features = features if self.before_chain is None else self.before_chain(features)
        return self.fc(self.chain(features).flatten(2).mean(2))


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("path", ["chain:input", "chain[0]:input", "chain[-3][0]:input"])
def test_the_input_of_a_layer_is_an_identity_in_front_of_it(rank: int, path: str) -> None:
    network, inputs = Net(rank).double(), images(rank, double=True)
    expected = CAM(Net(rank, between=True).double(), "before_chain", METHODS)(inputs, [1, 2])
    results = CAM(network, path, METHODS)(inputs, [1, 2])
    for name, result in results.items():
        assert list(result.raw) == ["chain[0][0]:input"]
        torch.testing.assert_close(result.raw["chain[0][0]:input"], expected[name].raw["before_chain"], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(result.maps, expected[name].maps)
    assert results["gradcam"].source == "at chain[0][0]:input"


@pytest.mark.parametrize("rank", RANKS)
def test_it_is_what_reaches_the_score_through_the_layer_and_not_around_it(rank: int) -> None:
    # Plain autograd: the block's input is a leaf, the way around it is not changed along.
    network, inputs = Net(rank).double(), images(rank, double=True)
    with torch.no_grad():
        around = network.stem(inputs)
    leaf = around.clone().requires_grad_()
    features = network.block(leaf, 0.5, skip={"from": around.tanh()})
    logits = network.fc(network.chain(features).flatten(2).mean(2))
    (gradients,) = torch.autograd.grad(logits[:, 1].sum(), leaf)
    expected = CAM(Net(rank, between=True).double(), "before_block", METHODS)(inputs, 1)
    results = CAM(network, "block:input", METHODS)(inputs, 1)
    torch.testing.assert_close(results["hirescam"].raw["block:input"], (gradients * around).sum(1))
    for name, result in results.items():
        torch.testing.assert_close(result.raw["block:input"], expected[name].raw["before_block"], rtol=1e-9, atol=1e-12)


def test_inputs_and_outputs_of_several_layers_are_fused() -> None:
    inputs = images()
    settings: dict[str, Any] = {"method": ["gradcam", "scorecam", "ablationcam"], "fuse": "product", "aug_smooth": True}
    results = CAM(Net(2), ["stem", "block:input", "chain:input", "chain"], **settings)(inputs, 1)
    expected = CAM(Net(2, between=True), ["stem", "before_block", "before_chain", "chain"], **settings)(inputs, 1)
    alone = CAM(Net(2), "block:input", **settings)(inputs, 1)
    for name, result in results.items():  # behind another target layer, whose output also goes around the block
        torch.testing.assert_close(result.raw["block:input"], alone[name].raw["block:input"], rtol=1e-4, atol=1e-6)
    for name, result in results.items():
        torch.testing.assert_close(result.maps, expected[name].maps, rtol=1e-4, atol=1e-5)


class InPlace(nn.Module):
    """A block that works in place on its input, as those that begin with an in-place ReLU do: what goes around it changes along."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        torch.manual_seed(rank)
        self.stem, self.fc = CONV[rank](2, 4, 3, padding=1), nn.Linear(4, 3)
        self.block = nn.Sequential(nn.ReLU(inplace=True), CONV[rank](4, 4, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        features = self.stem(image)
        return self.fc((self.block(features) + features).tanh().flatten(2).mean(2))


@pytest.mark.parametrize("rank", RANKS)
def test_a_layer_that_works_in_place_on_its_input_gives_the_networks_own_score(rank: int) -> None:
    network, inputs = InPlace(rank).double(), images(rank, double=True)
    with torch.no_grad():
        before, logits = network.stem(inputs), network(inputs)
    leaf = before.clone().requires_grad_()
    positive = leaf.relu()
    score = network.fc((network.block[1](positive) + positive).tanh().flatten(2).mean(2))[:, 1].sum()
    (gradients,) = torch.autograd.grad(score, leaf)
    methods = ["hirescam", "ablationcam"]
    results = CAM(network, "block:input", methods)(inputs, 1)
    torch.testing.assert_close(results["hirescam"].logits, logits)
    torch.testing.assert_close(results["hirescam"].raw["block[0]:input"], (gradients * before).sum(1))
    drops = []
    for channel in range(4):
        with torch.no_grad():
            positive = (before * (torch.arange(4) != channel).view(-1, *[1] * rank)).relu()
            drops.append((logits - network.fc((network.block[1](positive) + positive).tanh().flatten(2).mean(2)))[:, 1])
    expected = sum(drops[channel].view(-1, *[1] * rank) * before[:, channel] for channel in range(4))
    torch.testing.assert_close(results["ablationcam"].raw["block[0]:input"], expected)


class Tokens(nn.Module):
    """Patches, a class token, two layers of a transformer and a head on the class token."""

    def __init__(self, *, between: bool = False) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.places = nn.Parameter(torch.randn(1, 25, 8))
        self.layers = nn.ModuleList([nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2)])
        self.before = nn.Identity() if between else None
        self.head = nn.Linear(8, 3)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(image), -1, -1), tokens], dim=1) + self.places
        tokens = self.layers[0](tokens)
        tokens = tokens if self.before is None else self.before(tokens)
        return self.head(self.layers[1](src=tokens)[:, 0])


def test_tokens_and_a_fused_layer_that_is_called_by_keyword() -> None:
    torch.manual_seed(3)
    inputs, methods = torch.rand(2, 3, 32, 48), ["gradcam", "cdam", "eigencam", "ablationcam"]
    results = CAM(Tokens().eval(), "layers[1]:input", methods)(inputs, 1)
    expected = CAM(Tokens(between=True).eval(), "before", methods)(inputs, 1)
    for name, result in results.items():
        assert result.raw["layers[1]:input"].shape == (2, 4, 6)
        torch.testing.assert_close(result.raw["layers[1]:input"], expected[name].raw["before"], rtol=1e-4, atol=1e-6)


def test_a_tensor_that_a_layer_is_given_three_times_is_one_input() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(2)
            self.before, self.attention, self.head = nn.Identity(), nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 3)

        def forward(self, image: Tensor) -> Tensor:
            tokens = self.before(image.flatten(2).transpose(1, 2))
            return self.head((tokens + self.attention(tokens, tokens, tokens)[0]).mean(1))

    inputs, network = images(channels=4, double=True), Attending().double()
    tokens = inputs.flatten(2).transpose(1, 2)
    leaf = tokens.clone().requires_grad_()
    score = network.head((tokens + network.attention(leaf, leaf, leaf)[0]).mean(1))[:, 1].sum()
    (gradients,) = torch.autograd.grad(score, leaf)
    raw = CAM(network, "attention:input", "hirescam")(inputs, 1).raw["attention:input"]
    torch.testing.assert_close(raw.flatten(1), (gradients * tokens).sum(2))


class Twice(nn.Module):
    """A layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(2, 2, 3, padding=1)
        self.between = nn.ModuleList([nn.Identity(), nn.Identity()])

    def forward(self, image: Tensor) -> Tensor:
        for identity in self.between:
            image = self.layer(identity(image)).tanh()
        return image.flatten(2).mean(2)


@pytest.mark.parametrize("call", [0, 1])
def test_the_call_of_a_reused_layer_is_chosen(call: int) -> None:
    inputs = images()
    raw = CAM(Twice(), "layer:input", "hirescam", call={"layer:input": call})(inputs, 1).raw["layer:input"]
    torch.testing.assert_close(raw, CAM(Twice(), f"between[{call}]", "hirescam")(inputs, 1).raw[f"between[{call}]"])


def test_where_cells_lie_is_measured_at_the_input_too() -> None:
    network, inputs = Net(2), images()
    placed = CAM(network, "chain:input", placement="measured")(inputs, 1)
    expected = CAM(Net(2, between=True), "before_chain", placement="measured")(inputs, 1)
    torch.testing.assert_close(placed.maps, expected.maps)
    assert placed.placement["chain[0][0]:input"].scale == expected.placement["before_chain"].scale


def test_concepts_of_a_layers_input() -> None:
    network, inputs = Net(2), images()
    concepts = deep_feature_factorization(network, inputs, n_components=2, target_layer="chain:input")
    expected = deep_feature_factorization(Net(2, between=True), inputs, n_components=2, target_layer="before_chain")
    torch.testing.assert_close(concepts.maps, expected.maps)
    assert concepts.layer == "chain[0][0]:input"


class Iterating(nn.Module):
    """Runs whatever parts it has."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3), nn.ReLU()

    def forward(self, image: Tensor) -> Tensor:
        for part in self.children():
            image = part(image)
        return image


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("[0]:input", r"The input of layer '\[0\]' cannot be asked for, because the layer runs whatever parts it has"),
        ("[0].third:input", r"No layer '\[0\].third'; closest: '\[0\].first'"),
        ("[0]:output", r"Cannot read the layer path '\[0\]:output'"),
        ("[0]:input.first", r"Cannot read the layer path"),
        (":input", "Cannot read the layer path ''"),
    ],
)
def test_an_input_that_cannot_be_had_is_one_line_and_leaves_no_trace(path: str, words: str) -> None:
    network = nn.Sequential(Iterating(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(LayerError, match=words):
        CAM(network, path)(images(), 1)
    assert list(network[0]._modules) == ["first", "second"]
    assert "forward" not in vars(network[0])
    assert CAM(network, "[0].first:input")(images(), 1).raw["[0].first:input"].shape == (2, 10, 14)


def test_a_faster_copy_has_none() -> None:
    with pytest.raises(LayerError, match="leave speed out"):
        CAM(Net(2), "chain:input", speed={"fold": True})


def test_nothing_is_left_in_the_network() -> None:
    network, inputs = Net(2), images()
    before = copy.deepcopy(network)
    CAM(network, ["chain:input", "block:input"], METHODS)(inputs, 1)
    assert repr(network) == repr(before)
    assert all("forward" not in vars(module) and not module._forward_hooks for module in network.modules())
    assert torch.equal(network(inputs), before(inputs))
    assert find_layer(network, "chain.0:input") == ("chain[0][0]:input", network.chain[0][0])
