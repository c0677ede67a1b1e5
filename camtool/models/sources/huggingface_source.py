"""Source of Hugging Face: `hf/<directory or hub name>` on the command line, or `model=dict(type='camtool.HuggingFaceModel', name=…)`.

The only module that imports transformers, which is the extra `hf`.
"""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from camtool.axes import Axes, axes_in_transformers
from camtool.config.loading import LoadedConfig
from camtool.errors import CheckpointError, ConfigError
from camtool.io.images import Picture
from camtool.models.checkpoints import Checkpoint, read_checkpoint
from camtool.models.connection import unreachable
from camtool.models.sources._base import Preprocess, Source
from camtool.models.sources.preprocessing import described, of_pil

try:
    import transformers
    from huggingface_hub import constants
    from transformers.utils.hub import cached_file
except ImportError as missing:
    raise ConfigError(
        "Networks of Hugging Face need the package transformers, which is not installed: 'pip install \"camtool[hf]\"'."
    ) from missing


_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
"""Files of image processors: of their own, and of a processor for pictures and text."""


_WITHOUT = "; without its weights, --random-weights"
"""What is possible where a repository has the network's config; without that nothing is."""


class _Task(NamedTuple):
    """What a network classifies."""

    things: str
    builder: Any
    """The class of transformers that builds a network from a config."""
    networks: Any
    """Its mapping from a config's class to the network's, or to several."""
    rank: int | None
    """Number of axes of the input; None: by the network."""


_TASKS = (
    _Task("pictures", transformers.AutoModelForImageClassification, transformers.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING, 4),
    _Task("clips", transformers.AutoModelForVideoClassification, transformers.MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING, 5),
    _Task("sounds", transformers.AutoModelForAudioClassification, transformers.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING, None),
)


class HuggingFaceModel(Source):
    """Source of image, video and audio classifiers of transformers, from a local directory or the hub, with labels.

    Code in a repository is never run. Image classifiers come with their image processor, which `preprocess` replaces; video and audio
    classifiers take tensors, with the axes `input_axes`.
    """

    own_keys = ("name", "preprocess")
    classes_option = "model.num_labels={}"

    def __init__(self, loaded: LoadedConfig) -> None:
        super().__init__(loaded)
        self._cut_off: str | None = None
        name = self.options.get("name")
        self.published = str(Path(os.path.expanduser(name))) if isinstance(name, str) else ""
        if not name or not self.published:
            raise ConfigError(
                f"The model of '{loaded.name}' needs 'name': a directory, or a name on the hub such as google/vit-base-patch16-224."
            )
        self._config = self._from_repository(transformers.AutoConfig.from_pretrained, **self.arguments())
        self._task = self._find_task()

    def _find_task(self) -> _Task:
        task = next((task for task in _TASKS if type(self._config) in task.networks), None)
        if task is None:
            raise ConfigError(
                f"'{self.published}' is a network of the type '{self._config.model_type}', for which transformers "
                f"{transformers.__version__} has no image, video or audio classifier."
            )
        return task

    def build(self) -> nn.Module:
        return self.constructed(lambda: self._task.builder.from_config(self._config, trust_remote_code=False))

    @property
    def input_axes(self) -> str | None:
        given = super().input_axes
        if given is not None:
            return given
        known = [axes.letters for axes in axes_in_transformers(self._config.model_type, self._input_name)]
        return next((letters for letters in known if self._task.rank in (None, len(letters))), None)

    @property
    def _input_name(self) -> str:
        networks = self._task.networks[type(self._config)]  # of images: with and without a teacher, which take the same
        return str((networks[0] if isinstance(networks, (list, tuple)) else networks).main_input_name)

    def read(self, weights: str) -> Checkpoint:
        if weights != self.published:
            return read_checkpoint(weights)
        model, loading = self._from_repository(
            self._task.builder.from_pretrained, _WITHOUT, config=self._config, output_loading_info=True, weights_only=True
        )
        parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}  # not buffers, which may be computed
        missing = sorted(parameters & {*loading["missing_keys"], *(entry[0] for entry in loading["mismatched_keys"])})
        if missing:
            raise CheckpointError(
                f"'{self.published}' has no weights for {', '.join(missing[:4])}; expected a classifier with a trained head and the "
                "same number of classes."
            )
        # Buffers that the files lack are not theirs, whatever the network was built with.
        state = {name: value for name, value in model.state_dict().items() if name not in loading["missing_keys"]}
        return Checkpoint(state, {}, weights, self._digest())

    def convert(self, model: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        # A file that save_pretrained() wrote has names that the networks of this release no longer have; from_pretrained() renames them.
        try:
            with _quiet():
                renamed, loading = type(model).from_pretrained(  # type: ignore[attr-defined]  # every network of transformers has it
                    None, config=self._config, state_dict=dict(state), output_loading_info=True
                )
        except Exception:  # noqa: BLE001 - what does not fit is named where the weights are loaded
            return state
        filled = {name: value for name, value in renamed.state_dict().items() if name not in loading["missing_keys"]}
        return filled if len(filled) > len(state.keys() & filled.keys()) else state

    def preprocessing(self, model: nn.Module) -> Preprocess:
        if self._task.rank != 4:
            return self._refuse_picture
        if "preprocess" in self.options:
            return described(self.options["preprocess"])
        try:
            process = self._from_repository(transformers.AutoImageProcessor.from_pretrained)
        except ConfigError as error:
            folder = Path(str(self.published))
            if not os.path.isdir(folder) or any(os.path.isfile(folder / name) for name in _PROCESSORS):
                raise
            raise ConfigError(
                f"The directory '{folder}' has no {_PROCESSORS[0]}, which says how pictures are prepared for this network; save its image "
                f"processor there by save_pretrained('{folder}'), or give 'preprocess': --cfg-options model.preprocess.resize=224 "
                "model.preprocess.crop=224 model.preprocess.mean=0.5 model.preprocess.std=0.5."
            ) from error
        return of_pil(lambda image: process(images=image, return_tensors="pt")["pixel_values"])

    def _refuse_picture(self, picture: Picture) -> Tensor:
        shape = f" {Axes(self.input_axes)}" if self.input_axes else ""
        raise ConfigError(
            f"'{self.published}' ({self._config.model_type}) classifies {self._task.things}, not pictures: it takes a tensor "
            f"{self._input_name}{shape}. Make it with the model's own processor, and give it to camtool.CAM in Python."
        )

    def class_names(self, model: nn.Module) -> tuple[Sequence[str] | None, str]:
        labels = self._config.id2label or {}
        generic = all(str(label) == f"LABEL_{index}" for index, label in labels.items())
        if "classes" in self.options or generic:
            return super().class_names(model)
        return [str(labels[index]) for index in sorted(labels)], "config"

    def decides_each_class(self, model: nn.Module) -> bool:
        return self._config.problem_type == "multi_label_classification" or super().decides_each_class(model)

    def _from_repository(self, load: Callable[..., Any], otherwise: str = "", **arguments: Any) -> Any:
        """Return what `load` reads from the repository; ConfigError, with what else is possible, if that fails."""
        if self._cut_off is None:
            local = os.path.isdir(str(self.published)) or constants.HF_HUB_OFFLINE
            self._cut_off = "" if local else unreachable(constants.ENDPOINT)
        if self._cut_off:  # what was downloaded before is used, without asking again and again
            arguments["local_files_only"] = True
        try:
            with _quiet():
                return load(self.published, trust_remote_code=False, **arguments)
        except Exception as error:  # exceptions of the hub, of files and of their content; none names the repository
            text = " ".join(str(error).split())[:300].rstrip(".")
            if self._cut_off:
                raise ConfigError(
                    f"Cannot load '{self.published}': {self._cut_off}. Expected a connection to the hub, a network that was downloaded "
                    f"before, or a directory with config.json and weights{otherwise}."
                ) from error
            raise ConfigError(
                f"Cannot load '{self.published}' as a classifier of transformers: {type(error).__name__}: {text}. "
                f"Expected a directory with config.json and weights, or a name on the hub and a connection to it{otherwise}."
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
