"""The layer that is derived when none is given, on networks as users have them."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import LayerError, TargetError
from camtool.instrumentation.embedding import EmbeddingOutput
from camtool.instrumentation.inputs import find_inputs
from camtool.instrumentation.layer_paths import find_layer, walk
from camtool.instrumentation.target_layers import Probe
from camtool.targets import ClassContrast, ClassProbability, EmbeddingSimilarity, FinerScore
from tests.networks import CLASSES, CONV, GAP, NORM, RANKS, autograd_evidence, images, small_net, small_vit

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
models = torchvision.models


def timm_vit() -> nn.Module:
    import timm

    return timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=64, depth=3, num_classes=10)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], str, str, tuple[int, int]]] = {
    # network, derived layer, last norm, input
    "resnet18": (lambda: models.resnet18(weights=None), "layer4[1]", "layer4[1].bn2", (64, 64)),
    "vgg11": (lambda: models.vgg11(weights=None, num_classes=10), "features[20]", "", (64, 64)),
    "vgg11_bn": (lambda: models.vgg11_bn(weights=None), "features[28]", "features[26]", (64, 64)),
    "vit": (small_vit, "encoder.layers.encoder_layer_2.ln_1", "encoder.layers.encoder_layer_2.ln_1", (64, 64)),
    "vit of timm": (timm_vit, "blocks[2].norm1", "blocks[2].norm1", (64, 64)),  # its queries, keys and values are one layer
    "swin_t": (lambda: models.swin_t(weights=None), "norm", "norm", (64, 96)),
    "convnext_tiny": (lambda: models.convnext_tiny(weights=None), "features[7][2]", "features[7][2].block[2]", (64, 64)),
    "densenet121": (lambda: models.densenet121(weights=None), "features.norm5", "features.norm5", (64, 64)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_derived_layer_is_the_one_an_expert_would_take(name: str) -> None:
    build, derived, last_norm, size = NETWORKS[name]
    torch.manual_seed(0)
    model = build().eval()
    inputs = torch.randn(1, 3, *size)
    cam = CAM(model)
    assert cam.target_layers == []
    result = cam(inputs)
    assert result.layers == cam.target_layers == [derived]
    assert "deepest layer" in cam.reason
    assert result.maps.shape == (1, *size)
    if last_norm:
        norm = CAM(model, "last-norm")
        assert norm(inputs).layers == [last_norm]
        assert "last normalisation layer" in norm.reason
    else:
        with pytest.raises(LayerError, match="'last-norm': this network has no normalisation layer"):
            CAM(model, "last-norm")(inputs)


@pytest.mark.parametrize("rank", RANKS)
def test_what_global_average_pooling_reads_is_derived_in_any_rank(rank: int) -> None:
    assert CAM(small_net(rank))(images(rank), 1).layers == ["late"]
    assert CAM(small_net(rank), "last-norm")(images(rank), 1).layers == ["late[1]"]


def test_the_derived_layer_serves_cam_itself_and_the_network_is_probed_once() -> None:
    model, calls = small_net(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    cam = CAM(model, None, ["cam", "gradcam"])
    cam(images(), 1)
    assert len(calls) == 2
    cam(images(), 2)
    assert len(calls) == 3


def probed(model: nn.Module, inputs: Tensor) -> Probe:
    return CAM(model).probe(inputs)


def test_a_probe_tells_grid_and_share_of_positions_with_gradient_or_the_problem() -> None:
    model = small_net()
    model.spare = nn.ReLU()
    layers = {layer.path: layer for layer in probed(model, images()).layers}
    assert layers["late"].grid == (5, 7)
    assert layers["late"].usable
    assert layers["late"].problem == ""
    assert layers["late"].gradient_share == 1.0
    assert layers["pool"].problem == "no spatial extent"
    assert layers["spare"].problem == "not called"
    assert list(layers) == [
        "early",
        "early[0]",
        "early[1]",
        "early[2]",
        "late",
        "late[0]",
        "late[1]",
        "late[2]",
        "pool",
        "dropout",
        "fc",
        "spare",
    ]


def test_behind_the_last_attention_of_a_vit_patches_have_no_gradient() -> None:
    layers = {layer.path: layer for layer in probed(small_vit(), torch.randn(1, 3, 64, 64)).layers}
    assert layers["encoder.layers.encoder_layer_2.ln_1"].gradient_share == 1.0
    assert layers["encoder.layers.encoder_layer_2.ln_1"].grid == (4, 4)
    for path in ("encoder.layers.encoder_layer_2", "encoder.layers.encoder_layer_2.ln_2", "encoder.ln"):
        assert layers[path].problem == "no gradient"


def test_a_head_of_zeros_is_told_and_no_layer_is_derived() -> None:
    model = small_net()
    nn.init.zeros_(model.fc.weight)
    with pytest.raises(LayerError, match=r"No target layer can be derived: .*weights of zero.*Load trained weights"):
        CAM(model)(images())


@pytest.mark.parametrize("switched_off", [torch.no_grad, torch.inference_mode])
def test_a_network_that_switches_gradients_off_itself_is_told(switched_off: Callable[[], Any]) -> None:
    class Frozen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone, self.fc = small_net(), nn.Linear(CLASSES, 3)

        def forward(self, images: Tensor) -> Tensor:
            with switched_off():
                scores = self.backbone(images)
            return self.fc(scores)

    with pytest.raises(
        LayerError, match=r"no layer's output is connected to the score, .* torch\.no_grad\(\) or torch\.inference_mode\(\)"
    ):
        CAM(Frozen())(images())


def test_a_network_without_spatial_layers_is_told() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 10 * 14, 3))
    with pytest.raises(LayerError, match="no layer's output is a map over the input's positions for the layout"):
        CAM(model)(images())


class Frames(nn.Module):
    """A video network that folds time into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()

    def forward(self, videos: Tensor) -> Tensor:
        return self.net(videos.transpose(1, 2).flatten(0, 1)).mean(0, keepdim=True)


def test_a_network_that_folds_its_samples_is_told_what_shape_was_found() -> None:
    with pytest.raises(LayerError, match=r"'net.pool': An output of shape \(4, 6, 1, 1\) does not start with the batch of 1") as caught:
        CAM(Frames())(torch.randn(1, 2, 4, 10, 14))
    assert ".)" not in str(caught.value)


def test_a_video_network_has_a_stride_of_its_own_in_time() -> None:
    model = models.video.SwinTransformer3d([2, 4, 4], 16, [1, 1], [1, 1], [2, 4, 4], num_classes=5).eval()
    probed_layers = {layer.path: layer for layer in probed(model, torch.randn(1, 3, 8, 32, 32)).layers}
    assert str(probed_layers["norm"].reading) == "NDHWC"
    assert probed_layers["norm"].grid == (4, 4, 4)
    assert CAM(model)(torch.randn(1, 3, 8, 32, 32)).layers == ["norm"]


class ScoresPositions(nn.Module):
    """A head that scores every position before it pools: SqueezeNet's, CSRA's."""

    def __init__(self) -> None:
        super().__init__()
        self.features = small_net().early
        self.scores = nn.Sequential(nn.Dropout(), nn.Conv2d(5, 4, 1), nn.ReLU())

    def forward(self, inputs: Tensor) -> Tensor:
        return self.scores(self.features(inputs)).add(1).mean((2, 3))


@pytest.mark.parametrize("targets", [None, 1, [lambda logits: logits[0] - logits[1]] * 2])
def test_of_a_head_that_scores_positions_the_features_that_enter_it_are_derived(targets: object) -> None:
    torch.manual_seed(0)
    model = ScoresPositions().eval()
    nn.init.constant_(model.scores[1].bias, 3.0)
    assert CAM(model)(images(), targets).layers == ["features"]


class AttendsByClass(nn.Module):
    """CSRA's head: a softmax over the positions for each class, here as many classes as tokens of a 64-pixel stride."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.scores, self.attention = nn.Conv2d(3, 8, 32, stride=32), nn.Conv2d(8, 20, 1), nn.Softmax(dim=2)

    def forward(self, inputs: Tensor) -> Tensor:
        scores = self.scores(self.features(inputs)).flatten(2)
        return (self.attention(scores) * scores).sum(2)


def test_classes_are_not_taken_for_positions() -> None:
    assert CAM(AttendsByClass().eval())(torch.randn(1, 3, 256, 320)).layers == ["features"]


class LowRank(nn.Module):
    """A linear layer with a second one of low rank beside it, as LoRA wraps them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.original, self.dropout = nn.Linear(width, 3 * width), nn.Dropout()
        self.down, self.up = nn.Linear(width, 2), nn.Linear(2, 3 * width)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.original(tokens) + self.up(self.down(self.dropout(tokens)))


def test_a_projection_wrapped_for_adaption_is_still_a_part_of_attention() -> None:
    model = timm_vit().eval()
    for block in model.blocks:
        block.attn.qkv = LowRank(192)
    assert CAM(model)(torch.randn(1, 3, 64, 64)).layers == ["blocks[2].norm1"]


@pytest.mark.parametrize("qk_norm", [False, True])
def test_queries_and_keys_split_into_heads_are_no_map(qk_norm: bool) -> None:
    # (n, 12, 50, 48): 50x48 would be a grid of 224x224, but for a lost border.
    import timm

    model = timm.create_model("pit_s_224", num_classes=7).eval()
    attention = model.transformers[2].blocks[-1].attn
    if qk_norm:
        attention.q_norm, attention.k_norm = nn.LayerNorm(attention.head_dim), nn.LayerNorm(attention.head_dim)
    cam = CAM(model)
    found = cam.probe(torch.randn(1, 3, 224, 224))
    (keys,) = [layer for layer in found.layers if layer.path == "transformers[2].blocks[3].attn.k_norm"]
    assert keys.problem == "no spatial extent"
    assert found.default_layer()[0] == "transformers[2].blocks[3].norm1"
    assert found.last_norm()[0] == "transformers[2].blocks[3].norm1"


class Windows(nn.Module):
    """Positions put back from windows: a leaf without parameters, of another shape, with the block's own values."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(2, 4, 2, stride=2), nn.PixelShuffle(2))
        self.fc = nn.Linear(1, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc(self.block(inputs).mean((2, 3)))


def test_a_block_is_named_and_not_the_rearrangement_that_ends_it() -> None:
    assert CAM(Windows().eval())(images()).layers == ["block"]


class Encoder(nn.Module):
    """torch's own transformer, whose eval mode has a fused path that calls none of its layers."""

    def __init__(self, nested: bool) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=not nested)
        self.patches = nn.Conv2d(2, 16, 2, stride=2)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=nested)
        self.fc = nn.Linear(16, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc(self.encoder(self.patches(inputs).flatten(2).transpose(1, 2)).mean(1))


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("layer", ["patches", "encoder.layers[0]", "encoder.layers[-1].norm1", "encoder.layers[1].linear2", "encoder"])
def test_a_target_inside_torchs_transformer_has_the_gradient_of_the_unfused_path(layer: str, nested: bool) -> None:
    torch.manual_seed(3)
    model, inputs = Encoder(nested).eval(), images()
    activations, gradients, logits = autograd_evidence(model, find_layer(model, layer)[1], inputs, [1, 2])
    result = CAM(model, layer, "hirescam")(inputs, [1, 2])
    torch.testing.assert_close(result.logits, logits, rtol=1e-4, atol=1e-5)
    product = activations * gradients
    expected = product.sum(1) if layer == "patches" else product.sum(2).unflatten(1, (5, 7))
    torch.testing.assert_close(result.raw[result.layers[0]], expected, rtol=1e-3, atol=1e-6)


def test_a_layer_is_derived_in_torchs_transformer() -> None:
    torch.manual_seed(3)
    result = CAM(Encoder(nested=True).eval())(images(), 1)
    assert result.layers[0].startswith("encoder")
    assert result.raw[result.layers[0]].shape == (2, 5, 7)


class ScoresThenPools(nn.Module):
    """Scores every position by class, then pools: the layer of scores is no layer of features."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(2, 6, 3, padding=1)
        self.classify = nn.Conv2d(6, CLASSES, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.features(images)).mean(dim=(2, 3))


@pytest.mark.parametrize("target", [None, 1, ClassProbability(1), ClassContrast(1, 0), FinerScore(1)])
def test_the_default_layer_is_the_same_whatever_is_asked_of_a_class(target: Any) -> None:
    assert CAM(ScoresThenPools()).probe(images(), target).default_layer()[0] == "features"


def test_channels_as_many_as_the_embedding_has_numbers_are_no_classes() -> None:
    model = small_net()
    model.late[1].bias.data[0] = -100.0  # a dead channel: behind the ReLU it has no gradient
    with EmbeddingOutput(model, find_inputs(images(count=1, seed=9))) as embedding:
        found = CAM(model).probe(images(), EmbeddingSimilarity(embedding.reference))

    assert found.default_layer()[0] == CAM(model).probe(images()).default_layer()[0]


def drawn_net(seed: int) -> tuple[nn.Module, tuple[int, ...]]:
    """Return a random network and the size of its input."""
    draw = random.Random(seed)
    rank, bias = draw.choice((1, 2, 3)), draw.random() < 0.3
    size = {1: (24,), 2: (12, 16), 3: (6, 8, 10)}[rank]
    layers, channels = list[nn.Module](), 2
    for _ in range(draw.randint(2, 3)):
        width = draw.choice((4, 5, 6))
        layers.append(CONV[rank](channels, width, draw.choice((1, 3)), stride=draw.choice((1, 2)), padding=1, bias=bias))
        layers += draw.choice(([], [NORM[rank](width)], [nn.GroupNorm(1, width)]))
        layers += [draw.choice((nn.ReLU(), nn.GELU(), nn.SiLU(), nn.Tanh(), nn.LeakyReLU()))]
        layers += draw.choice(([], [nn.Dropout()], [nn.Identity()]))
        channels = width
    torch.manual_seed(seed)
    return nn.Sequential(*layers, GAP[rank](1), nn.Flatten(), nn.Linear(channels, 3)).eval(), size


@pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
@pytest.mark.parametrize("seed", range(24))
def test_a_constant_picture_derives_the_layer_that_any_other_does(seed: int) -> None:
    model, size = drawn_net(seed)
    expected = CAM(model).probe(torch.randn(1, 2, *size)).default_layer()
    constant = [
        torch.zeros(1, 2, *size),
        torch.ones(1, 2, *size),
        torch.tensor([0.0, -2.0]).view(1, 2, *[1] * len(size)).expand(1, 2, *size),
    ]
    for picture in (*constant, torch.cat([torch.zeros(1, 2, *size), torch.randn(1, 2, *size)])):
        assert CAM(model).probe(picture).default_layer() == expected


def test_a_black_picture_is_explained_at_the_layer_that_is_derived() -> None:
    torch.manual_seed(0)
    block = [nn.Conv2d(4, 4, 3, bias=False), nn.GELU()]
    model = nn.Sequential(nn.Conv2d(2, 4, 3, bias=False), *block, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    result = CAM(model)(torch.zeros(1, 2, 8, 8), 1)
    assert result.layers == ["[2]"]
    assert not result.raw["[2]"].any()


def test_a_target_that_noise_does_not_have_is_derived_from_the_constant_picture() -> None:
    def only_of_black(scores: Tensor) -> Tensor:
        if not torch.equal(scores.detach(), expected):
            raise TargetError("no such box")
        return scores[1]

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    picture = torch.zeros(1, 2, 8, 8)
    expected = model(picture)[0].detach()
    assert CAM(model).probe(picture, only_of_black).default_layer()[0] in ("[0]", "[1]")


@pytest.mark.parametrize("rank", RANKS)
def test_full_is_every_layer_with_extent_each_with_the_map_that_it_has_alone(rank: int) -> None:
    model, inputs = small_net(rank), images(rank)
    passes: list[None] = []
    handle = model.register_forward_hook(lambda *_: passes.append(None))
    cam = CAM(model, "full")
    result = cam(inputs, 1)
    assert len(passes) == 2  # the probe and the maps
    handle.remove()
    alone = {layer.path: CAM(model, layer.path)(inputs, 1) for layer in CAM(model).probe(inputs, 1).layers if layer.usable}
    assert list(result.raw) == cam.target_layers == list(alone)
    assert len(alone) >= 4
    assert cam.reason == f"all {len(alone)} layers with spatial extent and gradient"
    for path, expected in alone.items():
        torch.testing.assert_close(result.raw[path], expected.raw[path], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(result.layer_maps[path], expected.maps, rtol=1e-4, atol=1e-5)


def test_full_of_a_published_network_has_its_blocks_and_their_parts() -> None:
    torch.manual_seed(0)
    model = models.resnet18(weights=None).eval()
    result = CAM(model, "full")(torch.randn(1, 3, 64, 64))
    assert {"conv1", "maxpool", "layer1", "layer4", "layer4[1]", "layer4[1].bn2", "layer2[0].downsample[0]"} <= set(result.layers)
    assert not {"avgpool", "fc"} & set(result.layers)
    assert len(result.layers) == len(list(walk(model))) - 2  # all of its modules but these
    assert result.source == f"at the mean of {', '.join(result.layers[:8])}, … ({len(result.layers)} in all)"
    torch.testing.assert_close(result.raw["layer4"], result.raw["layer4[1]"])


@pytest.mark.parametrize("rule", ["auto", "last-norm", "full"])
def test_a_rule_stands_alone_and_a_layer_of_its_name_is_that_layer(rule: str) -> None:
    with pytest.raises(LayerError, match=f"'{rule}' is a rule that finds the target layers; give it alone"):
        CAM(small_net(), [rule, "early"])
    model = nn.Sequential()
    model.add_module(rule, nn.Conv2d(3, 4, 3))
    model.add_module("relu", nn.ReLU())
    model.add_module("head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assert CAM(model, rule).target_layers == [rule]


def test_auto_is_what_is_derived_without_target_layers() -> None:
    assert CAM(small_net(), "auto")(images(), 1).layers == CAM(small_net())(images(), 1).layers == ["late"]
