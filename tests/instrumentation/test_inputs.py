"""Networks with several inputs: the map lies over one, the others stay as they are."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolError
from camtool.instrumentation.inputs import find_inputs

IMAGE, AGE, MASK = torch.rand(2, 3, 8, 8), torch.tensor([[1.0], [3.0]]), torch.ones(2, 8, 8, dtype=torch.bool)


class Aged(nn.Module):
    """Scores from a picture's features, each weighted by the sample's age."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        self.head = nn.Linear(4, 5)

    def forward(self, image: Tensor, age: Tensor) -> Tensor:
        assert not age.requires_grad
        return self.head(self.features(image).mean(dim=(2, 3)) * age)


class OfDict(Aged):
    """The same, called with one dict."""

    def forward(self, batch: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(batch["image"], batch["age"])


def alone(model: Aged, sample: int) -> Tensor:
    """The map of one sample by a network of the picture alone."""

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, image: Tensor) -> Tensor:
            return self.inner(image, AGE[sample : sample + 1])

    return CAM(Fixed(), "inner.features", "hirescam")(IMAGE[sample : sample + 1], 2).raw["inner.features"][0]


@pytest.mark.parametrize(
    ("model", "inputs"),
    [(Aged, (IMAGE, AGE)), (Aged, [IMAGE, AGE]), (Aged, {"image": IMAGE, "age": AGE}), (OfDict, ({"image": IMAGE, "age": AGE},))],
)
@pytest.mark.parametrize("layers", [None, "features"])
def test_the_map_is_of_the_picture_beside_its_own_other_inputs(model: type[Aged], inputs: Any, layers: str | None) -> None:
    network = model()
    plain = Aged()
    plain.load_state_dict(network.state_dict())
    result = CAM(network, layers, "hirescam")(inputs, 2)
    (raw,) = result.raw.values()
    for sample in range(2):
        torch.testing.assert_close(raw[sample], alone(plain, sample))
    torch.testing.assert_close(result.logits, plain(IMAGE, AGE).detach())


def test_aug_smooth_changes_the_picture_only() -> None:
    network = Aged()
    result = CAM(network, "features", "hirescam", aug_smooth=True)((IMAGE, AGE), 2)
    passes = []
    for factor in (1.0, 0.9, 1.1):
        for flip in (False, True):
            raw = CAM(network, "features", "hirescam")(((IMAGE.flip(-1) if flip else IMAGE) * factor, AGE), 2).raw["features"]
            passes.append(raw.flip(-1) if flip else raw)
    torch.testing.assert_close(result.raw["features"], torch.stack(passes).mean(dim=0))


class Stereo(nn.Module):
    """Two pictures of different sizes; only their sum counts."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)
        for layer in (self.left, self.right):
            nn.init.ones_(layer.weight)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.left(left).mean(dim=(2, 3)) + self.right(right).mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("name", "layer", "size"), [("left", "left", (8, 8)), ("right", "right", (4, 6)), (0, "left", (8, 8)), (1, "right", (4, 6))]
)
def test_of_several_pictures_the_one_that_is_named_carries_the_map(name: str | int, layer: str, size: tuple[int, int]) -> None:
    left, right = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 4, 6)
    inputs: Any = (left, right) if isinstance(name, int) else {"left": left, "right": right}
    assert CAM(Stereo(), layer, input=name)(inputs, 0).maps.shape == (1, *size)


def test_inputs_are_not_changed_by_layers_that_work_in_place() -> None:
    class InPlace(Aged):
        def forward(self, image: Tensor, age: Tensor) -> Tensor:
            return super().forward(image.mul_(2), age.mul_(2))

    image, age = IMAGE.clone(), AGE.clone()
    CAM(InPlace(), "features")({"image": image, "age": age}, 0)
    assert torch.equal(image, IMAGE)
    assert torch.equal(age, AGE)


@pytest.mark.parametrize(
    ("inputs", "name", "message"),
    [
        ((IMAGE, IMAGE), None, "Several inputs can be the picture that the maps lie over: 0, 1; name one by input="),
        ({"image": IMAGE, "age": AGE}, "imge", "No input 'imge'; expected one of: 'image', 'age'"),
        ({"image": IMAGE, "age": AGE}, "age", r"Expected inputs \(n, c, \*spatial\) .* got shape \(2, 1\) of torch\.float32"),
        ((MASK, AGE), None, r"Expected inputs .* got shape \(2, 8, 8\) of torch\.bool"),
        ({}, "image", "No input 'image'; expected one of: none, there is no tensor"),
        ({"a": 1}, None, "Expected inputs .* got dict"),
        (np.zeros((1, 3, 4, 4)), None, "Expected inputs .* got ndarray"),
        (None, None, "Expected inputs .* got NoneType"),
    ],
)
def test_what_cannot_carry_a_map_is_refused(inputs: Any, name: str | None, message: str) -> None:
    with pytest.raises(CamtoolError, match=message):
        find_inputs(inputs, name)


def test_samples_are_taken_from_the_axis_of_the_batch() -> None:
    image, sequence, age, table = torch.rand(3, 2, 8, 6), torch.rand(7, 2, 5), torch.rand(2, 1), torch.rand(5, 4)
    given = find_inputs({"image": image, "sequence": sequence, "age": age, "table": table}, "image", "cnhw")
    assert torch.equal(given.picture, image.transpose(0, 1))
    one = given.sample(1)
    for times, inputs in ((1, one), (4, one.expanded(4)), (4, one.repeated(4))):
        assert torch.equal(inputs.arguments["image"], image[:, [1] * times])
        assert torch.equal(inputs.arguments["sequence"], sequence[:, [1] * times])
        assert torch.equal(inputs.arguments["age"], age[[1] * times])
        assert torch.equal(inputs.arguments["table"], table)
        assert torch.equal(inputs.picture, image[:, [1] * times].transpose(0, 1))
    assert torch.equal(given.first_sample().arguments["image"], image[:, :1])
    assert torch.equal(given.repeated(2).arguments["image"], torch.cat([image, image], dim=1))
    other = torch.rand(5, 3, 8, 6)
    assert torch.equal(given.with_picture(other).arguments["image"], other.transpose(0, 1))
    assert torch.equal(given.with_picture(other).picture, other)


def test_what_is_no_tensor_is_passed_on() -> None:
    given = find_inputs({"image": IMAGE, "mode": "tensor", "sizes": [1, None]})
    seen: dict[str, Any] = {}

    class Seeing(nn.Module):
        def forward(self, **arguments: Any) -> Tensor:
            seen.update(arguments)
            return arguments["image"]

    given.run(Seeing())
    assert torch.equal(seen.pop("image"), IMAGE)
    assert seen == {"mode": "tensor", "sizes": [1, None]}


def test_an_error_of_the_networks_own_says_what_it_was_called_with() -> None:
    with pytest.raises(RuntimeError) as raised:
        CAM(Aged(), "features")((IMAGE, torch.ones(2, 7)), 0)
    assert raised.value.__notes__ == ["Raised by the network itself, called with 0 (2, 3, 8, 8), 1 (2, 7)."]


class Conditioned(nn.Module):
    """A transformer of two blocks over 4x4 patches, whose pooled tokens another input scales."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 2, 2)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2))
        self.head = nn.Linear(8, 5)

    def forward(self, image: Tensor, age: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens.mean(dim=1) * age)


@pytest.mark.parametrize("method", ["rollout", "genericattention", "legrad"])
def test_attention_methods_take_each_samples_own_other_inputs(method: str) -> None:
    model = Conditioned()
    both = CAM(model, method=method)({"image": IMAGE, "age": AGE}, 2).raw["attention"]
    for sample in range(2):
        one = CAM(model, method=method)({"image": IMAGE[sample : sample + 1], "age": AGE[sample : sample + 1]}, 2)
        torch.testing.assert_close(both[sample], one.raw["attention"][0])
    other = CAM(model, method=method)({"image": IMAGE, "age": -AGE}, 2).raw["attention"]
    assert torch.equal(both, other) == (method == "rollout")
