"""Data sets that a training config names by scope."""

import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS
from PIL import Image

from camtool.config.loading import load_config
from camtool.datasets.builtin.imagenette import CLASSES, FOLDER
from camtool.datasets.builtin.transforms import ChannelsFirst
from camtool.datasets.synthetic.image_folder import write_folder
from camtool.datasets.synthetic.scenes import ShapeScenes
from camtool.errors import DataError
from tests.pages import ROOT

CONFIGS = ROOT / "configs"

LOAD = {"type": "camtool.LoadImageFromFile"}
PACK = {"type": "PackInputs"}


def build(**config: Any) -> Any:
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return DATASETS.build(config)


def test_a_config_finds_them_by_scope_without_custom_imports() -> None:
    program = (
        "from mmpretrain.registry import DATASETS, TRANSFORMS, MODELS\n"
        "print(*[registry.get(f'camtool.{name}').__module__ for registry, name in ((DATASETS, 'Shapes'), (DATASETS, 'Digits'),"
        " (DATASETS, 'Imagenette'), (TRANSFORMS, 'LoadImageFromFile'), (MODELS, 'ResNetCAM'), (MODELS, 'ConvNet'))])"
    )
    printed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3]
    )
    assert len(printed.stdout.split()) == 6


# Shapes


def test_shapes_are_the_scenes_with_their_answers() -> None:
    dataset = build(type="camtool.Shapes", split="val", count=14, seed=2, size=48)
    scenes = ShapeScenes(split="val", seed=2, size=48)
    assert len(dataset) == 14
    assert dataset.metainfo["classes"] == scenes.classes
    for index in (0, 5, 13):
        info, sample = dataset.get_data_info(index), scenes.scene(index).sample()
        np.testing.assert_array_equal(info["img"][..., ::-1], sample.picture)
        np.testing.assert_array_equal(info["mask"], sample.mask)
        np.testing.assert_array_equal(info["distractor_mask"], sample.distractor_mask)
        np.testing.assert_array_equal(info["box"], sample.box)
        assert (info["gt_label"], info["sample_idx"]) == (sample.label, index)
        assert dataset.scene(index).label == sample.label


def test_indices_choose_scenes() -> None:
    dataset = build(type="camtool.Shapes", count=20, indices=[7, 3])
    np.testing.assert_array_equal(dataset.get_data_info(0)["img"][..., ::-1], ShapeScenes().scene(7).sample().picture)
    assert dataset.get_gt_labels().tolist() == [1, 3]
    assert dataset.scene(1).label == 3


def test_answers_may_be_left_out_where_pictures_are_flipped() -> None:
    flip = {"type": "RandomFlip", "prob": 1.0, "direction": "horizontal"}
    dataset = build(type="camtool.Shapes", count=2, answers=False, pipeline=[LOAD, flip, PACK])
    assert not {"mask", "distractor_mask", "box"} & dataset.get_data_info(0).keys()
    item, picture = dataset[1], torch.from_numpy(ShapeScenes().scene(1).sample().picture)
    assert "mask" not in item["data_samples"]
    assert torch.equal(item["inputs"], picture.permute(2, 0, 1).flip(0, 2))


def test_a_scene_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = build(type="camtool.Shapes", count=2)
    first = dataset.get_data_info(1)["img"]
    monkeypatch.setattr(ShapeScenes, "scene", None)
    np.testing.assert_array_equal(dataset.get_data_info(1)["img"], first)


def test_the_network_gets_the_scene_in_bgr() -> None:
    item = build(type="camtool.Shapes", count=3, pipeline=[LOAD, PACK])[2]
    picture = torch.from_numpy(ShapeScenes().scene(2).sample().picture)
    assert torch.equal(item["inputs"], picture.permute(2, 0, 1).flip(0))
    assert item["data_samples"].gt_label.item() == 2
    assert item["data_samples"].img_shape == (64, 64)


def test_signals_are_scenes_of_one_axis_as_pictures_one_pixel_wide() -> None:
    config = load_config(str(CONFIGS / "shapes/cnn_tiny_signals.py")).config
    dataset = build(type="camtool.Shapes", rank=1, size=96, count=3, pipeline=[LOAD, PACK])
    sample = ShapeScenes(rank=1, size=96).scene(2).sample()
    assert dataset.metainfo["classes"] == ShapeScenes(rank=1).classes == tuple(config.train_dataloader.dataset.metainfo.classes)
    assert dataset[2]["inputs"].shape == (3, 96, 1)
    np.testing.assert_array_equal(dataset[2]["inputs"].numpy()[::-1, :, 0].T, sample.picture)
    np.testing.assert_array_equal(dataset.get_data_info(2)["mask"], sample.mask)
    assert dataset.get_data_info(2)["box"].shape == (1, 2)


@pytest.mark.parametrize(("rank", "size", "channels"), [(1, 96, 3), (2, 48, 3), (3, 32, 1), (3, 24, 3)])
def test_scenes_of_any_rank_are_packed_with_channels_first(rank: int, size: int, channels: int) -> None:
    first = {"type": "camtool.ChannelsFirst", "rank": rank}
    dataset = build(type="camtool.Shapes", rank=rank, size=size, channels=channels, count=3, pipeline=[LOAD, first, PACK])
    sample = ShapeScenes(rank=rank, size=size, channels=channels).scene(2).sample()
    inputs = dataset[2]["inputs"]
    assert (inputs.dtype, inputs.shape) == (torch.uint8, (channels, *[size] * rank))
    np.testing.assert_array_equal(np.moveaxis(inputs.numpy()[::-1], 0, -1), sample.picture)
    np.testing.assert_array_equal(dataset.get_data_info(2)["mask"], sample.mask)
    np.testing.assert_array_equal(dataset.get_data_info(2)["box"], sample.box)


def test_the_recipe_of_volumes_names_the_classes_of_the_kinds_that_it_chooses() -> None:
    of_recipe = load_config(str(CONFIGS / "shapes/cnn_tiny_volumes.py")).config.test_dataloader.dataset
    named = {name: of_recipe[name] for name in ("rank", "size", "channels", "kinds")}
    dataset, scenes = build(type="camtool.Shapes", count=8, pipeline=[LOAD], **named), ShapeScenes(**named)
    assert dataset.metainfo["classes"] == scenes.classes == tuple(of_recipe.metainfo.classes)
    np.testing.assert_array_equal(dataset[6]["img"], scenes.scene(6).sample().picture)


@pytest.mark.parametrize(("rank", "size"), [(1, (5, 2)), (3, (5, 2))])
def test_an_image_of_another_rank_is_refused(rank: int, size: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=rf"ChannelsFirst\(rank={rank}\) expects {rank} spatial axes, got an image of \(5, 2\)"):
        ChannelsFirst(rank=rank).transform({"img": np.zeros((*size, 3), dtype=np.uint8)})


def test_a_folder_of_scenes_gives_the_network_what_the_fly_gives_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "shapes", ShapeScenes(), {"train": 18})
    pipeline = [LOAD, PACK]
    on_the_fly = build(type="camtool.Shapes", count=18, pipeline=pipeline)
    folder = build(type="CustomDataset", data_root=str(tmp_path / "shapes"), data_prefix="train", pipeline=pipeline)
    assert len(folder) == 18
    assert folder.metainfo["classes"] == on_the_fly.metainfo["classes"]
    for item in folder:
        index = int(Path(item["data_samples"].img_path).stem)
        assert torch.equal(item["inputs"], on_the_fly[index]["inputs"])
        assert item["data_samples"].gt_label == on_the_fly[index]["data_samples"].gt_label


def test_a_grey_pipeline_gets_one_channel() -> None:
    grey = dict(LOAD, color_type="grayscale")
    (inputs,) = [item["inputs"] for item in build(type="camtool.Shapes", count=1, pipeline=[grey, PACK])]
    picture = ShapeScenes().scene(0).sample().picture.astype(float)
    assert inputs.shape == (1, 64, 64)
    np.testing.assert_allclose(inputs[0].numpy(), picture @ [0.299, 0.587, 0.114], atol=0.6)  # ITU-R BT.601


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "camtool.Shapes", "count": 0}, "count >= 1, got 0"),
        ({"type": "camtool.Shapes", "rank": 4}, "1, 2 or 3 axes, got rank=4"),
        ({"type": "camtool.Shapes", "split": "valid"}, "No split 'valid'; closest: 'val'"),
        ({"type": "camtool.Imagenette", "split": "test"}, "no split 'test'"),
        ({"type": "camtool.Digits", "split": "test"}, "no split 'test'"),
        ({"type": "camtool.Digits", "source": "MNIST"}, "no source 'MNIST'; closest: 'mnist'; expected scikit-learn or mnist"),
    ],
)
def test_what_there_is_not_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        build(**config)


# Imagenette


def fake_imagenette(root: Path, per_class: int = 3) -> None:
    """Write pictures whose red level is ten times their label."""
    for split in ("train", "val"):
        for label, identifier in enumerate(CLASSES):
            folder = root / FOLDER / split / identifier
            folder.mkdir(parents=True)
            for number in range(per_class):
                Image.new("RGB", (200, 160), (10 * label, 0, 0)).save(folder / f"{identifier}_{number}.JPEG")


def test_imagenettes_classes_are_in_torchvisions_order(tmp_path: Path) -> None:
    fake_imagenette(tmp_path)
    ours = build(type="camtool.Imagenette", data_root=str(tmp_path), split="val", pipeline=[LOAD, PACK])
    theirs = torchvision.datasets.Imagenette(tmp_path, split="val", size="160px")
    assert list(ours.metainfo["classes"]) == [names[0] for names in theirs.classes]
    assert ours.metainfo["classes"][6:9] == ("garbage truck", "gas pump", "golf ball")
    assert list(CLASSES) == theirs.wnids
    assert ours.get_gt_labels().tolist() == [label for _, label in theirs]
    for item, (picture, label) in zip(ours, theirs, strict=True):
        assert item["data_samples"].gt_label.item() == label
        np.testing.assert_allclose(item["inputs"].flip(0).permute(1, 2, 0).numpy(), np.asarray(picture), atol=2)


def test_a_number_of_pictures_is_spread_over_the_classes(tmp_path: Path) -> None:
    fake_imagenette(tmp_path, per_class=4)
    some = build(type="camtool.Imagenette", data_root=str(tmp_path), split="val", indices=20)
    assert np.bincount(some.get_gt_labels()).tolist() == [2] * 10
    assert len(build(type="camtool.Imagenette", data_root=str(tmp_path), indices=1000)) == 40
    assert build(type="camtool.Imagenette", data_root=str(tmp_path), indices=[39, 0]).get_gt_labels().tolist() == [9, 0]


def test_the_unpacked_folder_itself_may_be_named(tmp_path: Path) -> None:
    fake_imagenette(tmp_path)
    assert len(build(type="camtool.Imagenette", data_root=str(tmp_path / FOLDER))) == 30


def test_where_there_is_no_imagenette_the_message_says_what_to_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*arguments: Any, **keywords: Any) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets.imagenette, "download_and_extract_archive", no_network)
    remedy = rf"Download https://s3\.amazonaws\.com/fast-ai-imageclas/imagenette2-160\.tgz and unpack it into '{tmp_path}'"
    with pytest.raises(DataError, match=rf"cannot be downloaded \(.*Name or service not known.*{remedy}"):
        build(type="camtool.Imagenette", data_root=str(tmp_path))
    with pytest.raises(DataError, match=rf"No Imagenette in '{tmp_path}'\. {remedy}"):
        build(type="camtool.Imagenette", data_root=str(tmp_path), download=False)
    assert list(tmp_path.iterdir()) == []


def test_where_there_is_a_network_torchvision_fetches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, root: str | Path, **keywords: Any) -> None:
        assert url.endswith(f"{FOLDER}.tgz")
        fake_imagenette(Path(root))
        (Path(root) / f"{FOLDER}.tgz").write_bytes(b"an archive")

    monkeypatch.setattr(torchvision.datasets.imagenette, "download_and_extract_archive", fetch)
    assert len(build(type="camtool.Imagenette", data_root=str(tmp_path / "data"))) == 30
    assert [path.name for path in (tmp_path / "data").iterdir()] == [FOLDER]
    assert sorted(path.name for path in (tmp_path / "data" / FOLDER).iterdir()) == ["train", "val"]
    monkeypatch.delattr(torchvision.datasets.imagenette, "download_and_extract_archive")  # it is there now
    assert len(build(type="camtool.Imagenette", data_root=str(tmp_path / "data"), split="val")) == 30


def test_two_processes_may_fetch_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(url: str, root: str | Path, **keywords: Any) -> None:
        fake_imagenette(Path(root), per_class=1)
        fake_imagenette(tmp_path, per_class=2)  # the other process is faster

    monkeypatch.setattr(torchvision.datasets.imagenette, "download_and_extract_archive", fetch)
    assert len(build(type="camtool.Imagenette", data_root=str(tmp_path))) == 20
    assert [path.name for path in tmp_path.iterdir()] == [FOLDER]


def test_a_class_without_pictures_is_named(tmp_path: Path) -> None:
    fake_imagenette(tmp_path, per_class=1)
    (tmp_path / FOLDER / "train" / "n03417042" / "n03417042_0.JPEG").unlink()
    with pytest.raises(DataError, match="n03417042' has no images; expected those of Imagenette"):
        build(type="camtool.Imagenette", data_root=str(tmp_path))


# digits


def test_digits_are_scikit_learns_and_every_fifth_is_held_out() -> None:
    from sklearn.datasets import load_digits

    known = load_digits()
    splits = {split: build(type="camtool.Digits", split=split) for split in ("train", "val")}
    assert {split: len(dataset) for split, dataset in splits.items()} == {"train": 1437, "val": 360}
    for split, first in (("val", [0, 5, 10]), ("train", [1, 2, 3])):
        for position, index in enumerate(first):
            info = splits[split].get_data_info(position)
            assert info["img"].shape == (8, 8, 3)
            np.testing.assert_allclose(info["img"] / 255 * 16, np.repeat(known.images[index][..., None], 3, axis=-1), atol=0.04)
            assert (info["gt_label"], info["sample_idx"]) == (known.target[index], position)
    assert splits["val"].metainfo["classes"] == tuple("0123456789")


def test_mnist_is_torchvisions_and_two_processes_may_fetch_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = torch.arange(2 * 28 * 28, dtype=torch.int64).reshape(2, 28, 28).remainder(256).to(torch.uint8)
    fetched = []

    def mnist(root: Path, *, train: bool, download: bool) -> Any:
        assert download
        assert not train
        if not (root / "MNIST/raw").is_dir():
            fetched.append(root)
            for each in (root, tmp_path):  # the other process is faster
                (each / "MNIST/raw").mkdir(parents=True)
        return type("Digits", (), {"data": pictures, "targets": torch.tensor([7, 2])})

    monkeypatch.setattr(torchvision.datasets, "MNIST", mnist)
    dataset = build(type="camtool.Digits", split="val", source="mnist", data_root=str(tmp_path))
    assert dataset.get_gt_labels().tolist() == [7, 2]
    np.testing.assert_array_equal(dataset.get_data_info(1)["img"][..., 0], pictures[1].numpy())
    assert fetched != [tmp_path], "it is fetched where another process may be reading"
    assert [path.name for path in tmp_path.iterdir()] == ["MNIST"]


@pytest.mark.parametrize("kind", [RuntimeError, ConnectionResetError])
def test_where_there_is_no_mnist_the_message_says_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def no_network(*arguments: Any, **keywords: Any) -> None:
        raise kind("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(torchvision.datasets, "MNIST", no_network)
    with pytest.raises(DataError, match=rf"Error downloading .*Put its four files into '{tmp_path / 'MNIST' / 'raw'}', or use"):
        build(type="camtool.Digits", source="mnist", data_root=str(tmp_path))
