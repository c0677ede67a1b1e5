"""Registries: whatever a config names by `type` is found here, a user's own classes (`custom_imports`) included."""

import re

from mmengine import registry as _root
from mmengine.registry import Registry

METHODS = Registry("method", scope="camtool", locations=["camtool.methods"])
FUSIONS = Registry("fusion", scope="camtool", locations=["camtool.fusion"])
LAYOUTS = Registry("layout", scope="camtool", locations=["camtool.layouts"])
TARGETS = Registry("target", scope="camtool", locations=["camtool.targets"])
MODEL_NAMES = Registry("list of model names", scope="camtool", locations=["camtool.models.names"])

# Children of mmengine's: `type="camtool.…"` in a training config is found without `custom_imports`, in whatever scope it stands.
DATASETS = Registry("dataset", parent=_root.DATASETS, scope="camtool", locations=["camtool.datasets.builtin", "camtool.train.skip_broken"])
TRANSFORMS = Registry("transform", parent=_root.TRANSFORMS, scope="camtool", locations=["camtool.datasets.builtin"])
MODELS = Registry("model", parent=_root.MODELS, scope="camtool", locations=["camtool.models.backbones", "camtool.models.classifiers"])
FUNCTIONS = Registry("function", parent=_root.FUNCTIONS, scope="camtool", locations=["camtool.train.collate"])
HOOKS = Registry("hook", parent=_root.HOOKS, scope="camtool", locations=["camtool.train.hooks"])
LOOPS = Registry("loop", parent=_root.LOOPS, scope="camtool", locations=["camtool.train.loops"])
METRICS = Registry("metric", parent=_root.METRICS, scope="camtool", locations=["camtool.train.metrics"])
OPTIM_WRAPPERS = Registry("optim_wrapper", parent=_root.OPTIM_WRAPPERS, scope="camtool", locations=["camtool.train.optim_wrapper"])

_UNKNOWN_TYPE = re.compile(r"([\w.]+) is not in the [\w-]+::([\w ]+) registry")


def unknown_type(error: Exception) -> tuple[str, str] | None:
    """Return ("Resnet", "model") where mmengine could not build something because there is no such type, else None."""
    found = _UNKNOWN_TYPE.search(str(error))
    return (found[1], found[2].replace("_", " ")) if found else None


def known_types(registry: Registry) -> set[str]:
    """Return the types that a config of the registry's scope may name without a prefix, mmengine's own included."""
    return {*registry.module_dict, *(registry.parent.module_dict if registry.parent else ())}
