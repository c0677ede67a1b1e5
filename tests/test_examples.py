"""Every public class and function has an example in its docstring, and the example runs."""

import doctest
import importlib
import inspect
import logging
import typing
from collections.abc import Iterator
from typing import Any

import pytest

import camtool

AWAITED = {"Explanation"}  # its example is still to be written
ROOMS = ("camtool.layouts", "camtool.methods", "camtool.targets")
FURTHER = {
    "camtool.functional": ["first_component", "fuse", "min_max", "resize", "spatial_mean", "to_float32"],
    "camtool.fusion": ["Mean", "Product", "Refined", "Winsorized", "build_fusion"],
    "camtool.instrumentation.acceleration": ["Speed", "build_speed"],
    "camtool.instrumentation.embedding": ["EmbeddingOutput"],
    "camtool.instrumentation.inputs": ["find_inputs"],
    "camtool.instrumentation.layer_paths": ["find_layer", "path_of", "walk"],
    "camtool.instrumentation.target_layers": ["Probe"],
}


def of_users(value: Any) -> bool:
    """Return whether a name is that of a class or function, and not of a type for annotations."""
    return inspect.isfunction(value) or (inspect.isclass(value) and typing.get_origin(value) is None)


def public_objects() -> Iterator[tuple[str, Any]]:
    """Yield ("camtool.targets.Region", its class) for every public class and function."""
    names = {"camtool": [name for name in camtool.__all__ if name not in AWAITED]}
    names |= {room: sorted(vars(importlib.import_module(room))) for room in ROOMS}
    for module, listed in (names | FURTHER).items():
        for name in listed:
            value = getattr(importlib.import_module(module), name)
            if of_users(value):
                yield f"{module}.{name}", value


PUBLIC = dict(public_objects())


def test_what_is_public_is_listed() -> None:
    assert sorted(camtool.__all__) == dir(camtool)
    assert {"camtool.CAM", "camtool.deep_feature_factorization", "camtool.methods.GradCAM", "camtool.targets.Region"} <= set(PUBLIC)
    assert len(PUBLIC) > 90


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example_that_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    value = PUBLIC[name]
    documented = inspect.getdoc(value) or ""
    assert "\nExample:\n" in f"\n{documented}", f"{name} has no section 'Example:' in its docstring"
    # Of the object's own docstring; nothing but the imports in it is at hand, as for a reader.
    examples = doctest.DocTestParser().get_doctest(documented, {"__name__": "example"}, name, inspect.getsourcefile(value), 0)
    assert examples.examples, f"{name} has no line with >>>"
    logging.disable(logging.INFO)  # mmengine logs to standard output
    try:
        failed, _ = doctest.DocTestRunner(verbose=False).run(examples)
    finally:
        logging.disable(logging.NOTSET)
    assert not failed, capsys.readouterr().out
