"""Subjects of explanations, images, volumes and signals: loaded as the network's kind of input demands."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from camtool.apis.images import ImageLike, NamedPicture, PictureFile, load_image, of_bands
from camtool.apis.picture_canvas import PictureCanvas
from camtool.apis.settings import ExplainerSettings
from camtool.apis.signals import NamedSignal, SignalCanvas, load_signal
from camtool.apis.volumes import NamedVolume, VolumeCanvas, load_volume
from camtool.datasets.splits import SplitSample
from camtool.errors import ImageError, MethodError
from camtool.io.pillow import Reading
from camtool.io.signals import Signal, SignalReading
from camtool.io.volumes import Volume, VolumeReading
from camtool.models.sources.by_kind import AnyReading

Subject: TypeAlias = NamedPicture | NamedVolume | NamedSignal
"""What is explained."""

SubjectLike: TypeAlias = ImageLike | Volume | Signal | NamedVolume | NamedSignal
"""A file's path, alone or with how it is read, or what is in one: an array, a PIL image, a tensor, a Volume, a Signal."""

FORMATS_OF: Mapping[type[AnyReading], Mapping[str, Collection[str]]] = {
    Reading: PictureCanvas.formats,
    VolumeReading: VolumeCanvas.formats,
    SignalReading: SignalCanvas.formats,
}
"""By how files are read the files that maps of what is in them are written as: by suffix the settings that they show."""


@dataclass
class Prepared:
    """An image, a volume or a signal that was read and preprocessed."""

    picture: Subject
    inputs: Tensor
    """(1, c, *spatial), on the CPU."""
    warnings: list[str]
    label: int | None = None
    """The true class; None if it is not known."""


def channels_apart(settings: ExplainerSettings, reading: AnyReading) -> bool | None:
    """Return whether figures have a map for each channel, as `CAM.by_channel`: of signals alone, and not of windows.

    Raises:
        MethodError: if that is asked for of images or volumes.
    """
    if not isinstance(reading, SignalReading):
        if settings.by_channel:
            kind = "volumes" if isinstance(reading, VolumeReading) else "images"
            raise MethodError(
                f"Expected a network on signals, whose figures have a map for each channel, got one on {kind}; leave by_channel out. In a "
                "program 'CAM(…).by_channel = True' gives the maps of any network."
            )
        return False
    return settings.by_channel if settings.window is None else False


def subject_of(sample: SplitSample) -> Subject:
    """Return what a sample of a data set holds, with its name."""
    if isinstance(sample.content, Volume):
        return NamedVolume(sample.content)
    return NamedSignal(sample.content) if isinstance(sample.content, Signal) else NamedPicture(sample.content, sample.name)


def digest_of(subject: Subject) -> str:
    """Return the SHA-256 of a sample's values."""
    content = subject.content
    return hashlib.sha256(np.ascontiguousarray(content.values if isinstance(content, (Volume, Signal)) else content).tobytes()).hexdigest()


def load_subject(content: SubjectLike, number: int, reading: AnyReading, shown: Sequence[int] = ()) -> Subject:
    """Return an image, a volume or a signal, as `reading` tells; without a file its name has the number.

    Args:
        reading: how files are read, for what the file itself does not say.
        shown: channels of a picture that are looked at.

    Raises:
        ImageError: if the file cannot be read, or what is given is of another kind.
    """
    if isinstance(reading, Reading):
        picture = load_image(content, number, reading)  # type: ignore[arg-type]  # it refuses others itself
        return of_bands(picture.bands, picture.name, shown) if picture.bands is not None and shown else picture
    given: Any = content
    if isinstance(content, PictureFile):
        given, reading = content.path, content.reading
    if isinstance(given, NamedPicture):
        kind = "volume" if isinstance(reading, VolumeReading) else "signal"
        raise ImageError(f"Expected a {kind}, which is what the network takes, got the picture '{given.name}'.")
    if isinstance(reading, VolumeReading):
        return load_volume(given, number, reading)
    assert isinstance(reading, SignalReading)
    return load_signal(given, number, reading)
