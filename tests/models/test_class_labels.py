from collections.abc import Callable
from typing import Any

import pytest
import torch
from mmengine.config import Config
from torch import nn

from camtool.config.loading import LoadedConfig, load_config
from camtool.datasets.class_names import names_in_checkpoint
from camtool.errors import TargetError
from camtool.models import Network, load_network
from camtool.models.class_labels import find_class, fitting_names, probabilities, short_name
from camtool.models.sources.mmpretrain_source import MMPretrainModel

NAMES = ["tench, Tinca tinca", "tiger cat", "crane", "sports car, sport car", "crane", "CD player", "cat"]


@pytest.fixture(scope="module")
def imagenet(lite0: Network) -> list[str]:
    names, _ = lite0.class_names(1000)
    assert names is not None
    return names


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ("0", 0),
        (" 6 ", 6),
        ("+3", 3),
        ("tiger cat", 1),
        ("Tiger CAT", 1),
        ("tinca tinca", 0),
        ("TENCH", 0),
        ("sport car", 3),
        ("cd player", 5),
    ],
)
def test_a_class_is_found_by_index_name_or_synonym_in_any_case(wanted: str, index: int) -> None:
    assert find_class(wanted, NAMES, len(NAMES)) == index


def test_a_whole_name_beats_a_synonym_of_another_class() -> None:
    assert find_class("cat", ["lynx, cat", "cat"], 2) == 1


def test_an_ambiguous_name_lists_its_indices(imagenet: list[str]) -> None:
    with pytest.raises(TargetError, match=r"'crane' is ambiguous; give one of the indices: 134 \(crane\), 517 \(crane\)"):
        find_class("crane", imagenet, 1000)


def test_words_in_a_single_name_are_enough_and_of_several_the_classes_are_listed(imagenet: list[str]) -> None:
    assert find_class("Eskimo", imagenet, 1000) == 248
    assert find_class("brown dog", ["cat", "hound, big brown dog"], 2) == 1
    with pytest.raises(TargetError, match=r"is called 'cat', but \d+ have it in their names; .*: 281 \(tabby cat\), 282 \(tiger cat"):
        find_class("cat", imagenet, 1000)
    with pytest.raises(TargetError, match="No class 'ca'"):  # no word
        find_class("ca", imagenet, 1000)
    with pytest.raises(TargetError, match="No class ' '"):
        find_class(" ", imagenet, 1000)


def test_an_unknown_name_has_the_nearest(imagenet: list[str]) -> None:
    with pytest.raises(TargetError, match=r"No class 'expresso'; closest: 'espresso'"):
        find_class("expresso", imagenet, 1000)


def test_the_classes_of_a_small_network_are_listed_where_none_is_near() -> None:
    with pytest.raises(TargetError, match=r"^No class 'nix'; expected one of: 'red fox', 'cat'\.$"):
        find_class("nix", ["red\nfox", "cat, Felis catus"], 2)
    with pytest.raises(TargetError, match=r"^No class 'catt'; closest: 'cat'\.$"):
        find_class("catt", ["red fox", "cat"], 2)
    with pytest.raises(TargetError, match=r"^No class 'nix'\.$"):
        find_class("nix", [f"class of the number {number}" for number in range(13)], 13)


@pytest.mark.parametrize("wanted", ["1000", "-1", "99999999999999999999"])
def test_an_index_out_of_range_says_the_range(wanted: str, imagenet: list[str]) -> None:
    with pytest.raises(TargetError, match=f"Class index {wanted} is out of range: the network has 1000 classes, 0 to 999"):
        find_class(wanted, imagenet, 1000)


@pytest.mark.parametrize("wanted", ["", "²", "+-3", "1.0", "1_0"])
def test_what_only_resembles_a_number_is_a_name(wanted: str) -> None:
    with pytest.raises(TargetError, match="No class "):
        find_class(wanted, NAMES, len(NAMES))


def test_without_names_only_indices_serve() -> None:
    assert find_class("2", None, 3) == 2
    with pytest.raises(TargetError, match=r"Class 'cat' is unknown: the classes of this network have no names\. Give an index, 0 to 2"):
        find_class("cat", None, 3)


def test_the_short_name_is_the_first_synonym() -> None:
    assert [short_name(name) for name in NAMES[:2]] == ["tench", "tiger cat"]


def of_dataset(**dataset: Any) -> Config:
    return Config({"model": {}, "test_dataloader": {"dataset": dataset}})


def class_names(config: Config, meta: dict, classes: int) -> tuple[list[str] | None, str]:
    of_data = MMPretrainModel(LoadedConfig(config, "test")).class_names(nn.Identity())
    return fitting_names([(names_in_checkpoint(meta), "checkpoint"), of_data], classes)


@pytest.mark.parametrize(
    "meta",
    [{"dataset_meta": {"classes": ("a", "b")}}, {"CLASSES": ["a", "b"]}, {"dataset_meta": {"classes": ("a", "b")}, "CLASSES": ["x"]}],
)
def test_the_checkpoints_names_come_first(meta: dict) -> None:
    assert class_names(of_dataset(type="CIFAR10"), meta, 2) == (["a", "b"], "")


@pytest.mark.parametrize(
    ("dataset", "first"),
    [
        ({"type": "CIFAR10"}, "airplane"),
        ({"type": "mmpretrain.CIFAR10"}, "airplane"),
        ({"type": "CIFAR10", "metainfo": {"classes": list("abcdefghij")}}, "a"),
        ({"type": "CustomDataset", "classes": list("abcdefghij")}, "a"),
        ({"type": "RepeatDataset", "dataset": {"type": "CIFAR10"}}, "airplane"),
    ],
)
def test_else_the_datasets_names_serve(dataset: dict, first: str) -> None:
    names, remark = class_names(of_dataset(**dataset), {}, 10)
    assert names is not None
    assert (names[0], len(names), remark) == (first, 10, "")


def test_names_of_another_count_are_not_shown_and_it_is_said() -> None:
    assert class_names(of_dataset(type="CIFAR10"), {}, 7) == (
        None,
        "the dataset names 10 classes, the network has 7: indices are shown instead of names",
    )
    names, remark = class_names(of_dataset(type="CIFAR10"), {"CLASSES": ["a"]}, 10)
    assert (names, remark[:31]) == (None, "the checkpoint names 1 classes,")


@pytest.mark.parametrize(
    "config", [Config({"model": {}}), of_dataset(type="CustomDataset"), of_dataset(type="NoSuchDataset"), of_dataset()]
)
def test_without_any_names_it_is_said(config: Config) -> None:
    assert class_names(config, {}, 5) == (None, "neither checkpoint nor dataset names the classes: indices are shown")


def test_a_checkpoints_names_reach_the_network(small: LoadedConfig, state: dict, saved: Callable[..., str]) -> None:
    path = saved({"state_dict": state, "meta": {"dataset_meta": {"classes": tuple("abcde")}}})
    assert load_network(small, path).class_names(5) == (list("abcde"), "")


def test_probabilities_are_softmax_over_several_classes() -> None:
    shares, kind = probabilities(torch.tensor([[0.0, torch.log(torch.tensor(3.0))]]))
    assert kind == "softmax"
    torch.testing.assert_close(shares, torch.tensor([[0.25, 0.75]]))


def test_a_single_logit_is_a_sigmoid() -> None:
    shares, kind = probabilities(torch.tensor([[0.0], [torch.log(torch.tensor(3.0))]]))
    assert kind == "sigmoid"
    torch.testing.assert_close(shares, torch.tensor([[0.5], [0.75]]))


@pytest.mark.parametrize("head", ["MultiLabelLinearClsHead", "CSRAClsHead"])
def test_a_multi_label_head_is_a_sigmoid_of_each_class(small_path: Any, head: str) -> None:
    options: dict[str, Any] = {"model.head.type": head}
    if head == "CSRAClsHead":
        options |= {"model.head.num_heads": 1, "model.head.lam": 0.1, "model.neck": None}
    network = load_network(load_config(str(small_path), options), random_weights=True)
    shares, kind = network.probabilities(torch.tensor([[0.0, 0.0, 0.0, 0.0, 0.0]]))
    assert kind == "sigmoid"
    torch.testing.assert_close(shares, torch.full((1, 5), 0.5))


def test_half_precision_logits_give_float_probabilities() -> None:
    assert probabilities(torch.zeros(1, 4, dtype=torch.float16))[0].dtype == torch.float32
