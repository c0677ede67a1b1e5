"""Axes of a network's input, by a letter each: which is the batch, which the channels, and which are spatial."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from camtool.errors import CamtoolError

MOST_SPATIAL = 3

_DEFAULT = {3: "ncw", 4: "nchw", 5: "ncdhw"}


@dataclass(frozen=True)
class Axes:
    """Letters of a tensor's axes, in its order: n the batch, c the channels, every other letter a spatial axis.

    "nchw" is a picture, "ntchw" a clip with the frames first, "ntf" a spectrogram without a channel axis, "nt" raw audio.

    Raises:
        CamtoolError: if the letters cannot be read: no batch, a letter twice, not one to three spatial axes.

    Example:
        >>> import torch
        >>> from camtool.axes import Axes
        >>> clips = Axes("ntchw")
        >>> clips.to_picture(torch.zeros(2, 16, 3, 8, 9)).shape
        torch.Size([2, 3, 16, 8, 9])
        >>> clips.spatial, clips.batch, Axes("ntf").to_picture(torch.zeros(2, 7, 5)).shape
        ('thw', 0, torch.Size([2, 1, 7, 5]))
    """

    letters: str

    def __post_init__(self) -> None:
        letters = self.letters
        problem = ""
        if not isinstance(letters, str) or not (letters.isascii() and letters.isalpha() and letters.islower()):
            problem = "each axis is a lower-case letter"
        elif len(set(letters)) < len(letters):
            problem = "each axis has a letter of its own"
        elif "n" not in letters:
            problem = "no axis is the batch, n"
        elif not 1 <= len(self.spatial) <= MOST_SPATIAL:
            problem = f"{len(self.spatial)} axes are spatial"
        if problem:
            raise CamtoolError(
                f"Expected input_axes as letters: n for the batch, c for the channels if there are any, and one to {MOST_SPATIAL} others "
                f"for the spatial axes, such as 'nchw', 'ntchw' or 'ntf'; got {letters!r}: {problem}."
            )

    def __str__(self) -> str:
        return f"({', '.join(self.letters)})"

    @property
    def batch(self) -> int:
        """Number of the batch axis."""
        return self.letters.index("n")

    @property
    def spatial(self) -> str:
        """Letters of the spatial axes, in their order."""
        return self.letters.replace("n", "").replace("c", "")

    def to_picture(self, tensor: Tensor) -> Float[Tensor, "n c *spatial"]:
        """Return a tensor with these axes as n, c (1 where there is none), spatial; one that is so already as it is."""
        moved = _moved(tensor, self.letters, self._moved_letters)
        return moved if "c" in self.letters else moved.unsqueeze(1)

    def from_picture(self, picture: Float[Tensor, "n c *spatial"]) -> Tensor:
        """Return a picture (n, c, *spatial) as a tensor with these axes; CamtoolError if it has others.

        Gradients flow through it. The tensor is contiguous, as networks expect it.
        """
        channels = "c" if "c" in self.letters else "1"
        if picture.ndim != 2 + len(self.spatial) or (channels == "1" and picture.shape[1] != 1):
            raise CamtoolError(
                f"The network's input has the axes {self}, which takes pictures ({', '.join(('n', channels, *self.spatial))}); "
                f"got one of shape {tuple(picture.shape)}."
            )
        return _moved(picture if channels == "c" else picture.squeeze(1), self._moved_letters, self.letters)

    @property
    def _moved_letters(self) -> str:
        return "n" + ("c" if "c" in self.letters else "") + self.spatial


def default_axes(rank: int) -> Axes | None:
    """Return the axes n, c, spatial of a tensor with `rank` axes; None if it has too few or too many.

    Example:
        >>> from camtool.axes import default_axes
        >>> default_axes(4), default_axes(2)
        (Axes(letters='nchw'), None)
    """
    return Axes(_DEFAULT[rank]) if rank in _DEFAULT else None


def _moved(tensor: Tensor, letters: str, order: str) -> Tensor:
    # A network's first layer is as fast, and gives the same bits, as on a tensor that was made in this order.
    return tensor if order == letters else tensor.permute([letters.index(letter) for letter in order]).contiguous()


_OF_MODEL_TYPE = {
    ("audio-spectrogram-transformer", "input_values"): "ntf",
    ("whisper", "input_features"): "nct",  # its documentation says (batch, length, features); its convolution takes the features first
    ("wav2vec2-bert", "input_features"): "ntc",
}
"""Axes in transformers of inputs whose name does not tell them, by model type and name."""

_OF_INPUT = {
    "pixel_values": ("nchw", "ntchw"),
    "pixel_values_videos": ("ntchw",),
    "input_values": ("nt",),
    "inputs_embeds": ("ntc",),
    "past_values": ("nt", "ntc"),
}
"""Axes in transformers by the input's name, by which all its families keep; at most one for each number of axes."""


def axes_in_transformers(model_type: str, input_name: str) -> list[Axes]:
    """Return what the axes of an input of a network of transformers can be, one for each number of axes; [] if that is not known.

    Example:
        >>> from camtool.axes import axes_in_transformers
        >>> [axes.letters for axes in axes_in_transformers("vivit", "pixel_values")]
        ['nchw', 'ntchw']
        >>> axes_in_transformers("whisper", "input_features")
        [Axes(letters='nct')]
    """
    of_type = _OF_MODEL_TYPE.get((model_type, input_name))
    return [Axes(letters) for letters in ((of_type,) if of_type else _OF_INPUT.get(input_name, ()))]
