"""Every public class and function has an example in its docstring, and all examples of the package run."""

import ast
import doctest
import importlib
import inspect
import logging
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import camtool

PACKAGE = Path(camtool.__file__).parent
ROOMS = ("camtool.layouts", "camtool.methods", "camtool.targets")
FURTHER = {
    "camtool.axes": ["Axes", "axes_in_transformers", "default_axes"],
    "camtool.functional": ["first_component", "fuse", "min_max", "resize", "spatial_mean", "to_float32"],
    "camtool.fusion": ["Mean", "Product", "Refined", "Winsorized", "build_fusion"],
    "camtool.instrumentation.acceleration": ["Speed", "build_speed"],
    "camtool.instrumentation.embedding": ["EmbeddingOutput"],
    "camtool.instrumentation.inputs": ["find_inputs"],
    "camtool.instrumentation.layer_paths": ["find_layer", "path_of", "walk"],
    "camtool.instrumentation.target_layers": ["Probe"],
}


def is_class_or_function(value: Any) -> bool:
    """Return whether a name is that of a class or function, and not of a type for annotations."""
    return inspect.isfunction(value) or (inspect.isclass(value) and typing.get_origin(value) is None)


def public_objects() -> Iterator[tuple[str, Any]]:
    """Yield ("camtool.targets.Region", its class) for every public class and function."""
    names = {"camtool": camtool.__all__}
    names |= {room: sorted(vars(importlib.import_module(room))) for room in ROOMS}
    for module, listed in (names | FURTHER).items():
        for name in listed:
            value = getattr(importlib.import_module(module), name)
            if is_class_or_function(value):
                yield f"{module}.{name}", value


def documented(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str]]:
    """Yield ("camtool.targets.region.Region", docstring) for every class, method and function below a module or class."""
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield f"{prefix}.{node.name}", ast.get_docstring(node) or ""
            if isinstance(node, ast.ClassDef):
                yield from documented(node.body, f"{prefix}.{node.name}")


def examples() -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield (name, (module, docstring)) of everything in the package whose docstring has an example; nothing is imported for it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(("camtool", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name, docstring in [(module, ast.get_docstring(tree) or ""), *documented(tree.body, module)]:
            if ">>> " in docstring:
                yield name, (module, docstring)


PUBLIC = dict(public_objects())
EXAMPLES = dict(examples())


def test_what_is_public_is_listed() -> None:
    assert sorted(camtool.__all__) == dir(camtool)
    assert {"camtool.CAM", "camtool.deep_feature_factorization", "camtool.methods.GradCAM", "camtool.targets.Region"} <= set(PUBLIC)
    assert len(PUBLIC) > 90


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example(name: str) -> None:
    value = PUBLIC[name]
    assert "\nExample:\n" in (inspect.getdoc(value) or ""), f"{name} has no section 'Example:' in its docstring"
    assert f"{value.__module__}.{value.__qualname__}" in EXAMPLES, f"{name} has no line with >>> of its own"


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module, docstring = EXAMPLES[name]
    # A copy of the module's names, as `pytest --doctest-modules` has them.
    example = doctest.DocTestParser().get_doctest(docstring, dict(vars(importlib.import_module(module))), name, None, None)
    logging.disable(logging.INFO)  # mmengine logs to standard output
    try:
        failed, _ = doctest.DocTestRunner(verbose=False).run(example)
    finally:
        logging.disable(logging.NOTSET)
    assert not failed, capsys.readouterr().out
