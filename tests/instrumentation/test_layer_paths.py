"""Layer paths: every spelling that names a layer, and nothing but layers."""

from collections import OrderedDict

import pytest
import torchvision
from torch import nn

from camtool.errors import LayerError
from camtool.instrumentation.layer_paths import enclosing, find_layer, path_of, walk


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    return torchvision.models.resnet18(weights=None)


@pytest.fixture
def nested() -> nn.Module:
    blocks = nn.Sequential(
        OrderedDict(
            stem=nn.Conv2d(3, 4, 1),
            stage=nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(4), act=nn.ReLU())),
            tail=nn.ModuleList([nn.Linear(4, 4), nn.ModuleDict({"left": nn.Identity(), "right": nn.Tanh()})]),
        )
    )
    return nn.Sequential(OrderedDict(backbone=blocks, head=nn.Linear(4, 2)))


@pytest.mark.parametrize("path", ["layer4[1].conv2", "layer4.1.conv2", "layer4[-1].conv2", "layer4.-1.conv2"])
def test_indices_dots_and_negative_indices_name_the_same_layer(resnet: nn.Module, path: str) -> None:
    canonical, module = find_layer(resnet, path)
    assert canonical == "layer4[1].conv2"
    assert module is resnet.layer4[1].conv2


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("backbone.stage.act", "backbone.stage.act"),
        ("backbone[1].act", "backbone.stage.act"),
        ("backbone[-2][-1]", "backbone.stage.act"),
        ("[0].stage[1]", "backbone.stage.act"),
        ("[-1]", "head"),
        ("backbone.tail[0]", "backbone.tail[0]"),
        ("backbone.tail[-1].right", "backbone.tail[1].right"),
        ("backbone[2].1[0]", "backbone.tail[1].left"),
    ],
)
def test_positions_reach_named_children(nested: nn.Module, path: str, canonical: str) -> None:
    found, module = find_layer(nested, path)
    assert found == canonical
    assert find_layer(nested, canonical) == (canonical, module)


def test_a_child_called_by_a_number_comes_before_a_position() -> None:
    shuffled = nn.ModuleDict({"1": nn.Tanh(), "0": nn.ReLU()})
    assert isinstance(find_layer(shuffled, "[0]")[1], nn.ReLU)
    assert isinstance(find_layer(shuffled, "[-1]")[1], nn.ReLU)  # the last one


@pytest.mark.parametrize("model", ["resnet", "nested"])
def test_every_walked_path_leads_back_to_its_module(model: str, request: pytest.FixtureRequest) -> None:
    network = request.getfixturevalue(model)
    walked = list(walk(network))
    assert len(walked) == len(list(network.modules())) - 1
    for path, module in walked:
        assert find_layer(network, path) == (path, module)
        assert path_of(network, module) == path


@pytest.mark.parametrize(
    "path",
    [
        "__class__",
        "layer4.__init__",
        "layer4.__class__.__mro__",
        "layer4.forward",
        "layer4.training",
        "layer4._modules",
        "layer4[0].conv1.weight",
        "fc.bias",
        "os.system('x')",
        "__import__('os').system('x')",
        "layer4[__import__('os')]",
        "layer4[0:1]",
        "layer4[1.0]",
        "layer4[2]",
        "layer4[-3]",
        "layer4[]",
        "layer4[0",
        "layer4]0[",
        "layer4[x].0",
        "layer4 .0",
        "layer4..conv1",
        "layer4.",
        "layer4 ",
        "layer4[0]conv1",
        "Layer4",
        "",
        " ",
    ],
)
def test_what_is_no_layer_is_refused_in_words(resnet: nn.Module, path: str) -> None:
    with pytest.raises(LayerError, match=r"No layer|Cannot read the layer path"):
        find_layer(resnet, path)


def test_the_message_has_the_nearest_names_and_what_there_is(resnet: nn.Module) -> None:
    with pytest.raises(LayerError) as caught:
        find_layer(resnet, "layer5")
    message = str(caught.value)
    assert "'layer5'" in message
    assert "'layer4'" in message
    assert "avgpool, fc" in message
    with pytest.raises(LayerError) as caught:
        find_layer(resnet, "layer4[1].conv7")
    message = str(caught.value)
    assert "'layer4[1].conv2'" in message
    assert "Below 'layer4[1]' (BasicBlock) there is: conv1, bn1" in message


def test_the_message_of_a_path_into_a_single_layer_says_that_it_is_one(resnet: nn.Module) -> None:
    with pytest.raises(LayerError, match="nothing, it is a single layer"):
        find_layer(resnet, "fc.weight")


def test_a_long_list_of_children_is_cut() -> None:
    with pytest.raises(LayerError, match=r"\[11\], … \(30 in all\)"):
        find_layer(nn.Sequential(*[nn.Identity() for _ in range(30)]), "nothing")


def test_a_child_that_is_none_does_not_exist() -> None:
    model = nn.Module()
    model.register_module("gone", None)
    model.add_module("here", nn.ReLU())
    with pytest.raises(LayerError, match="there is: here"):
        find_layer(model, "gone")
    assert find_layer(model, "[0]")[0] == "here"


def test_a_module_of_another_network_is_refused(resnet: nn.Module) -> None:
    with pytest.raises(LayerError, match="Linear given as a module is not part of this ResNet"):
        path_of(resnet, nn.Linear(2, 2))


def test_a_shared_module_has_one_path() -> None:
    shared = nn.ReLU()
    model = nn.Sequential(shared, nn.Identity(), shared)
    assert [path for path, _ in walk(model)] == ["[0]", "[1]"]
    assert path_of(model, shared) == "[0]"
    assert find_layer(model, "[2]") == ("[2]", shared)


def test_the_layers_around_a_layer_are_named_outermost_first() -> None:
    assert enclosing("backbone.layers[2].attn") == ["backbone", "backbone.layers", "backbone.layers[2]", "backbone.layers[2].attn"]
    assert enclosing("[0][1]") == ["[0]", "[0][1]"]
    assert enclosing("") == []
