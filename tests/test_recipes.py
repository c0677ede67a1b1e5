"""Every recipe in `configs/` is the zoo's network with the zoo's weights, and derives, or names, a layer that gives a map."""

import ast
from pathlib import Path
from typing import Any

import pytest
import torch

from camtool import CAM
from camtool.benchmark.backbones import BACKBONES, load_example
from camtool.config.loading import LoadedConfig, load_config
from camtool.models import load_network

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
RECIPES = [path for path in sorted(CONFIGS.glob("*/*.py")) if "mmpretrain::" in path.read_text(encoding="utf-8")]
EXAMPLES = {example.config: name for name, example in BACKBONES.items() if not example.model}
SMALLER: dict[str, dict[str, Any]] = {  # what the sweep does not measure: another depth, width or input of the same class
    "resnet50_8xb32_in1k": {},
    "vgg16_8xb32_in1k": {"backbone.depth": 11},
    "vit-base-p16_64xb64_in1k-384px": dict(BACKBONES["VisionTransformer"].narrow),
    "vit-base-p16_32xb128-mae_in1k": dict(BACKBONES["VisionTransformer"].narrow),
    "swinv2-tiny-w8_16xb64_in1k-256px": {**BACKBONES["SwinTransformerV2"].narrow, **BACKBONES["SwinTransformerV2"].model},
}

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")  # of random weights a map may be negative everywhere


def _base(path: Path) -> str:
    """Return the zoo's config that a recipe is made from, as `family/name`."""
    assigned = {node.targets[0].id: node.value for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.Assign)}
    base: str = ast.literal_eval(assigned["_base_"])
    return base.removeprefix("mmpretrain::").removesuffix(".py")


@pytest.fixture(scope="module")
def published() -> dict[str, str]:
    """The weights that the zoo publishes first for each of its configs."""
    from mmpretrain.apis.model import ModelHub, list_models

    list_models()  # fills the hub, in the order of its files
    weights: dict[str, str] = {}
    for entry in ModelHub._models_dict.values():
        config = entry.config if isinstance(entry.config, str) else entry.config.filename
        weights.setdefault(config.rpartition(".mim/configs/")[2].removesuffix(".py"), entry.weights)
    return weights


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_the_zoos_network_with_the_zoos_weights(path: Path, published: dict[str, str]) -> None:
    base, recipe = _base(path), load_config(str(path))

    assert path.relative_to(CONFIGS).parts == (base.partition("/")[0], f"{base.rpartition('/')[2]}.py")
    assert recipe.config.model == load_config(f"mmpretrain::{base}.py").config.model
    assert recipe.config.load_from == published[base]


@pytest.mark.slow
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_what_the_sweep_measures_or_gives_a_map_here(path: Path) -> None:
    base = _base(path)
    recipe = load_config(str(path), {f"model.{key}": value for key, value in SMALLER.get(path.stem, {}).items()})
    if base in EXAMPLES and not recipe.cam:
        assert recipe.config.model == load_example(BACKBONES[EXAMPLES[base]], narrow=False).config.model
    else:
        assert path.stem in SMALLER, "neither the sweep's config nor one that is built here"
        _gives_a_map(recipe)


def _gives_a_map(recipe: LoadedConfig) -> None:
    model = load_network(recipe, random_weights=True).model
    inputs = torch.randn(1, 3, 224, 224)
    derived = CAM(model)(inputs)
    result = CAM(model, recipe.cam.get("target_layers"))(inputs)

    (raw,), (of_derived,) = result.raw.values(), derived.raw.values()
    assert raw.std() > 1e-4 * raw.abs().amax()
    assert of_derived.std() > 1e-4 * of_derived.abs().amax()
    # The one reason to curate, so far: finer positions.
    assert (raw[0].numel() > of_derived[0].numel()) == ("target_layers" in recipe.cam)


def test_the_large_families_have_a_recipe() -> None:
    families = "resnet mobilenet_v3 convnext vgg densenet vision_transformer deit swin_transformer t2t_vit beit eva02 mobilevit davit"
    assert {path.parent.name for path in RECIPES} >= {
        *families.split(),
        "conformer",
        "efficientnet",
        "regnet",
        "repvgg",
        "poolformer",
        "mvit",
    }
    assert (CONFIGS / "deit/deit-tiny-distilled_4xb256_in1k.py") in RECIPES
