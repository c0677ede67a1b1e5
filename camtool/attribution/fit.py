"""What methods without channels cannot be combined with, in words."""

from collections.abc import Iterable, Iterator, Sequence

from camtool.errors import MethodError


def unfit_without_channels(methods: Sequence[str], *, eigen_smooth: bool, speed: bool) -> Iterator[MethodError]:
    """Yield why methods of attention or of the input, if there are any, do not go with eigen-smooth or `speed`."""
    if eigen_smooth and methods:
        yield MethodError(
            f"eigen-smooth is a principal component over channels; {named(methods)} has none. Leave it out, or use a "
            "method of activations, such as 'gradcam'."
        )
    if speed and methods:
        yield MethodError(
            f"`speed` makes a copy of the network that has other layers inside; {named(methods)} reads all of them. "
            "Leave it out, or use methods of target layers alone."
        )


def named(methods: Iterable[str]) -> str:
    """Return the methods' names, quoted."""
    return ", ".join(f"'{name}'" for name in methods)
