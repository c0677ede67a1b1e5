"""Find configs by name: camtool's own configs and mmpretrain's zoo."""

from pathlib import Path

from camtool.config.shipped import own_names, shipped_file
from camtool.errors import ConfigError, closest
from camtool.registry import MODEL_NAMES

ELSEWHERE = ("timm", "torchvision")
"""Sources whose names need a prefix: `timm/NAME`."""


def find_named(name: str) -> tuple[Path, str | None]:
    """Return (config file, address of the zoo's published weights or None) of a name, in any case.

    camtool's own config takes precedence over the zoo's of the same name: it is the same network with the same weights.

    Raises:
        ConfigError: if no model or more than one has this name, or if it needs a prefix.
    """
    shipped = shipped_file(name)
    if shipped is not None:
        return shipped, None
    known = {model.casefold(): model for model in zoo_models()}.get(name.casefold())
    if known is None:
        raise ConfigError(_refusal(name))
    from mmpretrain.apis.model import ModelHub

    try:
        entry = ModelHub.get(known)
    except Exception as error:
        raise ConfigError(f"The zoo's config of '{name}' cannot be read: {' '.join(str(error).split())[:400]}.") from error
    return Path(entry.config.filename), entry.weights


def zoo_models() -> dict[str, str | None]:
    """Return the address of the published weights by name of mmpretrain's zoo; None where there are none."""
    from mmpretrain.apis.model import ModelHub, list_models

    return {name: ModelHub._models_dict[name].weights for name in list_models()}  # its get() would read each config as well


def names_elsewhere(source: str) -> list[str]:
    """Return the names of one of the sources ELSEWHERE, without its prefix. Imports the source's library."""
    return sorted(MODEL_NAMES.get(source)())


def _refusal(name: str) -> str:
    """Return the error message for an unknown or ambiguous name, with the names to type instead."""
    folded, own = name.casefold(), own_names()
    choices = [f"{source}/{known}" for source in ELSEWHERE for known in names_elsewhere(source) if known.casefold() == folded]
    choices += [known for known, path in own.items() if path.stem.casefold() == folded]
    if len(choices) > 1:
        of_zoo = [known for known in zoo_models() if known.casefold().startswith(f"{folded}_") and known.casefold().endswith("in1k")]
        first = ", ".join(map(repr, sorted(of_zoo, key=len)[:4]))  # the plainest recipe has the shortest name
        also = f" Trained by mmpretrain on ImageNet: {first}." if first else ""
        return f"'{name}' is the name of several models; type one of {', '.join(map(repr, choices))}.{also}"
    unknown = f"No config file and no model of the zoo is called '{name}'"
    if choices:
        return f"{unknown}, but there is '{choices[0]}'; type that."
    near = closest(name, [*(known for known in own if "::" not in known), *zoo_models()])
    return f"{unknown}{near}; 'camtool models' lists the names."
