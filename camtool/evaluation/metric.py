"""Metrics by name: what each needs, which way is better, and its protocol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from camtool import metrics
from camtool.errors import DataError, closest
from camtool.evaluation import counted, explaining
from camtool.evaluation.counted import BOXES, Counted
from camtool.metrics.removal import both_curves

MAP, MASK, NETWORK, METHOD = "map", "mask", "network", "method"
"""What a metric needs: the map alone, a mask of each sample as well, the network as well, or the network and the method itself."""

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.9)
"""Shares that ROAD removes."""


@dataclass(frozen=True)
class Metric:
    """A metric with its protocol.

    Example:
        >>> from camtool.evaluation import chosen_metrics
        >>> (metric,) = chosen_metrics(["iou"], {"iou.threshold": 0.5})
        >>> metric.name, metric.needs, metric.better, metric.protocol
        ('iou', 'mask', 'higher', {'threshold': 0.5})
    """

    name: str
    function: Callable[..., Any]
    """`function(maps, **protocol)`, `function(maps, masks, **protocol)`, `function(model, inputs, maps, targets, **protocol)` or
    `function(batch, **protocol)` of `camtool.evaluation.explaining`; returns n scores, or the curves of which they are made, or, of a
    batch, n scores by method. With `counted` `function(map, mask or boxes, **protocol)` of one sample, (1, *spatial) each and
    (k, rank, 2); returns its `Counts`."""
    needs: str
    better: str
    """"higher" or "lower"; "" where neither is better by itself."""
    protocol: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the function, as they stand in the rows of scores."""
    seeded: bool = False
    """Whether the function takes `seed`."""
    counted: Counted | None = None
    """Of a metric of the data set as a whole: how its figure is made of the samples'; None: it is their mean."""


_HIGHER, _LOWER, _NEITHER = "higher", "lower", ""

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("deletion", metrics.deletion_curves, NETWORK, _LOWER, {"step": None, "substrate": 0.0}, seeded=True),
        Metric("insertion", metrics.insertion_curves, NETWORK, _HIGHER, {"step": None, "substrate": "blur"}, seeded=True),
        Metric("road", both_curves, NETWORK, _HIGHER, {"fractions": FRACTIONS}, seeded=True),
        Metric("average-drop", metrics.average_drop, NETWORK, _LOWER),
        Metric("increase", metrics.increase, NETWORK, _HIGHER),
        Metric("gain", metrics.gain, NETWORK, _HIGHER),
        Metric("adcc", explaining.adcc, METHOD, _HIGHER),
        Metric("faithfulness-correlation", metrics.faithfulness_correlation, NETWORK, _HIGHER, {"subset": None, "runs": 100}, seeded=True),
        Metric("infidelity", metrics.infidelity, NETWORK, _LOWER, {"samples": 10}, seeded=True),
        Metric("max-sensitivity", explaining.max_sensitivity, METHOD, _LOWER, {"radius": 0.02, "samples": 10}, seeded=True),
        Metric("randomisation", explaining.randomisation, METHOD, _LOWER, {"cascading": True}, seeded=True),
        Metric("emprt", explaining.emprt, METHOD, _HIGHER, {"bins": 100}, seeded=True),
        Metric("energy", metrics.energy, MASK, _HIGHER),
        Metric("pointing", metrics.pointing, MASK, _HIGHER, {"tolerance": 15}, seeded=True),
        Metric("rank-accuracy", metrics.rank_accuracy, MASK, _HIGHER),
        Metric("wioa", metrics.wioa, MASK, _HIGHER, {"threshold": "otsu"}),
        Metric("ioa", metrics.ioa, MASK, _HIGHER, {"threshold": "otsu"}),
        Metric("iou", metrics.iou, MASK, _HIGHER, {"threshold": "otsu"}),
        Metric("wsol", counted.box_counts, MASK, _HIGHER, {"version": 2, "step": 0.001}, counted=Counted(BOXES, counted.box_figure)),
        Metric("pxap", counted.pixel_counts, MASK, _HIGHER, {"step": 0.001}, counted=Counted(counted.MASK, counted.pixel_figure)),
        Metric("sparseness", metrics.sparseness, MAP, _NEITHER),
        Metric("complexity", metrics.complexity, MAP, _NEITHER),
    )
}
"""By name."""


def chosen_metrics(names: Sequence[str], settings: Mapping[str, Any] | None = None) -> list[Metric]:
    """Return metrics by name, in the order asked for; `all` is each that stands.

    Args:
        settings: values of protocols, by `metric.setting`.

    Raises:
        DataError: if there is no such metric, or none of its settings is called so.

    Example:
        >>> from camtool.evaluation import chosen_metrics
        >>> [metric.name for metric in chosen_metrics(["iou", "ioa"])]
        ['iou', 'ioa']
    """
    if not names:
        raise DataError(f"Expected at least one metric, of {', '.join(METRICS)}, or all.")
    asked = list(dict.fromkeys(METRICS if "all" in names else names))
    found: dict[str, Metric] = {}
    for name in asked:
        if name not in METRICS:
            raise DataError(f"No metric '{name}'{closest(name, METRICS)}; expected {', '.join(METRICS)}, or all.")
        found[name] = METRICS[name]
    for key, value in (settings or {}).items():
        name, _, setting = key.partition(".")
        if name not in found or setting not in found[name].protocol:
            known = [f"{metric.name}.{one}" for metric in found.values() for one in metric.protocol]
            raise DataError(f"No setting '{key}'{closest(key, known)}; expected {', '.join(known) or 'none: these metrics have none'}.")
        metric = found[name]
        _check_setting(key, value, metric.protocol[setting])
        found[name] = replace(metric, protocol={**metric.protocol, setting: value})
    return list(found.values())


_OR_WORDS = ("threshold", "substrate")
"""Settings that are numbers or names."""


def _check_setting(key: str, value: Any, default: Any) -> None:
    """Raise DataError if a setting is not of its kind; whether it is in its range the metric says."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    is_whole = is_number and isinstance(value, int)
    if key.rpartition(".")[2] in _OR_WORDS:
        fits, kind = is_number or isinstance(value, str), "a number or a name"
    elif isinstance(default, bool):
        fits, kind = isinstance(value, bool), "True or False"
    elif isinstance(default, Sequence):
        fits, kind = isinstance(value, Sequence) and all(isinstance(one, (int, float)) for one in value), "numbers [0.1, 0.5]"
    elif isinstance(default, float) or key == "pointing.tolerance":  # 7.5 positions are a distance, too
        fits, kind = is_number, "a number"
    else:
        fits, kind = is_whole or (value is None and default is None), "a whole number"
    if not fits:
        raise DataError(f"Expected {key} as {kind}, got {value!r}.")


def check_needs(metrics: Sequence[Metric], *, masks: bool, network: bool) -> None:
    """Raise DataError if a metric needs what is not given.

    Example:
        >>> from camtool.evaluation import chosen_metrics
        >>> check_needs(chosen_metrics(["iou"]), masks=True, network=False)
    """
    for metric in metrics:
        if metric.counted is not None and metric.counted.against == BOXES and not masks:
            raise DataError(
                f"The metric '{metric.name}' compares maps with boxes; give --annotations PATH and --annotations-kind KIND, or --masks "
                "DIR, and --config CONFIG."
            )
        if metric.needs == MASK and not masks:
            raise DataError(f"The metric '{metric.name}' compares maps with masks; give --masks DIR and --config CONFIG.")
        if metric.needs in (NETWORK, METHOD) and not network:
            raise DataError(f"The metric '{metric.name}' runs the network again; give --config CONFIG, and its checkpoint.")
