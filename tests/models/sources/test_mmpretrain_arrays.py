"""Volumes and signals for networks of mmpretrain: what the network is given is what it was trained on, and maps go back on the file."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from camtool.apis.seen_masks import SeenMasks
from camtool.apis.volumes import NamedVolume
from camtool.config.loading import LoadedConfig
from camtool.datasets.splits import Samples
from camtool.errors import ConfigError, DataError
from camtool.io.pillow import Reading
from camtool.io.signals import Signal, SignalReading
from camtool.io.volumes import Volume, VolumeReading
from camtool.models.loading import Network, kind_of, load_network
from camtool.registry import TRANSFORMS

READINGS = {1: SignalReading, 2: Reading, 3: VolumeReading}
DIRECTIONS = ("horizontal", "vertical", "diagonal")


def config_of(rank: int, *, channels: int, size: int = 24, kernel: Any = 3, **more: Any) -> LoadedConfig:
    """Return a config of mmpretrain's form for a network of one convolution on shapes of a rank."""
    mean = [100.0] * (3 if rank == 2 else 1)  # one number for inputs of any rank; of pictures it means grey ones
    load, pack = {"type": "camtool.LoadImageFromFile"}, {"type": "PackInputs"}
    first = [] if rank == 2 or isinstance(kernel, tuple) else [{"type": "camtool.ChannelsFirst", "rank": rank}]
    of_network = 2 if isinstance(kernel, tuple) else rank
    data = {
        "type": "camtool.Shapes",
        "split": "val",
        "count": 6,
        "rank": rank,
        "size": size,
        "channels": channels,
        "pipeline": [load, *first, pack],
    }
    return LoadedConfig(
        Config(
            dict(
                model={
                    "type": "ImageClassifier",
                    "backbone": {
                        "type": "camtool.ConvNet",
                        "in_channels": channels,
                        "channels": (4,),
                        "strides": (1,),
                        "kernel_size": kernel,
                        "rank": of_network,
                    },
                    "neck": {"type": "GlobalAveragePooling", "dim": of_network},
                    "head": {"type": "LinearClsHead", "num_classes": 4, "in_channels": 4},
                },
                data_preprocessor={"mean": mean, "std": [50.0] * len(mean), "num_classes": 4},
                val_dataloader={"dataset": data},
                test_dataloader={"dataset": data},
                **more,
            )
        ),
        "own.py",
    )


def network_of(loaded: LoadedConfig) -> Network:
    return load_network(loaded, random_weights=True)


def trained_on(loaded: LoadedConfig, network: Network, index: int) -> torch.Tensor:
    """Return the input of a sample as a training makes it: by the data set's own pipeline."""
    from mmpretrain.registry import DATASETS

    with DefaultScope.overwrite_default_scope("mmpretrain"):
        sample = DATASETS.build(copy.deepcopy(dict(loaded.config.test_dataloader.dataset)))[index]
    return network.model.data_preprocessor({"inputs": sample["inputs"][None]}, False)["inputs"]


CASES = [
    (1, 3, 9, "signal", {}),
    (1, 1, 3, "signal", {}),
    (1, 2, (5, 1), "signal", {"input": {"kind": "signal", "preprocess": {"shape": "ct1"}}}),
    (2, 3, 3, "image", {}),
    (3, 1, 3, "volume", {}),
]


@pytest.mark.parametrize(("rank", "channels", "kernel", "kind", "more"), CASES)
def test_the_first_convolution_tells_the_kind_and_a_sample_becomes_what_training_makes_of_it(
    rank: int, channels: int, kernel: Any, kind: str, more: dict[str, Any]
) -> None:
    loaded = config_of(rank, channels=channels, kernel=kernel, **more)
    network = network_of(loaded)
    samples = Samples(loaded.config, "val", "own.py")

    assert network.kind == kind_of(loaded) == kind
    assert type(network.reading) is READINGS[rank]
    for index in (0, 3):
        content = samples.read(index, network.reading).content
        assert torch.equal(network.preprocess(content), trained_on(loaded, network, index))


@pytest.mark.parametrize("seed", range(4))
def test_what_a_description_says_comes_before_the_pipeline_and_is_undone_for_maps_and_masks(seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes = [int(side) for side in random.integers(5, 12, 3)]
    spec = {"axes": "".join(random.permutation(list("xyz"))), "size": sizes, "percentiles": (1, 99)}
    network = network_of(config_of(3, channels=1, input={"preprocess": spec}))
    scan = Volume(random.normal(size=random.integers(6, 14, 3)), None, "scan")

    inputs = network.preprocess(scan)

    assert inputs.shape == (1, 1, *sizes)
    assert inputs.min() >= -2.0, "0 is normalised by 100 and 50"
    assert inputs.max() <= (1 - 100) / 50, "1 likewise"
    on_scan = network.preprocess.to_scan(np.ones(sizes, np.float32), scan)
    assert on_scan.shape == scan.shape
    np.testing.assert_array_equal(on_scan, 1)
    mask = np.zeros(scan.shape, bool)
    mask[: scan.shape[0] // 2 + 1] = True
    assert SeenMasks(network.preprocess).of(mask, NamedVolume(scan)).outside == 0


def test_a_signals_length_and_rate_are_of_the_description() -> None:
    network = network_of(config_of(1, channels=2, input={"rate": 200.0, "preprocess": {"rate": 100, "length": 64}}))
    record = Signal(np.arange(400, dtype=np.float32).reshape(2, 200), 200.0, ("a", "b"), name="record")

    inputs = network.preprocess(record)

    assert network.reading == SignalReading(rate=200.0)
    assert inputs.shape == (1, 2, 64)
    assert network.preprocess.to_signal(np.ones(64), record).shape == (200,)


@TRANSFORMS.register_module()
class HalfOfAVolume:
    """A transform that changes a volume's size, as one for training may."""

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        return {**results, "img": results["img"][::2]}


@TRANSFORMS.register_module()
class RejectsVolumes:
    """A transform that rejects every sample."""

    def __call__(self, results: dict[str, Any]) -> None:
        return None


WRONG: dict[str, tuple[dict[str, Any], list[dict[str, Any]], str]] = {
    "no dict": ({"input": {"preprocess": "size=32"}}, [], "'input.preprocess' of 'own.py' must be a dict"),
    "a misspelt step": ({"input": {"preprocess": {"szie": 8}}}, [], "'preprocess' has no key 'szie'; closest: 'size'"),
    "another size": ({}, [{"type": "camtool.HalfOfAVolume"}], "makes an input of 12x24x24 of 24x24x24"),
    "a rejection": ({}, [{"type": "camtool.RejectsVolumes"}], "RejectsVolumes rejects this image of 24x24x24"),
    "a transform of pictures": ({}, [{"type": "Resize", "scale": 8}], "The config's test pipeline fails on this image"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_description_or_pipeline_is_one_readable_error(case: str) -> None:
    more, steps, message = WRONG[case]
    loaded = config_of(3, channels=1, **more)
    pipeline = loaded.config.test_dataloader.dataset.pipeline
    loaded.config.test_dataloader.dataset.pipeline = [pipeline[0], *steps, *pipeline[1:]]

    with pytest.raises(ConfigError, match=message.replace("(", r"\(")) as raised:
        network_of(loaded).preprocess(Volume(np.zeros((24, 24, 24)), None, "scan"))

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("rank", "channels", "reading", "message"),
    [
        (3, 3, VolumeReading(), r"The volume 'val 0' is uint8 of 24x24x24x3; expected numbers \(x, y, z\)"),
        (2, 3, SignalReading(), r"The signal 'val 0' is uint8 of 24x24x3; expected numbers \(t,\)"),
        (3, 1, Reading(), r"The image 'val 0' is uint8 of 24x24x24x1; expected uint8 \(height, width, 3\)"),
    ],
)
def test_samples_of_another_kind_are_refused(rank: int, channels: int, reading: Any, message: str) -> None:
    samples = Samples(config_of(rank, channels=channels).config, "val", "own.py")

    with pytest.raises(DataError, match=message):
        samples.read(0, reading)
