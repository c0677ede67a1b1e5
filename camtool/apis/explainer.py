"""Explainer: explains images by the network of a config and a checkpoint, which is built once; images are processed in batches."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from camtool.apis.answers import answers
from camtool.apis.explanation import Explanation
from camtool.apis.images import is_several
from camtool.apis.model import ModelRequest, quieted_libraries
from camtool.apis.selection_base import TargetSelection
from camtool.apis.selection_result import SelectionResult
from camtool.apis.settings import ExplainerSettings, MethodSpec, read_settings
from camtool.apis.subjects import Prepared, Subject, SubjectLike, channels_apart, load_subject
from camtool.apis.target_selection import read_selection
from camtool.attribution.cam import CAM
from camtool.attribution.sliding_window import SlidingWindow
from camtool.errors import CamtoolError, ConfigError, emit_again, recorded_warnings
from camtool.fusion import Fusion
from camtool.instrumentation.acceleration import Speed
from camtool.instrumentation.batching import Progress
from camtool.layouts import LayoutSpec
from camtool.models import Network
from camtool.placement import Placement
from camtool.targets import OutputName

BATCH_SIZE = 8


class Explainer:
    """Explains images by one network: class activation maps with class names, figures and files.

    Args:
        config: a config's path, `mmpretrain::family/name.py`, `timm/NAME`, …, a known name, or a Network.
        checkpoint: weights: a path, a URL, `package://NAME/path`; None: those of the config, else the published ones.
        device: "cpu", "cuda", "cuda:1" or "mps".
        cfg_options: overrides in the config, `{"model.head.num_classes": 10}`.
        random_weights: seeded initialisation instead of a checkpoint.
        seed: for random weights and for methods that draw random numbers.
        method: a name, a config dict, several of these, or "all": every method that fits the network.
        target_layers: paths or modules; None: those of the config, else derived from the network.
        layout, input_axes, call, output, target, aug_smooth, eigen_smooth, fuse, speed, placement, window, overlap, windows_at_once,
            by_channel: as in a config's `cam = dict(…)`; None: its value.
        checkpoint_keys: as in a config's `cam`: (regular expression, replacement) pairs for the checkpoint's keys.
        progress: `progress(description, done, total)`, called between the chunks of long computations.

    Raises:
        CamtoolError: if the config, the checkpoint, a method or another setting does not exist or does not fit the network.

    Example:
        >>> from camtool.apis import Explainer
        >>> explainer = Explainer("efficientnet-lite0_in1k", method=["gradcam", "layercam"])
        >>> explanation = explainer("demo/cat.jpg", categories=["tiger cat"])
        >>> explanation.results["layercam"].maps.shape
        torch.Size([1, 1, 224, 224])
        >>> [entry["index"] for entry in explanation.top5[:2]]
        [282, 285]
    """

    def __init__(  # noqa: PLR0913 - a keyword each
        self,
        config: str | Path | Network,
        checkpoint: str | Path | None = None,
        *,
        device: str = "cpu",
        cfg_options: Mapping[str, Any] | Sequence[str] | None = None,
        random_weights: bool = False,
        seed: int = 0,
        method: MethodSpec | Iterable[MethodSpec] | None = None,
        target_layers: str | nn.Module | Sequence[str | nn.Module] | None = None,
        layout: LayoutSpec = None,
        input_axes: str | None = None,
        call: int | Mapping[str, int] | None = None,
        output: OutputName = None,
        target: str | Mapping[str, Any] | None = None,
        aug_smooth: bool | None = None,
        eigen_smooth: bool | None = None,
        fuse: str | Mapping[str, Any] | Fusion | None = None,
        speed: Speed | Mapping[str, Any] | None = None,
        placement: str | Placement | Mapping[str, Any] | None = None,
        window: int | Sequence[int] | None = None,
        overlap: float | None = None,
        windows_at_once: int | None = None,
        by_channel: bool | None = None,
        checkpoint_keys: Sequence[tuple[str, str]] | None = None,
        progress: Progress | None = None,
    ) -> None:
        network = config if isinstance(config, Network) else None
        if network and (checkpoint or cfg_options or random_weights or checkpoint_keys or device != "cpu"):
            raise ConfigError(
                "Expected a config where checkpoint, device, cfg_options, random_weights or checkpoint_keys is given; got a Network, which "
                "is built already."
            )
        name, weights = network.source.loaded.name if network else str(config), None if checkpoint is None else str(checkpoint)
        model = ModelRequest(name, weights, device, cfg_options or {}, random_weights, seed)
        with quieted_libraries():
            loaded = network.source.loaded if network else model.read_config()
        if checkpoint_keys is not None:
            loaded.config.merge_from_dict({"cam": {**loaded.cam, "checkpoint_keys": checkpoint_keys}})
        settings = read_settings(
            model,
            loaded,
            method=method,
            target_layers=target_layers,
            layout=layout,
            input_axes=input_axes,
            call=call,
            output=output,
            target=target,
            aug_smooth=aug_smooth,
            eigen_smooth=eigen_smooth,
            fuse=fuse,
            speed=speed,
            placement=placement,
            window=window,
            overlap=overlap,
            windows_at_once=windows_at_once,
            by_channel=by_channel,
        )
        with quieted_libraries():
            network = network or model.build(loaded)
        self._initialise(settings, network, progress)

    @classmethod
    def of(cls, settings: ExplainerSettings, progress: Progress | None = None, *, class_names: Sequence[str] | None = None) -> "Explainer":
        """Return an explainer with settings that have been read and checked.

        Args:
            class_names: of the data set, for a network whose checkpoint and config name no classes.
        """
        explainer = cls.__new__(cls)
        started = time.perf_counter()
        network = settings.model.build(settings.loaded)
        network.names_of_data = class_names
        explainer._initialise(settings, network, progress)
        explainer.seconds_loading = time.perf_counter() - started
        return explainer

    def _initialise(self, settings: ExplainerSettings, network: Network, progress: Progress | None) -> None:
        self.settings = settings
        self.network = network
        self.seconds_loading = 0.0
        """Time to build the network."""
        self.placement = replace(settings.cam["placement"], digest=network.digest)
        """Where the cells of layers lie: the setting, which keeps what is measured under the checkpoint's digest."""
        input_axes = settings.cam["input_axes"] or network.source.input_axes
        arguments = {**settings.cam, "input_axes": input_axes, "placement": self.placement}
        self.cam = CAM(network.model, **arguments, input=network.source.picture_input, progress=progress)
        self._by_channel = channels_apart(settings, network.reading)
        self.explains: CAM | SlidingWindow = self.cam
        if settings.window is not None:
            sizes, fusion, at_once = (settings.window, settings.overlap), settings.cam["fuse"], settings.windows_at_once
            self.explains = SlidingWindow(self.cam, network.model, *sizes, fusion, progress, at_once=at_once)

    def __call__(
        self,
        images: SubjectLike | Sequence[SubjectLike],
        *,
        categories: str | int | Sequence[str | int] = (),
        top_k: int | None = None,
        target: str | Mapping[str, Any] | None = None,
        against: str | int | None = None,
        target_image: SubjectLike | None = None,
        batch_size: int = BATCH_SIZE,
    ) -> Any:
        """Return the Explanation of an image, with n = 1; for a list of images a list of Explanations.

        Args:
            images: a path, an array (h, w, 3) in uint8, a PIL image, a tensor (3, h, w); of a network on volumes or signals a Volume, a
                Signal, or an array (x, y, z), (channels, t); or a list of them.
            categories: a class by index or name, or several; empty: the predicted class.
            top_k: explain the classes with the highest scores, this many.
            target: the target's name, such as "probability", or a config dict; None: the target of the explainer.
            against: the other class of the target "contrast".
            target_image: explain the similarity to this image instead of a class.
            batch_size: number of images of a list that share a forward pass.

        Raises:
            CamtoolError: if an image cannot be read, a class does not exist, or a method is not defined for this network.
        """
        selection = self.select(categories=categories, top_k=top_k, target=target, against=against, target_image=target_image)
        several = is_several(images)
        every: Any = images if several else [images]
        explanations = list(self.explain(every, selection, batch_size=batch_size, named=several))
        return explanations if several else explanations[0]

    def explain(
        self, images: Iterable[SubjectLike], selection: TargetSelection, *, batch_size: int = BATCH_SIZE, named: bool = True
    ) -> Iterator[Explanation]:
        """Yield the explanation of each image, as `stream`; CamtoolError for the first that has none."""
        for explanation in self.stream(images, selection, batch_size=batch_size, named=named):
            if isinstance(explanation, CamtoolError):
                raise explanation
            yield explanation

    def select(self, **arguments: Any) -> TargetSelection:
        """Return the target selection for `stream`; arguments as of `read_selection`."""
        if arguments.get("target_image") is not None:
            arguments["target_image"] = load_subject(arguments["target_image"], 0, self.network.reading)
        return read_selection(self.settings.target, **arguments)

    def stream(
        self, images: Iterable[SubjectLike], selection: TargetSelection, *, batch_size: int = BATCH_SIZE, named: bool = False
    ) -> Iterator[Explanation | CamtoolError]:
        """Yield for each image its explanation, or the error if it cannot be explained.

        Images of one size go through the network together. A batch that fails is repeated image by image, so that only the
        images concerned give an error.

        Args:
            named: whether warnings begin with the image's name.
        """
        if batch_size < 1:
            raise CamtoolError(f"Expected a batch size of at least 1, got {batch_size}.")
        limit = self.batch_limit(batch_size)
        batch: list[Prepared] = []
        for number, image in enumerate(images):
            prepared = self._prepared_or_error(image, number, named=named)
            if batch and (isinstance(prepared, CamtoolError) or len(batch) >= limit or prepared.inputs.shape != batch[0].inputs.shape):
                yield from self._explained(batch, selection, named=named)
                batch = []
            if isinstance(prepared, CamtoolError):
                yield prepared
            else:
                batch.append(prepared)
        if batch:
            yield from self._explained(batch, selection, named=named)

    def batch_limit(self, batch_size: int) -> int:
        """Return how many images share a forward pass: one where the config has further inputs, which are those of a single sample."""
        return batch_size if self.network.source.picture_input is None else 1

    def preprocessed(self, image: SubjectLike, number: int = 0) -> tuple[Subject, Tensor]:
        """Return an image and its preprocessed tensor (1, c, *spatial) on the CPU; ImageError if it cannot be read."""
        subject = load_subject(image, number, self.network.reading, self.network.shown)
        return subject, self.network.preprocess(subject.content)

    def _prepared_or_error(self, image: SubjectLike, number: int, *, named: bool) -> Prepared | CamtoolError:
        try:
            return self.prepared(image, number, named=named)
        except CamtoolError as error:
            return error

    def _explained(self, batch: Sequence[Prepared], selection: TargetSelection, *, named: bool) -> Iterator[Explanation | CamtoolError]:
        self.cam.by_channel = self._by_channel  # for figures; runs and metrics do without its passes
        try:
            found = self.answers(batch, selection, named=named)
        finally:
            self.cam.by_channel = False
        for prepared, answer in zip(batch, found, strict=True):
            yield answer if isinstance(answer, CamtoolError) else self._explanation(prepared, selection, answer, len(batch))

    def prepared(self, image: SubjectLike, number: int = 0, *, named: bool = False, label: int | None = None) -> Prepared:
        """Return an image as `answers` takes it, with the remarks on it; ImageError if it cannot be read.

        Args:
            number: in the name of an image without a file.
            named: whether warnings begin with the image's name.
            label: the true class.
        """
        with recorded_warnings() as caught:
            picture, inputs = self.preprocessed(image, number)
        for warning in caught:
            emit_again(warning, f"{picture.name}: {warning.message}" if named else "")
        return Prepared(picture, inputs, [str(warning.message) for warning in caught], label)

    def answers(
        self, batch: Sequence[Prepared], selection: TargetSelection, *, named: bool = False
    ) -> list[SelectionResult | CamtoolError]:
        """Return for each of a batch's images, which are of one size, its maps or the error; see `camtool.apis.answers`."""
        return answers(self.explains, self.network, batch, selection, named=named)

    def _explanation(self, prepared: Prepared, selection: TargetSelection, answer: SelectionResult, count: int) -> Explanation:
        seconds = next(iter(answer.results.values())).seconds
        return Explanation(
            image=prepared.picture,
            inputs=prepared.inputs,
            network=self.network,
            model=self.settings.model,
            selection=selection,
            answer=answer,
            refused={method: str(error) for method, error in answer.refusals.items()},
            layers=self.cam.target_layers,
            layers_reason=self.cam.reason,
            aug_smooth=self.settings.cam["aug_smooth"],
            eigen_smooth=self.settings.cam["eigen_smooth"],
            every_method=self.settings.every_method,
            factors=self.settings.factors,
            seconds={name: value / count for name, value in seconds.items()},
            warnings=prepared.warnings,
        )
