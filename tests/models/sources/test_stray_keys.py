"""Keys at a config's top that look like one that is read, but are not."""

import warnings
from pathlib import Path

import pytest
from mmengine.config import Config

from camtool.config.loading import LoadedConfig, load_config
from camtool.config.shipped import shipped_root
from camtool.errors import CamtoolWarning
from camtool.models.sources.custom_source import KEYS as TORCH_MODEL
from camtool.models.sources.stray_keys import warn_of_stray_keys

RECIPES = sorted(shipped_root().rglob("*.py"))


def _said(content: dict[str, object], keys: tuple[str, ...] = TORCH_MODEL) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_stray_keys(LoadedConfig(Config({"model": {"type": "camtool.TorchModel"}, **content}), "own.py"), keys)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("preprocess", "model=dict(preprocess=…)"),
        ("preproces", "model=dict(preprocess=…)"),
        ("classes", "model=dict(classes=…)"),
        ("load_form", "'load_from'"),
        ("custom_import", "'custom_imports'"),
        ("cams", "'cam'"),
        ("data_preprocesor", "'data_preprocessor'"),
    ],
)
def test_a_key_without_effect_is_said_with_the_one_that_is_meant(key: str, meant: str) -> None:
    assert _said({key: {}}) == [f"'{key}' at the top of config 'own.py' has no effect; is {meant} meant?"]


def test_a_variable_that_the_model_has_taken_is_silent() -> None:
    content = {"preprocess": {"crop": 32}, "model": {"type": "camtool.TorchModel", "preprocess": {"crop": 32}}}
    assert not _said(content)


@pytest.mark.parametrize("key", ["classes", "preprocess", "name", "weights", "inputs"])
def test_openmmlabs_models_have_keys_of_their_own(key: str) -> None:
    assert not _said({key: []}, ())


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_silent(path: Path) -> None:
    loaded = load_config(str(path))
    own = str(loaded.config.model.get("type")).startswith("camtool.")
    with warnings.catch_warnings():
        warnings.simplefilter("error", CamtoolWarning)
        warn_of_stray_keys(loaded, (*TORCH_MODEL, "name", "weights") if own else ())


def test_keys_of_mmengines_runner_are_silent() -> None:
    runner = """train_dataloader val_dataloader test_dataloader train_cfg val_cfg test_cfg optim_wrapper param_scheduler val_evaluator
        test_evaluator default_hooks custom_hooks data_preprocessor load_from resume launcher env_cfg log_processor log_level visualizer
        default_scope randomness experiment_name cfg work_dir auto_scale_lr vis_backends dataset_type data_root train_pipeline
        test_pipeline val_pipeline bgr_mean bgr_std img_norm_cfg file_client_args tta_model tta_pipeline custom_imports cam"""
    assert not _said({key: {} for key in runner.split()})
    assert not _said({key: {} for key in runner.split()}, ())
