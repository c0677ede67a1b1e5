"""Samples of a store that are those of a config's data set: some are in no file, and some have masks of their own."""

from dataclasses import dataclass
from functools import cached_property

from camtool.analysis.stored_samples import StoredSamples
from camtool.apis.subjects import Subject, digest_of, subject_of
from camtool.config.loading import LoadedConfig
from camtool.datasets.annotations import Annotations, sample_annotations
from camtool.datasets.splits import Samples
from camtool.errors import DataError, ImageError
from camtool.models.sources.by_kind import NetworkInput
from camtool.store import MapRow, Store


def has_masks(loaded: LoadedConfig, split: str | None) -> bool:
    """Return whether a config has a data set of this split whose samples, by the first one, have masks; None: of no split."""
    if split is None:
        return False
    try:
        return "mask" in Samples(loaded.config, split, loaded.name).answers(0)
    except DataError:
        return False


@dataclass(frozen=True)
class SplitSamples(StoredSamples):
    """Reads the samples of a run over `config:val` or `config:train`.

    Args:
        loaded: the run's config, which names the data set.
        split: "val" or "train".
    """

    loaded: LoadedConfig
    split: str

    @cached_property
    def dataset(self) -> Samples:
        """The split; DataError if the config has none, or it cannot be built."""
        return Samples(self.loaded.config, self.split, self.loaded.name)

    def masks(self) -> Annotations | None:
        """Return the samples' own masks; None where the first one has none, or the data set is not there."""
        return sample_annotations(self.dataset) if has_masks(self.loaded, self.split) else None

    def subject(self, row: MapRow) -> Subject:
        if isinstance(self.store.run.get("root"), str):
            return super().subject(row)
        subject = subject_of(self.dataset.read(row["id"], self.reading))
        if row["digest"] not in (None, digest_of(subject)):
            raise ImageError(f"'{row['path']}' of '{self.loaded.name}' is not what was explained; expected the config of the run.")
        return subject


def samples_of(store: Store, given: NetworkInput, loaded: LoadedConfig) -> StoredSamples:
    """Return the reader of a store's samples: of files, or of a split of the config's data set.

    Args:
        given: how the config's network sees samples.

    Raises:
        DataError: if the preprocessing is not known.
    """
    samples = StoredSamples.of(store, given)
    split = dict(store.run.get("fingerprint", {}).get("data") or {}).get("split")
    return samples if split is None else SplitSamples(store, samples.reading, samples.preprocess, loaded, split)
