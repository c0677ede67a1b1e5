"""The table of the zoo's backbones holds every class and names every model that is no classifier; every shipped config parses."""

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from camtool.benchmark.backbones import BACKBONES, NOT_CLASSIFIERS, WITHOUT_MAP, load_example
from camtool.config.loading import LoadedConfig, load_config
from camtool.errors import ConfigError

UPSTREAM = {
    # four mix lazy imports with text, two inherit a pipeline that their base does not have, two are mmdetection's
    "replknet/deploy/replknet-31B-deploy_32xb64_in1k-384px.py",
    "replknet/deploy/replknet-31B-deploy_32xb64_in1k.py",
    "replknet/replknet-31B_32xb64_in1k-384px.py",
    "replknet/replknet-31B_32xb64_in1k.py",
    "swin_transformer_v2/swinv2-base-w12_8xb128_in21k-192px.py",
    "swin_transformer_v2/swinv2-large-w12_8xb128_in21k-192px.py",
    "byol/benchmarks/mask-rcnn_r50-c4_ms-1x_coco.py",
    "byol/benchmarks/mask-rcnn_r50_fpn_ms-1x_coco.py",
}
WITHOUT_MODEL = {"resnest/_randaug_policies.py"}  # a part of others


def _shipped() -> dict[str, Path]:
    import mmpretrain

    root = Path(mmpretrain.__file__).parent / ".mim/configs"
    files = (path for path in root.rglob("*.py") if "_base_" not in path.parts)
    return {str(path.relative_to(root)): path for path in files}


@pytest.fixture(scope="module")
def parsed() -> dict[str, LoadedConfig | ConfigError]:
    """Every shipped config, or why it does not parse."""
    found: dict[str, LoadedConfig | ConfigError] = {}
    for name, path in _shipped().items():
        try:
            found[name] = load_config(str(path))
        except ConfigError as error:
            found[name] = error
    return found


def test_every_shipped_config_parses_or_is_upstreams_own(parsed: dict[str, LoadedConfig | ConfigError]) -> None:
    failed = {name: error for name, error in parsed.items() if isinstance(error, ConfigError)}
    assert len(parsed) == 538
    assert failed.keys() == UPSTREAM | WITHOUT_MODEL
    assert all("has no 'model'" in str(failed[name]) for name in WITHOUT_MODEL)
    assert all("Cannot read config" in str(failed[name]) for name in UPSTREAM)


def _classes(loaded: LoadedConfig) -> Iterator[str]:
    backbone = loaded.config.model.get("backbone")
    while backbone:  # LoRAModel has the adapted one inside
        yield backbone["type"]
        backbone = backbone.get("module")


@pytest.mark.filterwarnings("ignore:Fail to import:UserWarning")  # of mmcv-lite
def test_every_backbone_class_is_in_the_table_or_named_with_the_reason(parsed: dict[str, LoadedConfig | ConfigError]) -> None:
    from mmpretrain.models import backbones

    exported = {name for name, value in vars(backbones).items() if inspect.isclass(value)}
    in_configs = {name for loaded in parsed.values() if isinstance(loaded, LoadedConfig) for name in _classes(loaded)}
    covered = {name for example in BACKBONES.values() for name in _classes(load_example(example))}
    left_out = {name for names in WITHOUT_MAP.values() for name in names}

    assert covered | left_out == exported | in_configs
    assert not covered & left_out
    assert all(name.partition(",")[0].partition(" ")[0] in _classes(load_example(example)) for name, example in BACKBONES.items())


def test_a_class_without_a_map_stands_in_no_classifier(parsed: dict[str, LoadedConfig | ConfigError]) -> None:
    left_out = {name for names in WITHOUT_MAP.values() for name in names}
    for name, loaded in parsed.items():
        if isinstance(loaded, LoadedConfig) and loaded.config.model["type"] == "ImageClassifier":
            assert not left_out & set(_classes(loaded)), name


def test_every_model_that_is_no_classifier_is_named_with_the_reason(parsed: dict[str, LoadedConfig | ConfigError]) -> None:
    models = {loaded.config.model["type"] for loaded in parsed.values() if isinstance(loaded, LoadedConfig)}
    assert models - {"ImageClassifier"} == {name for names in NOT_CLASSIFIERS.values() for name in names}


@pytest.mark.parametrize("name", ["VisionTransformer", "ViTSAM"])
def test_an_example_is_loaded_the_same_twice_and_as_wide_as_published_afterwards(name: str) -> None:
    example = BACKBONES[name]
    once, twice = (load_example(example).config.model.backbone for _ in range(2))
    assert once == twice
    assert once.arch["embed_dims"] == 96
    assert load_example(example, narrow=False).config.model.backbone.get("arch") in ("deit-tiny", None)
