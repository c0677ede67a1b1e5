"""Layer paths: "backbone.layers[-1].ln1" to module and back.

A path is parsed step by step and looked up among registered child modules only: no attribute access, no `eval`.
"""

import re
from collections.abc import Iterator, Sequence

from torch import nn

from camtool.errors import LayerError, closest
from camtool.instrumentation.module_state import is_scripted

ENTRANCE = ":input"
"""Behind a layer's path: the layer's input; see `entrances`."""
_STEP = re.compile(r"\[(-?\d+)\]|(?:^|\.)([^.\[\]:]+)|:input$")


def find_layer(model: nn.Module, path: str) -> tuple[str, nn.Module]:
    """Return the canonical path and the module at `path`.

    `layer4[-1].conv3`, `layer4.2.conv3` and `layer4[2].conv3` name the same layer of a ResNet-50; the last is canonical. With ":input"
    behind it a path names a layer's input, an nn.Sequential's as that of its first part; the module is the layer, inside of `entrances`
    its part that the input passes through.

    Raises:
        LayerError: if the path cannot be parsed, or names no module; the message has the nearest names.

    Example:
        >>> from torch import nn
        >>> from camtool.instrumentation.layer_paths import find_layer
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.ReLU(), nn.Dropout()))
        >>> find_layer(model, "[-1].0")
        ('[1][0]', ReLU())
    """
    if path.endswith(ENTRANCE):
        canonical, module = _first_part(*find_layer(model, path.removesuffix(ENTRANCE)))
        return canonical + ENTRANCE, module._modules.get(ENTRANCE) or module
    module, canonical, end = model, "", 0
    for step in _STEP.finditer(path):
        if step.start() != end:
            break
        child = _child_name(module, step[1], step[2])
        if child is None:
            raise LayerError(_no_such_layer(model, path, module, canonical))
        module = module._modules[child]  # type: ignore[assignment]  # _child_name names a module that is not None
        canonical, end = _join(canonical, child), step.end()
    if not path or end != len(path):
        raise LayerError(
            f"Cannot read the layer path '{path}' behind '{path[:end]}'; expected names, dots and [indices], "
            "as in 'backbone.layer4[-1].conv3'."
        )
    return canonical, module


def module_at(model: nn.Module, path: str) -> nn.Module:
    """Return the module at a path; that at "" is the network itself. LayerError as of `find_layer`."""
    return find_layer(model, path)[1] if path else model


def path_of(model: nn.Module, layer: nn.Module) -> str:
    """Return the canonical path of a module object inside `model`; LayerError if it is not in it.

    Example:
        >>> from torch import nn
        >>> from camtool.instrumentation.layer_paths import path_of
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> path_of(model, model[1])
        '[1]'
    """
    for path, module in walk(model):
        if module is layer:
            return path
    raise LayerError(
        f"The layer {type(layer).__name__} given as a module is not part of this {type(model).__name__}; give a module of it, or a path."
    )


def find_layers(model: nn.Module, layers: Sequence[str | nn.Module]) -> dict[str, nn.Module]:
    """Return modules by canonical path, of paths or modules; LayerError if there is no such layer, or hooks do not see it.

    Example:
        >>> from torch import nn
        >>> from camtool.instrumentation.layer_paths import find_layers
        >>> find_layers(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()), ["[-1]"])
        {'[1]': ReLU()}
    """
    found = dict(find_layer(model, path_of(model, layer) if isinstance(layer, nn.Module) else layer) for layer in layers)
    for path, module in found.items():
        if is_scripted(module):
            raise LayerError(f"Layer '{path}' is scripted; hooks do not see it. Use the nn.Module it was scripted from.")
    return found


def walk(model: nn.Module, *, every_path: bool = False) -> Iterator[tuple[str, nn.Module]]:
    """Yield (canonical path, module) for each module below `model`, in definition order, shared ones once.

    Args:
        every_path: yield a module that has several paths at each of them.

    Example:
        >>> from torch import nn
        >>> from camtool.instrumentation.layer_paths import walk
        >>> [path for path, _ in walk(nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU())))]
        ['[0]', '[1]', '[1][0]']
    """
    # Without torch's nested generators: each CAM call goes through all layers.
    seen, waiting = {model}, _paths_below("", model)
    while waiting:
        path, module = waiting.pop()
        if every_path or module not in seen:
            seen.add(module)
            yield path, module
            waiting += _paths_below(path, module)


def _paths_below(path: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return (path, module) for each child of the module at `path`, the last one first."""
    return [(_join(path, name), child) for name, child in reversed(list(module._modules.items())) if child is not None]


def enclosing(path: str) -> list[str]:
    """Return the paths of the modules around that at a canonical path, outermost first, itself last: "a", "a.b", "a.b[0]"."""
    return [path[: step.end()] for step in _STEP.finditer(path)]


def _first_part(path: str, module: nn.Module) -> tuple[str, nn.Module]:
    while isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward and len(module):
        name, module = next((name, part) for name, part in module._modules.items() if part is not None)
        path = _join(path, name)
    return path, module


def _join(prefix: str, child: str) -> str:
    if child == ENTRANCE:
        return prefix + child
    if child.isdigit():
        return f"{prefix}[{child}]"
    return f"{prefix}.{child}" if prefix else child


def _children(module: nn.Module) -> list[str]:
    return [name for name, child in module._modules.items() if child is not None]


def _child_name(module: nn.Module, index: str | None, name: str | None) -> str | None:
    children = _children(module)
    step = name if name is not None else str(index)
    if step in children:
        return step
    # Negative, or into an nn.Sequential whose children have names.
    if re.fullmatch(r"-?\d+", step) and -len(children) <= int(step) < len(children):
        return children[int(step)]
    return None


def _no_such_layer(model: nn.Module, path: str, reached: nn.Module, canonical: str) -> str:
    paths = [candidate for candidate, _ in walk(model)]
    below = _children(reached)
    shown = _summary(below) if below else "nothing, it is a single layer"
    where = f"'{canonical}' ({type(reached).__name__})" if canonical else f"the model ({type(reached).__name__})"
    return f"No layer '{path}'{closest(path, paths)}. Below {where} there is: {shown}. '--preview-model' lists every layer."


def _summary(names: Sequence[str], most: int = 12) -> str:
    listed = ", ".join(f"[{name}]" if name.isdigit() else name for name in names[:most])
    return listed if len(names) <= most else f"{listed}, … ({len(names)} in all)"
