"""Keys at the top of a config that nothing reads, although they look like one that is read."""

from collections.abc import Iterable
from difflib import get_close_matches

from camtool.config.loading import LoadedConfig
from camtool.errors import warn

_READ = ("cam", "load_from", "custom_imports", "data_preprocessor", "test_pipeline", "test_dataloader")
# OpenMMLab's other ones, of which some resemble those: arguments of mmengine's Runner, and names that its recipes give to parts.
_LEGITIMATE = (
    "input",
    "train_dataloader",
    "val_dataloader",
    "train_pipeline",
    "val_pipeline",
    "preprocess_cfg",
    "resume_from",
    "tta_pipeline",
)
_ALIKE = 0.85  # of difflib: one letter of seven


def warn_of_stray_keys(loaded: LoadedConfig, keys: Iterable[str]) -> None:
    """Warn of keys at the config's top that have no effect there: those of `model` that stand beside it, and misspelt ones.

    A config is Python, and any other variable is its author's own.

    Args:
        keys: keys of `model` that its source reads.
    """
    absent = [key for key in keys if key not in loaded.config.model and key != "type"]
    for key in loaded.config:
        if key in (*_READ, *_LEGITIMATE, "model", *keys) and key not in absent:
            continue
        meant = [key] if key in absent else get_close_matches(key, [*_READ, *absent], 1, _ALIKE)
        if meant:
            place = f"model=dict({meant[0]}=…)" if meant[0] in absent else f"'{meant[0]}'"
            warn(f"'{key}' at the top of config '{loaded.name}' has no effect; is {place} meant?")
