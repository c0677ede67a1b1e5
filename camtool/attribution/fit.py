"""What methods without channels cannot be combined with, in words."""

from collections.abc import Iterable, Iterator, Sequence

from camtool.errors import MethodError


def unfit_without_channels(methods: Sequence[str], smoothed: Sequence[str], *, speed: bool) -> Iterator[tuple[Sequence[str], MethodError]]:
    """Yield which methods do not go with eigen-smooth or `speed`, and why.

    Args:
        methods: those of attention or of the input.
        smoothed: those of them for which eigen-smooth is asked and not defined.
        speed: whether a faster copy is asked for.
    """
    if smoothed:
        yield (
            smoothed,
            MethodError(
                f"eigen-smooth is a principal component over channels; {named(smoothed)} has none. Leave it out, or use a "
                "method of activations, such as 'gradcam'."
            ),
        )
    if speed and methods:
        yield (
            methods,
            MethodError(
                f"`speed` makes a copy of the network that has other layers inside; {named(methods)} reads all of them. "
                "Leave it out, or use methods of target layers alone."
            ),
        )


def named(methods: Iterable[str]) -> str:
    """Return the methods' names, quoted."""
    return ", ".join(f"'{name}'" for name in methods)
