"""`camtool vis --method dff`: the concepts of pictures in place of maps of classes."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from camtool.errors import CamtoolError, MethodError, as_camtool_error, emit_again, recorded_warnings

if TYPE_CHECKING:
    from camtool.apis import ConceptExplanation, Explainer
    from camtool.apis.subjects import SubjectLike

CONCEPTS = "dff"


def is_concepts(methods: Sequence[str], n_components: int | None, excluded: Mapping[str, Any]) -> bool:
    """Return whether the method is dff; MethodError if it is combined with other methods or with options that it does not take."""
    if CONCEPTS not in [name.casefold() for name in methods]:
        if n_components is not None:
            raise MethodError("--n-components belongs to --method dff.")
        return False
    if len(set(methods)) > 1:
        raise MethodError("'dff' explains the concepts of an image, not a class, and cannot be combined with other methods; give it alone.")
    unsupported = [option for option, value in excluded.items() if value]
    if unsupported:
        raise MethodError(f"'dff' factorizes one layer, and does not depend on a class; leave out {', '.join(unsupported)}.")
    return True


def first_layer(recipe: Mapping[str, Any]) -> list[str] | None:
    """Return the first of a config's target layers, of which concepts take one; None if it has none."""
    layers = recipe.get("target_layers")
    return [layers] if isinstance(layers, str) else list(layers)[:1] if layers else None


def concepts_of(
    explainer: "Explainer", images: "Sequence[SubjectLike]", n_components: int | None, names: Sequence[str] | None
) -> "Iterator[ConceptExplanation | CamtoolError]":
    """Yield for each image its concepts, or the error if it has none.

    Args:
        names: of the images, where warnings begin with them.
    """
    from camtool.apis.concepts import COMPONENTS, explain_concepts

    for number, image in enumerate(images):
        caught: list[warnings.WarningMessage] = []
        result: ConceptExplanation | CamtoolError
        try:
            with recorded_warnings() as caught:
                result = explain_concepts(explainer, image, n_components=n_components or COMPONENTS, number=number)
        except Exception as error:
            described = as_camtool_error(error)
            if described is None:
                raise
            result = described
        for warning in caught:
            emit_again(warning, f"{names[number]}: {warning.message}" if names else "")
        yield result
