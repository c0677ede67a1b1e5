"""How files are read: by the options of a command, else by the config; of the kind of input that the network takes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from camtool.errors import ConfigError

if TYPE_CHECKING:
    from camtool.apis.model import ModelRequest
    from camtool.cli.file_options import FileOptions
    from camtool.config.loading import LoadedConfig
    from camtool.models.sources.by_kind import AnyReading

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
"""Suffixes of what is a picture and nothing else."""


def reading_files(model: "ModelRequest", options: "FileOptions", files: Sequence[str] = ()) -> "ModelRequest":
    """Return the choice of a network whose config reads files as options say, so that they are part of what a run depends on.

    Args:
        files: that are to be read, where they are known.

    Raises:
        ConfigError: if an option is one of another kind of input, or the network, which tells the kind, cannot be built.
    """
    from camtool.config.overrides import parse_options

    given = options.given()
    if not given:
        return model
    loaded = model.read_config()
    kind = _kind(loaded, files)
    for one in given:
        check_kind(one.option, one.kind, kind, loaded)
    before = model.cfg_options if isinstance(model.cfg_options, Mapping) else parse_options(model.cfg_options)
    own = loaded.config.get("input") or {}
    return replace(model, cfg_options={**before, "input": {**own, **{one.key: one.value for one in given}}})


def reading_by(loaded: "LoadedConfig", files: Sequence[str], *, slices: int | None = None) -> "AnyReading":
    """Return how files are read, as the config says; the network is built only if neither config nor files tell its kind of input.

    Args:
        files: that are to be read.
        slices: of figures of volumes; None: not given.

    Raises:
        ConfigError: if `slices` are given for another kind of input, a setting is invalid, or the network cannot be built.
    """
    from camtool.models.sources.by_kind import files_read

    kind = _kind(loaded, files)
    if slices is not None:
        check_kind("--slices", "volume", kind, loaded)
    return files_read(loaded, kind)


def check_kind(option: str, owner: str, kind: str, loaded: "LoadedConfig") -> None:
    """Raise ConfigError if an option is one of another kind of input than the network takes."""
    if owner != kind:
        raise ConfigError(f"{option} is an option of {owner}s; '{loaded.name}' takes {kind}s.")


def _kind(loaded: "LoadedConfig", files: Sequence[str]) -> str:
    """Return what an input of a config's network is, before it is built: "image", "volume" or "signal"."""
    from camtool.models.loading import kind_of
    from camtool.models.sources.kinds import IMAGE, said_kind

    said = said_kind(loaded)
    if said is not None:
        return said
    are_pictures = bool(files) and all(Path(file).suffix.lower() in _PICTURES for file in files)
    return IMAGE if are_pictures and not loaded.config.get("input") else kind_of(loaded)
