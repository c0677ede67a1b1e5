"""What `camtool eval` and `camtool check` compute scores from: samples, masks, and the network."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from camtool.cli.command import Session
from camtool.errors import DataError, some

if TYPE_CHECKING:
    from camtool.analysis.overlap import Masks
    from camtool.apis import Explainer
    from camtool.evaluation import Material, Metric
    from camtool.store import Store


def material_of(store: "Store", config: str | None, masks: "Masks | None", explainer: "Explainer | None") -> "Material":
    """Return what scores are computed from.

    Args:
        config: of the run; None: samples are read as the run describes them, which of images it does not.
        explainer: of the run's network; None: the network is not run.
    """
    from camtool.analysis.stored_samples import StoredSamples
    from camtool.apis.model import ModelRequest
    from camtool.evaluation import Material
    from camtool.evaluation.explaining import Methods
    from camtool.models.loading import load_input

    if explainer is not None:
        network = explainer.network
        return Material(StoredSamples(store, network.reading, network.preprocess), masks, Methods(explainer))
    if config is None:
        return Material(StoredSamples.described(store), masks)
    return Material(StoredSamples.of(store, load_input(ModelRequest(os.path.expanduser(config)).read_config())), masks)


def made_explainer(
    config: str | None, checkpoint: str | None, output: str | int | list[str | int] | None, device: str, *, random_weights: bool
) -> "Explainer | None":
    """Return the explainer of a run's network; None without a config."""
    from camtool.apis import Explainer

    if config is None:
        return None
    return Explainer(os.path.expanduser(config), checkpoint, device=device, random_weights=random_weights, output=output)


def masks_of(folder: Path | None, *, resample: bool, label: int | None) -> "Masks | None":
    """Return the masks of a folder, None if none is given; DataError if it is no folder."""
    from camtool.analysis.overlap import Masks

    if folder is None:
        return None
    place = Path(os.path.expanduser(folder))
    if not place.is_dir():
        raise DataError(f"No folder '{folder}'; expected one of masks.")
    return Masks(place, resample, label)


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
