"""Names of models without a path or a source: of camtool's own configs and of mmpretrain's zoo."""

from pathlib import Path

from camtool.config.shipped import own_names, shipped_file
from camtool.errors import ConfigError, closest
from camtool.registry import MODEL_NAMES

ELSEWHERE = ("timm", "torchvision")
"""Sources whose names need a prefix: `timm/NAME`."""


def find_named(name: str) -> tuple[Path, str | None]:
    """Return (config file, published weights where it is the zoo's) of a name, in any case.

    One of camtool's own configs comes before the zoo's of the same name: it is the same network with the same weights.

    Raises:
        ConfigError: if nothing has this name, if several have, or if it is only known with a prefix.
    """
    shipped = shipped_file(name)
    if shipped is not None:
        return shipped, None
    known = {known.casefold(): known for known in zoo_models()}.get(name.casefold())
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
    """Return what is said of a name that is not enough, with what to type in its place."""
    folded, own = name.casefold(), own_names()
    choices = [f"{source}/{known}" for source in ELSEWHERE for known in names_elsewhere(source) if known.casefold() == folded]
    choices += [known for known, path in own.items() if path.stem.casefold() == folded]
    if len(choices) > 1:
        return f"'{name}' is the name of several models; type one of {', '.join(map(repr, choices))}."
    unknown = f"No config file and no model of the zoo is called '{name}'"
    if choices:
        return f"{unknown}, but there is '{choices[0]}'; type that."
    near = closest(name, [*(known for known in own if "::" not in known), *zoo_models()])
    return f"{unknown}{near}; 'camtool models' lists the names."
