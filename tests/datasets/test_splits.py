"""Samples of data sets of every form: files or arrays, one label, several or none; and what is no data set."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from PIL import Image

from camtool.datasets.splits import Samples
from camtool.errors import DataError, ImageError

RED = (250, 10, 20)


class Arrays:
    """A data set that makes its samples itself, as any user's own may."""

    def __init__(self, infos: list[dict[str, Any]]) -> None:
        self.infos = infos
        self.metainfo = {"classes": ("a", "b")}

    def __len__(self) -> int:
        return len(self.infos)

    def get_data_info(self, index: int) -> dict[str, Any]:
        return self.infos[index]


class CIFAR10(Arrays):
    """By name one of those that hand over RGB."""


class Around:
    """A wrapper, as mmengine has several; most of those ask for a data set of mmengine's within."""

    def __init__(self, dataset: dict[str, Any]) -> None:
        self.dataset = DATASETS.build(dataset)
        self.metainfo = self.dataset.metainfo

    def __len__(self) -> int:
        return len(self.dataset)

    def get_data_info(self, index: int) -> dict[str, Any]:
        return self.dataset.get_data_info(index)


class Bare:
    """Has a length and items, as torch's data sets, and nothing of OpenMMLab's."""

    def __len__(self) -> int:
        return 1


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """The data sets above under their names, CIFAR10 as `OwnCIFAR10`."""
    named = {"Arrays": Arrays, "OwnCIFAR10": CIFAR10, "Around": Around, "Bare": Bare}
    for name, kind in named.items():
        DATASETS.register_module(name=name, module=kind)
    yield
    for name in named:
        DATASETS.module_dict.pop(name)


def of(*infos: dict[str, Any], kind: str = "Arrays", **settings: Any) -> Samples:
    dataset = {"type": kind, "infos": list(infos), **settings}
    return Samples(Config({"val_dataloader": {"dataset": dataset}}), "val", "config.py")


def red(*, bgr: bool, size: tuple[int, int] = (4, 6)) -> np.ndarray:
    return np.full((*size, 3), RED[::-1] if bgr else RED, dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two classes with a picture each, 6 wide and 4 high."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (6, 4), RED).save(tmp_path / name / "picture.png")
    return tmp_path


def test_a_picture_comes_from_its_file_in_rgb(folder: Path) -> None:
    dataset = {"type": "CustomDataset", "data_root": str(folder), "pipeline": [{"type": "NoSuchTransform"}]}
    samples = Samples(Config({"val_dataloader": {"dataset": dataset}}), "val", "config.py")

    assert (len(samples), samples.names) == (2, ["one", "two"])
    np.testing.assert_array_equal(samples[1].content, red(bgr=False))
    assert (samples[1].name, samples[1].labels) == (str(folder / "two/picture.png"), (1,))


def test_a_picture_that_is_an_array_is_bgr_as_mmcv_reads_files() -> None:
    samples = of({"img": red(bgr=True), "gt_label": 1})

    np.testing.assert_array_equal(samples[0].content, red(bgr=False))
    assert (samples[0].name, samples[0].labels, samples.names) == ("val 0", (1,), ["a", "b"])


def test_those_of_cifar_are_rgb_also_within_another_data_set() -> None:
    one = {"type": "OwnCIFAR10", "infos": [{"img": red(bgr=False), "gt_label": 1}]}
    for dataset in (one, {"type": "Around", "dataset": one}):
        samples = Samples(Config({"val_dataloader": {"dataset": dataset}}), "val", "config.py")
        np.testing.assert_array_equal(samples[0].content, red(bgr=False))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 1)])
def test_a_grey_picture_gets_three_equal_channels(shape: tuple[int, ...]) -> None:
    grey = np.arange(24, dtype=np.uint8).reshape(shape)
    picture = of({"img": grey})[0].content

    assert picture.shape == (4, 6, 3)
    assert (picture == grey.reshape(4, 6, 1)).all()


@pytest.mark.parametrize(
    ("given", "labels"),
    [(3, (3,)), (np.int64(3), (3,)), (np.array(3), (3,)), ([0, 2], (0, 2)), (np.array([0, 2]), (0, 2)), ([], ()), (None, ()), (-1, ())],
)
def test_labels_are_one_several_or_none(given: Any, labels: tuple[int, ...]) -> None:
    assert of({"img": red(bgr=True), "gt_label": given})[0].labels == labels
    assert of({"img": red(bgr=True)})[0].labels == ()


def test_several_labels_of_mmpretrains_own_are_read(folder: Path) -> None:
    listed = {"metainfo": {"classes": ["x", "y", "z"]}, "data_list": [{"img_path": "one/picture.png", "gt_label": [0, 2]}]}
    (folder / "list.json").write_text(json.dumps(listed))
    dataset = {"type": "MultiLabelDataset", "ann_file": "list.json", "data_root": str(folder)}
    samples = Samples(Config({"val_dataloader": {"dataset": dataset}}), "val", "config.py")

    assert (samples[0].labels, samples.names) == ((0, 2), ["x", "y", "z"])


def test_data_sets_around_others_are_read_without_the_pipelines_within(folder: Path) -> None:
    one = {"type": "CustomDataset", "data_root": str(folder), "pipeline": [{"type": "NoSuchTransform"}]}
    for around, length in (
        ({"type": "RepeatDataset", "times": 3, "dataset": one}, 6),
        ({"type": "ConcatDataset", "datasets": [one, one]}, 4),
        ({"type": "ClassBalancedDataset", "oversample_thr": 0.1, "dataset": one}, 2),
    ):
        samples = Samples(Config({"train_dataloader": {"dataset": around}}), "train", "config.py")
        assert len(samples) == length
        assert samples[length - 1].labels == (1,)
        assert samples.names == ["one", "two"]


def test_the_test_data_set_stands_in_for_that_of_validation() -> None:
    dataset = {"type": "Arrays", "infos": [{"img": red(bgr=True)}]}
    assert len(Samples(Config({"test_dataloader": {"dataset": dataset}}), "val", "config.py")) == 1


def test_samples_by_chance_are_seeded_none_comes_twice_and_more_begin_with_the_same() -> None:
    samples = of(*[{"img": red(bgr=True)}] * 50)

    assert samples.drawn(50, 3)[:7] == samples.drawn(7, 3)
    assert sorted(samples.drawn(50, 3)) == list(range(50))
    assert samples.drawn(7, 3) != samples.drawn(7, 4)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "Config 'config.py' has no data set for the split 'val'; expected 'val_dataloader.dataset' or 'test_dataloader.dataset'"),
        ({"val_dataloader": {"dataset": None}}, "has no data set for the split 'val'"),
        ({"val_dataloader": {"dataset": {"type": "CustomDatset"}}}, "unknown data set type 'CustomDatset'; closest: 'CustomDataset'"),
        ({"val_dataloader": {"dataset": {"type": "CustomDataset", "data_root": "gone"}}}, "'gone' does not exist"),
        ({"val_dataloader": {"dataset": {"type": "Arrays", "infos": []}}}, "is empty"),
        ({"val_dataloader": {"dataset": {"type": "Arrays", "infso": []}}}, "TypeError: .*infso"),
        ({"val_dataloader": {"dataset": {"type": "Bare"}}}, "has no method get_data_info"),
    ],
)
def test_what_is_no_data_set_is_named(config: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Samples(Config(config), "val", "config.py")


def test_a_split_that_is_none_is_named() -> None:
    with pytest.raises(DataError, match="Unknown split 'vla'; closest: 'val'; expected train or val"):
        Samples(Config({}), "vla", "config.py")


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"gt_label": 1}, "Sample 0 of the data set Arrays.* has neither 'img' nor 'img_path', only gt_label"),
        ({"img": np.zeros((4, 6, 3), np.float32)}, "is float32 of 4x6x3; expected uint8"),
        ({"img": np.zeros((2, 4, 6, 3), np.uint8)}, "is uint8 of 2x4x6x3"),
        ({"img": np.zeros((4, 6, 2), np.uint8)}, "is uint8 of 4x6x2"),
    ],
)
def test_a_sample_without_a_picture_is_named(info: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        of(info)[0]


def test_a_picture_that_is_gone_is_named() -> None:
    with pytest.raises(ImageError, match=r"No picture 'gone\.png'"):
        of({"img_path": "gone.png"})[0]


@pytest.mark.parametrize("index", [-1, 1, 100])
def test_an_index_out_of_range_says_the_range(index: int) -> None:
    with pytest.raises(DataError, match=f"Index {index} is out of range: the split 'val' has 1 samples, 0 to 0"):
        of({"img": red(bgr=True)})[index]
