"""A faster copy of a network gives the maps of the network itself, and the network stays what it was."""

import shutil
from collections.abc import Callable

import pytest
import timm.layers
import torch
import torchvision
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import ConfigError, MethodError
from camtool.instrumentation.acceleration import build_speed
from tests.networks import autograd_evidence, images, small_net, small_vit

# Maps without positive evidence occur among networks with random weights.
pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")

METHODS = ["gradcam", "layercam", "eigencam", "ablationcam", "scorecam"]
EXACT = [{"fold": True}, {"channels_last": True}, {"fold": True, "channels_last": True}]


def resnet() -> nn.Module:
    """Return a ResNet-18 whose norms do something."""
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=7)
    model(torch.randn(8, 3, 64, 64))  # in train mode: running statistics
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval()


def picture() -> Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


def norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())


@pytest.mark.parametrize("speed", EXACT, ids=str)
@pytest.mark.parametrize("layer", ["layer4", "layer3[1].conv2", "layer2[0].bn1"])
def test_maps_are_those_of_the_network_itself(speed: dict[str, bool], layer: str) -> None:
    model, inputs = resnet(), picture()
    expected = CAM(model, layer, METHODS[:3])(inputs, [1, 2])
    found = CAM(model, layer, METHODS[:3], speed=speed)(inputs, [1, 2])
    for name in METHODS[:3]:
        torch.testing.assert_close(found[name].maps, expected[name].maps, rtol=0, atol=1e-4)


def test_every_norm_is_folded_but_that_behind_a_target_convolution() -> None:
    model, inputs = resnet(), picture()
    for layer, left in (("layer4", 0), ("layer3[1].bn2", 0), ("layer3[1].conv2", 1)):
        cam = CAM(model, layer, speed={"fold": True})
        cam(inputs, 1)
        assert norms(cam._fast.model) == left
    assert norms(model) == 20, "the network itself has all of them"


class Both(nn.Module):
    """Reads what its convolution gives twice: through the norm, and past it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.beside, self.fc = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)
        nn.init.uniform_(self.norm.running_mean, 1, 2)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        features = self.conv(image)
        return self.fc((self.norm(features) + self.beside(features)).relu().mean((2, 3)))


def test_a_convolution_that_others_read_too_is_not_folded() -> None:
    model = Both().eval()
    cam = CAM(model, "norm", speed={"fold": True})
    expected = CAM(model, "norm")(images(), 1)
    torch.testing.assert_close(cam(images(), 1).maps, expected.maps)
    assert norms(cam._fast.model) == 1


class Past(Both):
    """Reads it past the norm in plain code."""

    def forward(self, image: Tensor) -> Tensor:
        features = self.conv(image)
        return self.fc((self.norm(features) + 2 * features).relu().mean((2, 3)))


class Signs(Both):
    """Reads where it is positive."""

    def forward(self, image: Tensor) -> Tensor:
        features = self.conv(image)
        return self.fc((self.norm(features) * (features > 0)).mean((2, 3)))


@pytest.mark.parametrize("make", [Past, Signs])
def test_a_convolution_that_a_function_reads_too_is_not_folded(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = make().eval()
    nn.init.uniform_(model.norm.running_mean)
    cam = CAM(model, "norm", speed={"fold": True})
    torch.testing.assert_close(cam(images(), 1).maps, CAM(model, "norm")(images(), 1).maps)
    assert norms(cam._fast.model) == 1


@pytest.mark.parametrize("wrap", [torch.nn.utils.weight_norm, torch.nn.utils.spectral_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_weight_that_a_hook_computes_is_not_folded(wrap: Callable[[nn.Module], nn.Module]) -> None:
    model = small_net()
    wrap(model.late[0])
    model(images())  # the hook sets the weight
    before = {key: value.clone() for key, value in model.state_dict().items()}
    expected = CAM(model, "late", METHODS[:3])(images(), 1)
    for speed in EXACT:
        cam = CAM(model, "late", METHODS[:3], speed=speed)
        for _ in range(2):
            found = cam(images(), 1)
            for name in METHODS[:3]:
                torch.testing.assert_close(found[name].maps, expected[name].maps, rtol=0, atol=1e-4)
        assert norms(cam._fast.model) == (1 if "fold" in speed else 2), speed
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Weighing(Both):
    """Reads the convolution's weight in plain code, which nothing but the scores can tell."""

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.norm(self.conv(image)).relu().mean((2, 3))) * self.conv.weight.square().sum()


class Counting(Both):
    """Reads a number that the norm has."""

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.norm(self.conv(image)).relu().mean((2, 3))) * self.norm.num_features


def test_a_copy_that_cannot_be_run_is_refused() -> None:
    with pytest.raises(MethodError, match=r"cannot be run with speed=dict\(fold=True\): torch raises AttributeError.* Leave out `speed`"):
        CAM(Counting().eval(), "norm", speed={"fold": True})(images(), 1)


def test_a_copy_with_other_scores_is_refused() -> None:
    weighing = Weighing().eval()
    nn.init.constant_(weighing.norm.weight, 2)
    with pytest.raises(MethodError, match=r"accelerated network's scores differ by .* of the largest, more than 1e-04; leave `speed` out"):
        CAM(weighing, "norm", speed={"fold": True})(images(), 1)


def test_the_network_stays_what_it_was_and_changed_weights_are_seen() -> None:
    model, inputs = small_net(), images()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.train()
    cam = CAM(model, "early", speed={"fold": True, "channels_last": True})
    first = cam(inputs, 1)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.early[0].weight.is_contiguous()
    assert all(module.training for module in model.modules())
    with torch.no_grad():
        model.fc.weight.mul_(-1)
    again = cam(inputs, 1)
    assert not torch.equal(first.raw["early"], again.raw["early"])
    model.eval()
    torch.testing.assert_close(again.raw["early"], CAM(model, "early")(inputs, 1).raw["early"], rtol=1e-4, atol=1e-6)


def rank_correlation(one: Tensor, other: Tensor) -> float:
    ranks = torch.stack([values.flatten().argsort().argsort().double() for values in (one, other)])
    return torch.corrcoef(ranks)[0, 1].item()


@pytest.mark.parametrize("speed", [{"amp": "bf16"}, {"amp": "bf16", "fold": True, "channels_last": True}], ids=str)
def test_bfloat16_ranks_positions_as_float32_does(speed: dict[str, object]) -> None:
    model, inputs = resnet(), picture()
    # Not the last layer: 2x2 positions have no ranks to speak of.
    expected, found = (CAM(model, "layer2", "layercam", speed=one)(inputs, 1) for one in (None, speed))
    for sample in range(2):
        assert rank_correlation(found.maps[sample], expected.maps[sample]) > 0.99
    assert not torch.equal(found.maps, expected.maps), "it is another precision"
    assert found.maps.dtype == torch.float32


def test_what_is_compiled_ends_with_the_first_target_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda forward, **_: compiled.append(forward) or forward)
    model, inputs = resnet(), picture()
    expected = CAM(model, ["layer3[0]", "layer4"], "layercam")(inputs, 1)
    found = CAM(model, ["layer3[0]", "layer4"], "layercam", speed={"compile": True})(inputs, 1)
    assert torch.equal(found.maps, expected.maps)
    assert len(compiled) == 2, "from conv1 to layer2, and the first block of layer3"


class Doubling(nn.BatchNorm2d):
    def forward(self, maps: Tensor) -> Tensor:
        return 2 * super().forward(maps)


@pytest.mark.parametrize(("norm", "folded"), [(timm.layers.BatchNormAct2d, True), (Doubling, False)])
def test_what_a_norm_does_besides_is_done_by_the_copy_too(norm: type[nn.BatchNorm2d], folded: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 6, 3), norm(6), nn.Conv2d(6, 6, 3), norm(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    for module in (model[1], model[3]):
        module.running_mean.normal_()
        module.running_var.uniform_(0.5, 2)
        module.weight.data.uniform_(0.5, 2)
        module.bias.data.normal_()
    inputs = images()
    for layer in ("[1]", "[3]"):
        expected = CAM(model.eval(), layer, "hirescam")(inputs, 1)
        cam = CAM(model, layer, "hirescam", speed={"fold": True})
        found = cam(inputs, 1)
        torch.testing.assert_close(found.logits, expected.logits)
        torch.testing.assert_close(found.raw[layer], expected.raw[layer], rtol=1e-4, atol=1e-6)
        assert any(isinstance(module, norm) for module in cam._fast.model) is not folded


@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_gives_the_same_maps() -> None:
    model, inputs = small_net(), images()
    expected = CAM(model, "late", METHODS)(inputs, 1)
    found = CAM(model, "late", METHODS, speed={"fold": True, "compile": True})(inputs, 1)
    for name in METHODS:
        torch.testing.assert_close(found[name].maps, expected[name].maps, rtol=0, atol=1e-4)


@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_in_bfloat16_it_gives_nearly_the_same_maps_of_any_number_of_pictures() -> None:
    model, inputs = small_net(), images()
    expected = CAM(model, "late", "layercam")(inputs, 1)
    cam = CAM(model, "late", "layercam", speed={"fold": True, "compile": True, "amp": "bf16"})
    for count in (len(inputs), 1):
        found = cam(inputs[:count], 1)
        torch.testing.assert_close(found.maps, expected.maps[:count], rtol=0, atol=0.05)
        assert not torch.equal(found.logits, expected.logits[:count]), "of half precision"


def test_what_reads_all_layers_is_not_made_faster_by_other_layers() -> None:
    with pytest.raises(MethodError, match="'rollout' reads all of them"):
        CAM(small_vit(), method="rollout", speed={"fold": True})


def test_a_misspelt_setting_is_an_error_with_the_right_spelling() -> None:
    with pytest.raises(ConfigError, match=r"speed has no setting 'channel_last'; closest: 'channels_last'"):
        build_speed({"channel_last": True})
    with pytest.raises(ConfigError, match="expected amp to be 'bf16', 'fp16' or None, got 'bfloat'"):
        build_speed({"amp": "bfloat"})
    with pytest.raises(ConfigError, match="expected fold to be True or False, got 'yes'"):
        build_speed({"fold": "yes"})


def test_folded_activations_are_those_behind_the_norm() -> None:
    model, inputs = small_net(), images()
    activations, gradients, _ = autograd_evidence(model, model.early, inputs, [1, 1])
    found = CAM(model, "early", "hirescam", speed={"fold": True})(inputs, 1)
    torch.testing.assert_close(found.raw["early"], (activations * gradients).sum(1), rtol=1e-4, atol=1e-6)


class Separable(nn.Module):
    """The norm lies behind the block that is the target layer, its convolution inside."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.block = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 1))
        self.norm, self.fc = nn.BatchNorm2d(4), nn.Linear(4, 3)
        nn.init.uniform_(self.norm.weight, 0.2, 3)  # a principal component does not see a shift alone

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.norm(self.block(image)).relu().mean((2, 3)))


def test_a_norm_behind_the_target_layer_stays_behind_it() -> None:
    model = Separable().eval()
    expected, found = (CAM(model, "block", "eigencam", speed=speed)(images(), 1) for speed in (None, {"fold": True}))
    torch.testing.assert_close(found.raw["block"], expected.raw["block"], rtol=1e-4, atol=1e-5)


def test_channels_last_leaves_other_ranks_as_they_are() -> None:
    expected, found = (CAM(small_net(3), "early", "layercam", speed=one)(images(3), 1) for one in (None, {"channels_last": True}))
    torch.testing.assert_close(found.maps, expected.maps)


def test_parametrized_convolutions_are_not_folded() -> None:
    model = small_net()
    nn.utils.parametrizations.weight_norm(model.early[0])
    expected, found = (CAM(model, "early", "layercam", speed=one)(images(), 1) for one in (None, {"fold": True}))
    torch.testing.assert_close(found.maps, expected.maps, rtol=1e-4, atol=1e-5)


class WithFeatures(nn.Module):
    """Large features beside small scores, which half precision gets wrong."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.fc = nn.Conv2d(2, 8, 3), nn.Linear(8, 5)
        with torch.no_grad():
            self.conv.bias.add_(300.0)  # type: ignore[union-attr]
            self.fc.weight.sub_(self.fc.weight.mean(1, keepdim=True))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.conv(image)
        return {"logits": self.fc(features.mean((2, 3))), "features": features}


def test_scores_are_compared_by_themselves_and_not_beside_larger_features() -> None:
    with pytest.raises(MethodError, match="scores differ by"):
        CAM(WithFeatures().eval(), "conv", speed={"amp": "bf16"})(images(), 1)


class Config:
    def __init__(self) -> None:
        self.scales = {"sign": [1.0]}


class Signed(nn.Module):
    """Its sign is an attribute of a config."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.config, self.sign = small_net(), Config(), 1.0
        self.shift = torch.zeros(1)

    def forward(self, image: Tensor) -> Tensor:
        return self.sign * self.config.scales["sign"][0] * self.net(image + self.shift)


def turn_attribute(model: Signed) -> None:
    model.sign = -2.0


def turn_config(model: Signed) -> None:
    model.config.scales["sign"][0] = -1.0


def change_epsilon(model: Signed) -> None:
    next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d)).eps = 10.0


def hook(model: Signed) -> None:
    model.net.early.register_forward_hook(lambda *call: call[-1] * 0.5 + 1)


def write_tensor(model: Signed) -> None:
    model.shift += 1


def replace_forward(model: Signed) -> None:
    own = model.net.early.forward
    model.net.early.forward = lambda image: own(image) * 3  # type: ignore[method-assign]


@pytest.mark.parametrize("change", [turn_attribute, turn_config, change_epsilon, hook, write_tensor, replace_forward])
def test_a_copy_is_renewed_when_anything_that_the_network_computes_with_has_changed(change: Callable[[Signed], None]) -> None:
    model, inputs = Signed().eval(), images()
    cam = CAM(model, "net.early", "hirescam", speed={"channels_last": True})
    before, made = cam(inputs, 1), cam._fast.model
    cam(inputs, 1)
    assert cam._fast.model is made, "nothing has changed"
    change(model)
    found, expected = cam(inputs, 1), CAM(model, "net.early", "hirescam")(inputs, 1)
    torch.testing.assert_close(found.logits, expected.logits)
    torch.testing.assert_close(found.raw["net.early"], expected.raw["net.early"], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(found.logits, before.logits)


def test_what_torch_cannot_run_faster_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(forward: object, **_: object) -> Callable[..., Tensor]:
        def run(*_: object) -> Tensor:
            raise RuntimeError("expected scalar type\nBFloat16")

        return run

    monkeypatch.setattr(torch, "compile", failing)
    message = r"^The accelerated network cannot be run with speed=dict\(compile=True, amp='bf16'\): .*scalar type\. Leave out `amp`.*$"
    with pytest.raises(MethodError, match=message):
        CAM(small_net(), "early", speed={"compile": True, "amp": "bf16"})(images(), 1)
