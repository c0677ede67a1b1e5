"""Test pipelines of mmpretrain's zoo, each with a small network in place of its own: only the preprocessing is looked at."""

import copy

import torch
from mmengine.config import Config, ConfigDict
from torch import nn

from camtool.config.loading import load_config
from camtool.models.loading import load_network
from camtool.models.sources.mmpretrain_pipeline import PicturePipeline
from tests.models.fixtures import LITE0, SMALL

# One of each kind: where resizing is done, by which library and kernel, whether it crops, whose statistics.
FAMILIES = {
    "edge, OpenCV": "mmpretrain::resnet/resnet18_8xb32_in1k.py",
    "edge, Pillow": "mmpretrain::mobilenet_v3/mobilenet-v3-small_8xb128_in1k.py",
    "edge, Pillow bicubic, CLIP's statistics": "mmpretrain::clip/vit-base-p16_pt-64xb64_in1k.py",
    "edge, OpenCV bicubic": "mmpretrain::mlp_mixer/mlp-mixer-base-p16_64xb64_in1k.py",
    "EfficientNet's crop": "mmpretrain::efficientnet/efficientnet-b0_8xb32_in1k.py",
    "EfficientNet's crop, Pillow": "mmpretrain::resnest/resnest50_32xb64_in1k.py",
    "squeezed to 384, Pillow bicubic": "mmpretrain::swin_transformer/swin-base_16xb64_in1k-384px.py",
    "squeezed to 448, OpenCV": "mmpretrain::csra/resnet101-csra_1xb16_voc07-448px.py",
    "squeezed, then cropped": "mmpretrain::repmlp/repmlp-base_8xb64_in1k.py",
    "the embedded default": LITE0,
}


def with_small_network(source: str) -> Config:
    """Return the config, its model replaced by a small one behind the same data preprocessor."""
    config = copy.deepcopy(load_config(source).config)
    small = Config.fromstring(SMALL, ".py").model
    own = config.model.get("data_preprocessor")
    if own:
        small["data_preprocessor"] = own
    config.model = ConfigDict(small)
    return config


def build(config: Config) -> tuple[PicturePipeline, nn.Module]:
    """Return the preprocessing of a config and the model that it belongs to."""
    from camtool.config.loading import LoadedConfig

    with torch.random.fork_rng(devices=[]):
        model = load_network(LoadedConfig(config, "test"), random_weights=True).model
    return PicturePipeline(config, model), model
