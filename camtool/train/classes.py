"""Whether network and data sets have as many classes as each other."""

from typing import Any

from torch import nn

from camtool.errors import ConfigError
from camtool.models.classes import names_in_dataset


def check_classes(network: nn.Module, key: str, dataset: Any) -> None:
    """Raise ConfigError where the head decides between more or fewer classes than the data set of the config's `key` has.

    A head that does not say how many, or that gives several labels, is let be, and so is a data set that names no classes.
    """
    head = getattr(network, "head", None)
    classes = getattr(head, "num_classes", None)
    names = names_in_dataset(dataset)
    if classes is None or names is None or any("MultiLabel" in kind.__name__ for kind in type(head).__mro__):
        return
    if len(names) != classes:
        raise ConfigError(
            f"The data set of '{key}' has {len(names)} classes, the network's head {classes}. Set model.head.num_classes, or "
            f"model.num_classes where the model is one of camtool's or the config the YAML form, to {len(names)}; or give the right data."
        )
