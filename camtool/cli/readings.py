"""How files are read: by the options of a command, else by the config; of the kind of input that the network takes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camtool.errors import ConfigError

if TYPE_CHECKING:
    from camtool.apis.model import ModelRequest
    from camtool.config.loading import LoadedConfig
    from camtool.models.sources.by_kind import AnyReading

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
"""Suffixes of what is a picture and nothing else."""

_OPTIONS: Mapping[str, Mapping[str, str]] = {
    "image": {"--max-pixels": "max_pixels", "--value-range": "value_range", "--frame": "frame"},
    "volume": {
        "--spacing": "spacing",
        "--series": "series",
        "--volume": "volume",
        "--volume-axis": "volume_axis",
        "--nan-as": "nan_as",
        "--slices": "",
    },
    "signal": {
        "--sampling-rate": "rate",
        "--channels": "channels",
        "--part": "part",
        "--fill": "fill",
        "--start": "start",
        "--duration": "duration",
    },
}
"""By kind of input its options, and what they are called in its reading; "" for those of its figures."""


def reading_by(loaded: "LoadedConfig", files: Sequence[str], given: Mapping[str, Any]) -> "AnyReading":
    """Return how files are read.

    Args:
        files: that are to be read.
        given: by option its value, None if it was not given.

    Raises:
        ConfigError: if an option is one of another kind of input, or the network, which tells the kind, cannot be built.
        ImageError: if a value is invalid.
    """
    from camtool.io.pillow import MOST_PIXELS, Reading
    from camtool.models.sources.by_kind import files_read

    kind = _kind(loaded, files)
    given = {option: value for option, value in given.items() if value is not None}
    for option in given:
        _check_kind(option, kind, loaded)
    values = {_OPTIONS[kind][option]: value for option, value in given.items() if _OPTIONS[kind][option]}
    of_config = files_read(loaded, kind)
    if isinstance(of_config, Reading):
        return Reading(values.get("max_pixels") or MOST_PIXELS, values.get("value_range"), frame=values.get("frame")).over(of_config)
    return replace(of_config, **values)


def reading_files(model: "ModelRequest", **given: Any) -> "ModelRequest":
    """Return the choice of a network whose config reads volumes or signals as options say, so that they are part of what a run depends on.

    Args:
        given: by key of the config's `input` its value, as of the command line; None if it was not given.

    Raises:
        ConfigError: if an option is one of another kind of input, or the network, which tells the kind, cannot be built.
    """
    from camtool.config.overrides import parse_options

    values = {key: value for key, value in given.items() if value is not None}
    if not values:
        return model
    loaded = model.read_config()
    kind = _kind(loaded, ())
    for key in values:
        _check_kind(next(option for options in _OPTIONS.values() for option, name in options.items() if name == key), kind, loaded)
    if "channels" in values:
        values["channels"] = list(as_channels(values["channels"]) or ())
    if "fill" in values:
        values["fill"] = as_fill(values["fill"])
    before = model.cfg_options if isinstance(model.cfg_options, Mapping) else parse_options(model.cfg_options)
    return replace(model, cfg_options={**before, "input": {**(loaded.config.get("input") or {}), **values}})


def as_channels(names: Sequence[str] | None) -> tuple[int | str, ...] | None:
    """Return channels as numbers, where they are written as such, and names; None if none are given."""
    return tuple(int(name) if name.isdecimal() else name for name in names) if names else None


def as_fill(text: str | None) -> float | str | None:
    """Return what fills gaps as a number, where it is one; else as it is.

    Example:
        >>> as_fill("0"), as_fill("linear"), as_fill(None)
        (0.0, 'linear', None)
    """
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _kind(loaded: "LoadedConfig", files: Sequence[str]) -> str:
    """Return what an input of a config's network is, before it is built: "image", "volume" or "signal"."""
    from camtool.models.loading import kind_of
    from camtool.models.sources.kinds import IMAGE, said_kind

    said = said_kind(loaded)
    if said is not None:
        return said
    return IMAGE if files and all(Path(file).suffix.lower() in _PICTURES for file in files) else kind_of(loaded)


def _check_kind(option: str, kind: str, loaded: "LoadedConfig") -> None:
    """Raise ConfigError if an option is one of another kind of input than the network takes."""
    owner = next(other for other, options in _OPTIONS.items() if option in options)
    if owner != kind:
        raise ConfigError(f"{option} is an option of {owner}s; '{loaded.name}' takes {kind}s.")
