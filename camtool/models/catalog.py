"""Catalog of the models that have a name, and whether their weights are on this machine."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from camtool.config.loading import LoadedConfig, load_config
from camtool.config.names import ELSEWHERE, names_elsewhere, zoo_models
from camtool.config.shipped import OWN, ZOO, own_names
from camtool.config.yaml_config import load_either
from camtool.errors import ConfigError, closest
from camtool.io.packages import PACKAGE
from camtool.models.hub import HUB, find_local
from camtool.models.sources import HUGGING_FACE, find_source

SOURCES = (OWN, ZOO, *ELSEWHERE)
"""Sources of names: camtool's own configs, mmpretrain's zoo, and libraries whose names take a prefix (`timm/NAME`)."""

INSTALLED = "with the installation"
DOWNLOADED = "downloaded"
ABSENT = "to be downloaded"
NOT_INSTALLED = "in a package that is not installed"
NONE = "none: train it"


@dataclass(frozen=True)
class CatalogEntry:
    """A model's name, as CONFIG takes it, and the state of its weights."""

    name: str
    source: str
    """One of SOURCES."""
    weights: str
    """INSTALLED, DOWNLOADED, ABSENT, NOT_INSTALLED or NONE, on this machine at present."""
    address: str | None
    """Address of the weights: a URL, `package://…` or `hf-hub://…`; None if the model includes them or has none."""

    @property
    def at_hand(self) -> bool:
        """Whether the weights load without a download."""
        return self.weights in (INSTALLED, DOWNLOADED)


def catalog(text: str = "", sources: Sequence[str] = (OWN, ZOO)) -> list[CatalogEntry]:
    """Return the models of `sources` with `text` in their names, in any case, by source and name; nothing is downloaded.

    A model of the zoo that camtool has a config of is listed once, as camtool's.

    Raises:
        ConfigError: if there is no such source.
    """
    for source in sources:
        if source not in SOURCES:
            raise ConfigError(f"Unknown source '{source}'{closest(source, SOURCES)}; expected {', '.join(SOURCES)}.")
    listed = (entry for source in SOURCES if source in sources for entry in _entries(source, text.casefold()))
    return list(listed)


def _entries(source: str, text: str) -> Iterator[CatalogEntry]:
    own = own_names()
    if source == OWN:
        addressed = ((name, _address(load_either(str(own[name])))) for name in own if text in name.casefold())
    elif source == ZOO:
        shipped = {name.casefold() for name in own}
        addressed = ((name, of_zoo) for name, of_zoo in zoo_models().items() if text in name.casefold() and name.casefold() not in shipped)
    else:
        names = (f"{source}/{name}" for name in names_elsewhere(source))
        addressed = ((name, _address(load_config(name))) for name in names if text in name.casefold())
    for name, address in addressed:
        yield _entry(name, source, address)


def _address(loaded: LoadedConfig) -> str | None:
    """Return the address from which `load_network` would read the weights; None if there are none."""
    named = loaded.config.get("load_from")
    if named:
        return str(named)
    if loaded.config.model.get("type") == HUGGING_FACE:  # its source queries the hub when it is built
        return f"{HUB}{loaded.config.model.name}"
    return find_source(loaded).published


def _entry(name: str, source: str, address: str | None) -> CatalogEntry:
    from camtool.models.sources.custom_source import FACTORY

    if address == FACTORY:
        return CatalogEntry(name, source, INSTALLED, None)
    if address is None:
        return CatalogEntry(name, source, NONE, None)
    is_local = find_local(address) is not None
    states = (INSTALLED, NOT_INSTALLED) if address.startswith(PACKAGE) else (DOWNLOADED, ABSENT)
    return CatalogEntry(name, source, states[not is_local], address)
