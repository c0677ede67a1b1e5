"""Source of Hugging Face: `hf/<directory or hub name>` on the command line, or `model=dict(type='camtool.HuggingFaceModel', name=…)`.

The only module that imports transformers, which is the extra `hf`.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from camtool.config.loading import LoadedConfig
from camtool.errors import CheckpointError, ConfigError
from camtool.models.checkpoints import Checkpoint, read_checkpoint
from camtool.models.sources._base import Preprocess, Source
from camtool.models.sources.preprocessing import described, of_pil

try:
    import transformers
    from transformers.utils.hub import cached_file
except ImportError as missing:
    raise ConfigError(
        "Networks of Hugging Face need the package transformers, which is not installed: 'pip install \"camtool[hf]\"'."
    ) from missing


class HuggingFaceModel(Source):
    """Source of image classifiers of transformers, from a local directory or the hub, with image processor and labels.

    Code in a repository is never run. `preprocess` replaces the image processor.
    """

    own_keys = ("name", "preprocess")

    def __init__(self, loaded: LoadedConfig) -> None:
        super().__init__(loaded)
        name = self.options.get("name")
        self.published = str(Path(os.path.expanduser(name))) if isinstance(name, str) else ""
        if not name or not self.published:
            raise ConfigError(
                f"The model of '{loaded.name}' needs 'name': a directory, or a name on the hub such as google/vit-base-patch16-224."
            )
        self._config = self._from_repository(transformers.AutoConfig.from_pretrained, **self.arguments())

    def build(self) -> nn.Module:
        kind = transformers.AutoModelForImageClassification
        return self.constructed(lambda: kind.from_config(self._config, trust_remote_code=False))

    def read(self, weights: str) -> Checkpoint:
        if weights != self.published:
            return read_checkpoint(weights)
        model, loading = self._from_repository(
            transformers.AutoModelForImageClassification.from_pretrained, config=self._config, output_loading_info=True, weights_only=True
        )
        parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}  # not buffers, which may be computed
        missing = sorted(parameters & {*loading["missing_keys"], *(entry[0] for entry in loading["mismatched_keys"])})
        if missing:
            raise CheckpointError(
                f"'{self.published}' has no weights for {', '.join(missing[:4])}; expected an image classifier with a trained head "
                "and the same number of classes."
            )
        return Checkpoint(dict(model.state_dict()), {}, weights, self._digest())

    def preprocessing(self, model: nn.Module) -> Preprocess:
        if "preprocess" in self.options:
            return described(self.options["preprocess"])
        process = self._from_repository(transformers.AutoImageProcessor.from_pretrained)
        return of_pil(lambda image: process(images=image, return_tensors="pt")["pixel_values"])

    def class_names(self, model: nn.Module) -> tuple[Sequence[str] | None, str]:
        labels = self._config.id2label or {}
        generic = all(str(label) == f"LABEL_{index}" for index, label in labels.items())
        if "classes" in self.options or generic:
            return super().class_names(model)
        return [str(labels[index]) for index in sorted(labels)], "config"

    def decides_each_class(self, model: nn.Module) -> bool:
        return self._config.problem_type == "multi_label_classification" or super().decides_each_class(model)

    def _from_repository(self, load: Callable[..., Any], **arguments: Any) -> Any:
        """Return what `load` reads from the repository; ConfigError if that fails."""
        try:
            with _quiet():
                return load(self.published, trust_remote_code=False, **arguments)
        except Exception as error:  # exceptions of the hub, of files and of their content; none names the repository
            text = " ".join(str(error).split())[:300]
            raise ConfigError(
                f"Cannot load '{self.published}' as an image classifier of transformers: {type(error).__name__}: {text} "
                "Expected a directory with config.json and weights, or a name on the hub and a connection to it."
            ) from error

    def _digest(self) -> str:
        """Return the sha256 of all weight files, in the order of their names."""
        folder = Path(str(self.published))
        if not os.path.isdir(folder):
            folder = Path(str(cached_file(str(folder), "config.json"))).parent
        digest = hashlib.sha256()
        for path in sorted(path for pattern in ("*.safetensors", "*.bin") for path in folder.glob(pattern)):
            digest.update(path.read_bytes())
        return digest.hexdigest()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    # transformers logs tables of missing weights; read() checks what matters.
    logger = logging.getLogger("transformers")
    level, bars = logger.level, transformers.utils.logging.is_progress_bar_enabled()
    logger.setLevel(logging.CRITICAL)
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers.utils.logging.enable_progress_bar()
