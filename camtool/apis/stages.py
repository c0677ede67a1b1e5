"""Stages: what the maps of a store's rows are drawn on, by how the network saw pictures, volumes and signals."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from camtool.apis.canvas import Canvas
from camtool.apis.images import NamedPicture
from camtool.apis.picture_canvas import PictureCanvas
from camtool.apis.signals import NamedSignal, SignalCanvas
from camtool.apis.subjects import Subject
from camtool.apis.volumes import NamedVolume, VolumeCanvas
from camtool.errors import ConfigError, DataError, ImageError, times, warn
from camtool.io.images import Picture
from camtool.io.pillow import Reading
from camtool.io.signals import SignalReading
from camtool.io.volumes import VolumeReading
from camtool.models.sources.by_kind import AnyReading, NetworkInput
from camtool.models.sources.preprocessing import BandPreprocess
from camtool.models.sources.signal_preprocessing import SignalPreprocess
from camtool.models.sources.volume_preprocessing import VolumePreprocess
from camtool.store import MapRow
from camtool.visualization.inverse_preprocessing import Geometry, measure_geometry, stretched

CROP_UNKNOWN = "what was cropped is not known"
"""Remark on a map that is stretched over a whole picture."""


class Stage(ABC):
    """Lays maps over samples that were read again.

    Args:
        samples: how the network sees samples.
        original: draw on whole pictures, not on the part that the network saw.
        guess: where nothing says which part of a picture was seen, take all of it, with a warning.
    """

    def __init__(self, samples: NetworkInput, *, original: bool, guess: bool) -> None:
        self._samples, self._original, self._guess = samples, original, guess

    @abstractmethod
    def laid(self, row: MapRow, subject: Subject, saliency: np.ndarray) -> tuple[Canvas, np.ndarray, str]:
        """Return (canvas, map on it, remark); "" for no remark.

        Args:
            saliency: over the network's input, in [0, 1].

        Raises:
            DataError: if the map is not over an input that the preprocessing makes of this sample.
        """


class PictureStage(Stage):
    """Where the network's input lies on a picture is what the row says, else what the preprocessing does; of neither, all of it."""

    def __init__(self, samples: NetworkInput, *, original: bool, guess: bool) -> None:
        super().__init__(samples, original=original, guess=guess)
        self._geometries: dict[tuple[int, int], Geometry] = {}  # by (height, width): a data set has few
        self._warned = False

    def laid(self, row: MapRow, subject: Subject, saliency: np.ndarray) -> tuple[Canvas, np.ndarray, str]:
        assert isinstance(subject, NamedPicture)
        if saliency.ndim != 2:
            raise DataError(f"'{row['path']}' has a map of {times(saliency.shape)}; expected two axes, as those of a picture.")
        picture, size = subject.picture, (saliency.shape[0], saliency.shape[1])
        geometry = self._geometry(row, picture, size)
        known = row.values.get("geometry") or self._samples.preprocess is not None or picture.shape[:2] == size
        canvas = PictureCanvas(picture, geometry) if self._original else PictureCanvas(geometry.seen_part(picture))
        return canvas, canvas.placed(saliency), "" if known else CROP_UNKNOWN

    def _geometry(self, row: MapRow, picture: Picture, seen_size: tuple[int, int]) -> Geometry:
        height, width = picture.shape[:2]
        stored = row.values.get("geometry")
        if stored:
            return Geometry(np.array(stored, dtype=np.float64).reshape(2, 3), seen_size, (height, width))
        preprocess = self._samples.preprocess
        if preprocess is None:
            if not self._guess and (height, width) != seen_size:
                raise DataError(
                    f"'{row['path']}' is of another size than the network's input, and which part of it was seen is not known. Give "
                    "--config CONFIG."
                )
            if not self._warned and (height, width) != seen_size:
                warn("The store does not say which part of a picture the network saw; maps lie over whole pictures. Give --config CONFIG.")
                self._warned = True
            return stretched(seen_size, (height, width))
        if (height, width) not in self._geometries:
            measured = measure_geometry(picture, preprocess.of_picture if isinstance(preprocess, BandPreprocess) else preprocess)
            if measured.seen_size != seen_size:
                raise DataError(
                    f"The config's network sees {times(measured.seen_size)} pixels, the maps are of {times(seen_size)}; expected the "
                    "config of the run."
                )
            self._geometries[height, width] = measured
        return self._geometries[height, width]


class WholeStage(Stage):
    """Volumes and signals are drawn whole: where the network's input lies on them is what a described preprocessing says."""

    @abstractmethod
    def canvas(self, subject: Subject) -> Canvas:
        """Return what maps are drawn on; a preprocessing that is not known is taken for none."""

    def laid(self, row: MapRow, subject: Subject, saliency: np.ndarray) -> tuple[Canvas, np.ndarray, str]:
        canvas = self.canvas(subject)
        try:
            return canvas, canvas.placed(saliency), ""
        except (ConfigError, ImageError) as error:
            what = f"'{row['path']}' has a map over an input of {times(saliency.shape)}"
            if self._samples.preprocess is None:
                raise DataError(f"{what}, and the store does not say how that was made of it. Give --config CONFIG.") from error
            raise DataError(f"{what}, which the preprocessing does not make of it; expected --config to be that of the run.") from error


class VolumeStage(WholeStage):
    """Maps over scans."""

    def canvas(self, subject: Subject) -> VolumeCanvas:
        assert isinstance(subject, NamedVolume)
        preprocess = self._samples.preprocess
        return VolumeCanvas(subject.volume, preprocess if isinstance(preprocess, VolumePreprocess) else VolumePreprocess({}))


class SignalStage(WholeStage):
    """Maps over records."""

    def canvas(self, subject: Subject) -> SignalCanvas:
        assert isinstance(subject, NamedSignal)
        preprocess = self._samples.preprocess
        return SignalCanvas(subject.signal, preprocess if isinstance(preprocess, SignalPreprocess) else SignalPreprocess({}))


_BY_READING: Mapping[type[AnyReading], type[Stage]] = {Reading: PictureStage, VolumeReading: VolumeStage, SignalReading: SignalStage}


def stage_for(samples: NetworkInput, *, original: bool, guess: bool) -> Stage:
    """Return the stage for samples of this kind; arguments as of `Stage`."""
    return _BY_READING[type(samples.reading)](samples, original=original, guess=guess)
