"""Settings of methods: wrong values are one readable line, whatever the method and the setting."""

import inspect
import math
from collections.abc import Iterator
from typing import Any

import pytest

from camtool.errors import CamtoolError, ConfigError, MethodError
from camtool.methods import BaseMethod, build_method, find_method, method_names
from camtool.registry import Registry, build
from tests.methods.kinds import NAMES

NEVER = [{"a": 1}, [["x"]], b"3", object(), 3j, math.nan]
"""No setting of any method has such a value."""
OF_WORDS = {("occlusion", "baseline"), ("cam", "classifier"), ("polycam", "variant")}
"""Settings that are words, or may be."""


def settings_of(name: str) -> dict[str, Any]:
    """Return the settings of a method with their defaults; of a wrapper without the wrapped method."""
    parameters = inspect.signature(find_method(name)).parameters.values()
    own = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY and parameter.name != "method"]
    return {parameter.name: parameter.default for parameter in own}


def wrong_values() -> Iterator[tuple[str, str, Any]]:
    """Yield a method, a setting and a value that it cannot have."""
    for name in method_names():
        for setting, default in settings_of(name).items():
            for value in [*NEVER, *([] if (name, setting) in OF_WORDS else ["three"])]:
                yield name, setting, value
            yield name, setting, 3 if isinstance(default, (bool, str)) else True
            if type(default) is int:
                yield from ((name, setting, value) for value in (1.5, None))


def test_every_setting_has_wrong_values_here() -> None:
    assert {(name, setting) for name, setting, _ in wrong_values()} == {(name, key) for name in NAMES for key in settings_of(name)}


@pytest.mark.parametrize(("name", "setting", "value"), list(wrong_values()))
def test_a_value_of_a_wrong_type_is_one_line_that_names_method_and_setting(name: str, setting: str, value: Any) -> None:
    with pytest.raises(MethodError) as caught:
        build_method({"type": name, setting: value})
    text = str(caught.value)
    assert text.startswith(f"Method '{name}': expected as '{setting}' "), text
    assert ", got " in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("occlusion(patch=three)", "expected as 'patch' a whole number, several whole numbers or none, got 'three'."),
        ("occlusion(patch=1.5)", "expected as 'patch' a whole number, several whole numbers or none, got 1.5."),
        ("finer(weighted=maybe):layercam", "Method 'finer': expected as 'weighted' true or false, got 'maybe'."),
        ("smooth:fem(k=two)", "Method 'fem': expected as 'k' a number, got 'two'."),
        ("smooth(method=3)", "Method 'smooth': expected as 'method' a method's name or dict, got 3."),
        ("fem(k=nan)", "Method 'fem': expected as 'k' a number, got 'nan'."),
        ("winsorcam(percentile=200.0)", "Method 'winsorcam': expected a percentile from 0 to 100, got 200.0."),
        ("finer(references=0)", "Method 'finer:gradcam': expected as 'references' at least one class, got 0."),
    ],
)
def test_a_bad_value_in_a_methods_text_is_a_readable_line(text: str, words: str) -> None:
    with pytest.raises(MethodError) as caught:
        build_method(text)
    assert str(caught.value).endswith(words)


@pytest.mark.parametrize("name", NAMES)
def test_the_default_of_every_setting_is_a_value_that_it_can_have(name: str) -> None:
    assert type(build_method({"type": name, **settings_of(name)})) is find_method(name)


def test_settings_of_other_types_and_without_annotations_are_left_to_the_class() -> None:
    registry = Registry("thing")

    @registry.register_module(name="thing")
    class Thing:
        def __init__(self, plain, *, function: Any = None, deep: "list[int] | Unknown" = None) -> None:  # type: ignore[no-untyped-def, name-defined]
            self.values = plain, function, deep

    assert build(registry, {"type": "thing", "plain": "three", "function": print, "deep": {}}).values == ("three", print, {})
    with pytest.raises(CamtoolError, match="missing a required argument"):
        build(registry, "thing", error=ConfigError)
    assert issubclass(find_method("gradcam"), BaseMethod)
