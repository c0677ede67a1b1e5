"""Options of how files are read, declared once for every command that reads pictures, volumes or signals."""

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

IMAGE, VOLUME, SIGNAL = "image", "volume", "signal"


@dataclass(frozen=True)
class Given:
    """A setting that an option gave.

    Example:
        >>> FileOptions(frame=2).given()
        [Given(option='--frame', kind='image', key='frame', value=2)]
    """

    option: str
    kind: str
    """Of the input whose files have it: "image", "volume" or "signal"."""
    key: str
    """Of the config's `input`."""
    value: Any


def as_channels(names: Sequence[str]) -> list[int | str]:
    """Return channels as numbers, where they are written as such, and names.

    Example:
        >>> as_channels(["0", "II"])
        [0, 'II']
    """
    return [int(name) if name.isdecimal() else name for name in names]


def as_numbers(numbers: Sequence[int]) -> int | list[int]:
    """Return several numbers, or the one that is given.

    Example:
        >>> as_numbers([2]), as_numbers([0, 1])
        (2, [0, 1])
    """
    return numbers[0] if len(numbers) == 1 else list(numbers)


def as_fill(text: str) -> float | str:
    """Return what fills gaps as a number, where it is one; else as it is.

    Example:
        >>> as_fill("0"), as_fill("linear")
        (0.0, 'linear')
    """
    try:
        return float(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class _Of:
    """What an option says of files."""

    kind: str
    key: str = ""
    """Of the config's `input`; "": the name of the option."""
    read: Callable[[Any], Any] = lambda value: value
    """From what is typed to the setting."""


@dataclass(frozen=True)
class FileOptions:
    """How files are read, as the options of a command say; None where an option is not given."""

    max_pixels: Annotated[
        int | None,
        typer.Option(
            "--max-pixels", min=4, metavar="N", help="Most pixels of a picture file (250000000); decoding one never takes more than 2 GB."
        ),
        _Of(IMAGE),
    ] = None
    value_range: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--value-range",
            metavar="LOW HIGH",
            help="Values of the picture file that are black and white: 0 4095 for 12 bits stored in 16.",
        ),
        _Of(IMAGE),
    ] = None
    frame: Annotated[
        int | None,
        typer.Option("--frame", min=0, metavar="N", help="Of a file with several frames or pages: which, counted from 0."),
        _Of(IMAGE),
    ] = None
    spacing: Annotated[
        tuple[float, float, float] | None,
        typer.Option(
            "--spacing",
            metavar="X Y Z",
            help="Volumes in TIFF or .npy files: size of a voxel in millimetres, by axis of the file's array.",
        ),
        _Of(VOLUME),
    ] = None
    series: Annotated[
        str | None,
        typer.Option("--series", metavar="NAME", help="Of a DICOM folder with several series: its number, description or UID."),
        _Of(VOLUME),
    ] = None
    volume: Annotated[
        list[int] | None,
        typer.Option(
            "--volume", min=0, metavar="N…", help="Of a file with several volumes: which, counted from 0; of 5-D files a number an axis."
        ),
        _Of(VOLUME, read=as_numbers),
    ] = None
    volume_axis: Annotated[
        list[int] | None,
        typer.Option(
            "--volume-axis",
            min=0,
            metavar="N…",
            help="Of a .npy file of four axes or more: which of them, from 0, number its volumes; with --volume.",
        ),
        _Of(VOLUME, read=as_numbers),
    ] = None
    nan_as: Annotated[
        float | None,
        typer.Option("--nan-as", metavar="VALUE", help="Volumes: what stands in place of voxels that are NaN, which are refused else."),
        _Of(VOLUME),
    ] = None
    sampling_rate: Annotated[
        float | None,
        typer.Option("--sampling-rate", metavar="HZ", help="Signals: samples a second, where the file does not say it."),
        _Of(SIGNAL, "rate"),
    ] = None
    channels: Annotated[
        list[str] | None,
        typer.Option("--channels", metavar="NAME…", help="Signals: channels by name, or number from 0. Left out: all."),
        _Of(SIGNAL, read=as_channels),
    ] = None
    part: Annotated[
        str | None,
        typer.Option("--part", metavar="NAME", help="Signals: an array of an .npz file, or a group of waveforms of a DICOM file."),
        _Of(SIGNAL),
    ] = None
    fill: Annotated[
        str | None,
        typer.Option("--fill", metavar="VALUE", help="Signals: what stands in place of gaps, a number, or linear; refused else."),
        _Of(SIGNAL, read=as_fill),
    ] = None
    start: Annotated[
        float | None, typer.Option("--start", metavar="SECONDS", help="Signals: time of the first value that is read."), _Of(SIGNAL)
    ] = None
    duration: Annotated[
        float | None, typer.Option("--duration", metavar="SECONDS", help="Signals: seconds that are read."), _Of(SIGNAL)
    ] = None

    def given(self) -> list[Given]:
        """Return the settings that options gave, in the order of the options."""
        found = []
        for name, parameter in _OPTIONS.items():
            value = getattr(self, name)
            if value is not None and value != []:
                option, of = parameter.annotation.__metadata__
                found.append(Given(option.default, of.kind, of.key or name, of.read(value)))  # Typer keeps an option's name as its default
        return found


_OPTIONS = inspect.signature(FileOptions).parameters
AS_THEY_ARE = FileOptions()
"""No option is given."""


def reads_files(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the options of FileOptions in place of its parameter `files`, which is made of them."""
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def with_options(**typed: Any) -> None:
        files = FileOptions(**{name: typed.pop(name) for name in _OPTIONS})
        command(**typed, files=files)

    parameters: list[inspect.Parameter] = []
    for name, parameter in signature.parameters.items():
        parameters += _OPTIONS.values() if name == "files" else [parameter]
    vars(with_options)["__signature__"] = signature.replace(parameters=parameters)
    return with_options
