"""The explainer of some of a run's methods at one layer, with the settings that the run had: those of its description, checked."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from camtool.analysis.sources import Source
from camtool.apis import Explainer
from camtool.errors import CamtoolError, DataError, some
from camtool.methods import BaseMethod, build_method
from camtool.methods._base import ATTENTION, INPUT
from camtool.models import Network
from camtool.registry import LAYOUTS, METHODS, build
from camtool.runs.fingerprint import differences, plain, settings_of

_AS_THEY_ARE = ("call", "output", "aug_smooth", "eigen_smooth", "input_axes", "window", "overlap")
"""Options of an explainer that a run's description has word for word."""


@dataclass(frozen=True)
class RunExplainer:
    """An explainer of methods of a run, and what each is called in its results."""

    explainer: Explainer
    names: Sequence[str]


def explainer_of_run(network: Network, run: Mapping[str, Any], given: Explainer, sources: Sequence[Source]) -> RunExplainer:
    """Return an explainer of a run's methods at one layer, with their names in the order of `sources`.

    Args:
        network: that of the run, or another one of the same architecture.
        run: description of the run.
        given: explainer of the run's config, whose own methods may have settings that no description tells.
        sources: of one layer, besides those that need none.

    Raises:
        DataError: if a setting of the run cannot be had again.
    """
    fingerprint: dict[str, Any] = dict(run.get("fingerprint") or {})
    described = fingerprint.get("methods") or {}
    methods = [_method(source.method, described.get(source.method), given) for source in sources]
    options = dict(fingerprint.get("options") or {})
    again: dict[str, Any] = {name: options[name] for name in _AS_THEY_ARE if options.get(name) is not None}
    if options.get("layout") is not None and options["layout"] != settings_of(given)["options"]["layout"]:
        again["layout"] = _made(LAYOUTS, options["layout"])
    if fingerprint.get("placement"):
        again["placement"] = fingerprint["placement"]["kind"]
    layers = next((source.layer for source in sources if source.layer not in (ATTENTION, INPUT)), None)
    # A row is of one layer, before layers are fused.
    explainer = Explainer(network, method=methods, target_layers=layers, fuse="mean", **again)
    asked: dict[str, Any] = {"options": options, "placement": fingerprint.get("placement")}
    found = settings_of(explainer)
    # A single layer is not fused, speed alters no map, and what an older run's description lacks cannot be compared.
    for name in ("fuse", "speed", *(name for name in found["options"] if name not in options)):
        asked["options"].pop(name, None)
        found["options"].pop(name, None)
    changed = list(differences(asked, {name: found[name] for name in asked})) if fingerprint else []
    if changed:
        raise DataError(f"The run's settings cannot be had again ({some(changed, 3)}); give the config of the run, with what it was told.")
    known = {name: plain(method) for name, method in explainer.cam.methods.items()}
    return RunExplainer(explainer, [next(name for name, own in known.items() if own == plain(method)) for method in methods])


def _method(name: str, described: Any, given: Explainer) -> BaseMethod:
    """Return a run's method: that of the config if it is the same, else one of the settings described; DataError if it is another."""
    own = given.cam.methods.get(name)
    if described is None:
        return own or build_method(name)
    for known in given.cam.methods.values():
        if plain(known) == described:
            return known
    try:
        made = _made(METHODS, described)
        changed = list(differences(described, plain(made)))
    except (CamtoolError, TypeError, ValueError) as error:
        changed = [str(error)]
    if changed:
        raise DataError(
            f"The method '{name}' cannot be asked again as in the run ({some(changed, 3)}); give the config that has its settings."
        )
    assert isinstance(made, BaseMethod)
    return made


def _made(registry: Any, described: Any) -> Any:
    """Return the object of a description by `camtool.runs.fingerprint.plain`: its class called with what has the names of parameters."""
    if isinstance(described, list):
        return tuple(_made(registry, one) for one in described)
    if not isinstance(described, Mapping) or "type" not in described:
        return described
    known = {registered.__qualname__: registered for registered in registry.module_dict.values()}
    if described["type"] not in known:
        raise DataError(f"no '{described['type']}' is known")
    made = known[described["type"]]
    parameters = [name for name in inspect.signature(made).parameters if name in described]
    return build(registry, {"type": described["type"], **{name: _made(registry, described[name]) for name in parameters}})
