"""What `camtool eval` and `camtool check` compute scores from: samples, masks, and the network."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camtool.cli.analyze import Analysis
from camtool.cli.command import Session
from camtool.cli.file_options import FileOptions
from camtool.errors import DataError, some

if TYPE_CHECKING:
    from camtool.analysis.stored_samples import StoredSamples
    from camtool.apis import Explainer
    from camtool.apis.model import ModelRequest
    from camtool.evaluation import Material, Metric
    from camtool.evaluation.masks import SampleMasks
    from camtool.store import Store


@dataclass(frozen=True)
class Given:
    """Where masks come from, as the options say."""

    masks: Path | None = None
    label: int | None = None
    resample: bool = False
    annotations: Path | None = None
    kind: str | None = None
    rule: str = "union"

    def __post_init__(self) -> None:
        if self.masks is not None and self.annotations is not None:
            raise DataError("Expected one of --masks, a folder of masks, and --annotations, got both.")
        if (self.annotations is None) != (self.kind is None):
            raise DataError("Expected --annotations PATH and --annotations-kind KIND (coco, voc, imagenet, cub, masks, volumes) together.")
        if self.masks is not None and not Path(os.path.expanduser(self.masks)).is_dir():
            raise DataError(f"No folder '{self.masks}'; expected one of masks.")

    @property
    def is_given(self) -> bool:
        """Whether there are masks."""
        return self.masks is not None or self.annotations is not None

    def masks_of(self, samples: "StoredSamples", class_names: "Sequence[str] | None") -> "SampleMasks | None":
        """Return the masks of samples: those given, else those that a data set of a config has; DataError if they cannot be read."""
        from camtool.analysis.overlap import Masks
        from camtool.analysis.split_samples import SplitSamples
        from camtool.datasets.annotations import read_annotations
        from camtool.evaluation.masks import annotated_masks, folder_masks

        if self.masks is not None:
            return folder_masks(Masks(Path(os.path.expanduser(self.masks)), self.resample, self.label), samples)
        if self.annotations is None or self.kind is None:
            own = samples.masks() if isinstance(samples, SplitSamples) else None
            return None if own is None else annotated_masks(own, samples, class_names, self.rule)
        return annotated_masks(read_annotations(self.annotations, self.kind), samples, class_names, self.rule)

    def digest(self) -> str | None:
        """Return a digest of the files; None without masks."""
        from camtool.evaluation.protocols import digest_of

        path = self.masks or self.annotations
        return None if path is None else digest_of(Path(os.path.expanduser(path)))


def material_of(
    store: "Store", config: "ModelRequest | None", given: Given, explainer: "Explainer | None", class_names: "Sequence[str] | None" = None
) -> "Material":
    """Return what scores are computed from.

    Args:
        config: of the run; None: samples are read as the run describes them, which of images it does not.
        explainer: of the run's network; None: the network is not run.
        class_names: of the network.
    """
    from camtool.analysis.split_samples import samples_of
    from camtool.analysis.stored_samples import StoredSamples
    from camtool.evaluation import Material
    from camtool.evaluation.explaining import Methods
    from camtool.models.loading import load_input
    from camtool.models.sources.by_kind import NetworkInput

    if explainer is not None:
        network = explainer.network
        seen = NetworkInput(network.reading, network.preprocess)
        samples: StoredSamples | None = samples_of(store, seen, explainer.settings.loaded)
    elif config is None:
        samples = StoredSamples.described(store)
    else:
        loaded = config.read_config()
        samples = samples_of(store, load_input(loaded), loaded)
    masks = None if samples is None else given.masks_of(samples, class_names)
    return Material(samples, masks, None if explainer is None else Methods(explainer, store.run))


def check_read_alike(store: "Store", files: FileOptions) -> None:
    """Raise DataError if options say that files are read in another way than a store's run read them."""
    description = store.run.get("input")
    if not isinstance(description, dict):
        return
    from camtool.models.sources.by_kind import NetworkInput

    own = description.get("reading") or {}
    for one in files.given():
        value = one.value
        if one.kind == description.get("kind"):
            value = NetworkInput.described({**description, "reading": {one.key: value}}).to_dict()["reading"].get(one.key)
        if own.get(one.key) != value:
            raise DataError(
                f"'{store.folder}' has maps of files that were read with {one.key}={own.get(one.key)}, {one.option} says {value}; leave it "
                "out, or explain them again by --data."
            )


def made_store(
    config: "ModelRequest",
    checkpoint: str | None,
    data: str,
    out: Path,
    category: str,
    limit: int | None,
    batch_size: int,
    **explaining: Any,
) -> Path:
    """Explain a data set into a store below a folder, or what of it is not there yet; return the store's folder.

    Args:
        out: folder of the store's.
        category: whose class is explained, as of `camtool run`.
        explaining: of the explainer: method, target_layers, device, random_weights, seed.
    """
    from camtool.apis import Explainer
    from camtool.evaluation.cases import explained_sources
    from camtool.runs import run
    from camtool.store import open as open_store

    place = Path(os.path.expanduser(out)) / "maps"
    explainer = Explainer(config.config, checkpoint, cfg_options=config.cfg_options, **explaining)
    run(explainer, data, place, categories=category, batch_size=batch_size, limit=limit)
    explained_sources(open_store(place))
    return place


@contextmanager
def removing(folders: Sequence[Path]) -> Iterator[None]:
    """Remove folders if a DataError says that what was just written to them is nothing."""
    try:
        yield
    except DataError:
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def made_explainer(
    config: "ModelRequest | None", checkpoint: str | None, analysis: Analysis, device: str, *, random_weights: bool
) -> "Explainer | None":
    """Return the explainer of a run's network; None without a config; DataError if its weights are not those of the run."""
    from camtool.apis import Explainer

    if config is None:
        return None
    run = analysis.store.run
    explainer = Explainer(
        config.config,
        checkpoint,
        device=device,
        random_weights=random_weights,
        seed=int(run.get("seed") or 0),
        output=analysis.output,
        cfg_options=config.cfg_options,
    )
    explained = run.get("fingerprint", {}).get("checkpoint")
    if explained is not None and digest_of_network(explainer) != explained:
        raise DataError(
            f"The weights of '{config.config}' are not those that '{analysis.store.folder}' has maps of; give the run's --config and "
            "--checkpoint, or --random-weights if it had none."
        )
    return explainer


def possible(metrics: "Sequence[Metric]", material: "Material", running: Session) -> "list[Metric]":
    """Return the metrics whose material is there, and say which are left out; DataError if none is left."""
    missing: dict[str, list[str]] = {}
    kept = []
    for metric in metrics:
        try:
            material.check([metric])
            kept.append(metric)
        except DataError as error:
            missing.setdefault(str(error).rpartition("; ")[2].rstrip("."), []).append(metric.name)
    if not kept:
        raise DataError(f"No metric can be computed from the maps alone; {some(list(missing), 3)}.")
    for why, names in missing.items():
        running.remark(f"Left out: {', '.join(names)} ({why}).")
    return kept


def digest_of_network(explainer: "Explainer | None") -> str | None:
    """Return a digest of the network's weights; None without a network."""
    from camtool.runs.fingerprint import weights_digest

    return None if explainer is None else weights_digest(explainer.network.model)
