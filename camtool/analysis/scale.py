"""DataSetScale: single pictures drawn on the scale of a data set."""

from dataclasses import dataclass

from torch import Tensor

from camtool.analysis.normaliser import Normaliser
from camtool.attribution.result import CAMResult
from camtool.errors import DataError, some
from camtool.placement import placed


@dataclass(frozen=True)
class DataSetScale:
    """A normaliser as the scale of figures: rescaled at the size of the features, then placed on the input and clipped to [0, 1].

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from camtool import CAM
        >>> from camtool.analysis.sources import Source
        >>> model = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())  # class scores: the channels' means
        >>> result = CAM(model, "[0]")(torch.tensor([[[[-4.0, 1.0], [2.0, 6.0]]]]))
        >>> DataSetScale(Normaliser(Source("gradcam", "[0]"), vmax=1.0, vmin=0.0)).maps(result, "")
        tensor([[[0.0000, 0.2500],
                 [0.5000, 1.0000]]])
    """

    normaliser: Normaliser

    @property
    def words(self) -> str:
        """What 0 and 1 stand for."""
        found = self.normaliser
        if found.rescale == "none":
            return "each map from its lowest value to its highest"
        ends = {"norm": (0, 1), "tanh": (0.05, 0.95)}[found.rescale]
        of = f" of {found.table.count} maps" if found.table is not None else ""
        low, high = (found.scale_ratio * value for value in (found.lowest, found.vmax))
        return f"the data set's scale{of}: {ends[0]} at {low:.3g}, {ends[1]} at {high:.3g}"

    def maps(self, result: CAMResult, layer: str) -> Tensor:
        """Return the maps on this scale, as `result.maps`, in [0, 1].

        Raises:
            DataError: if the normaliser is of another method or layer.
        """
        source = self.normaliser.source
        layers = [layer] if layer else list(result.raw)
        if result.method != source.method or layers != [source.layer]:
            raise DataError(
                f"The normaliser is of {source}, the map of {result.method} at {some(layers)}; expected one that 'camtool analyze ranges' "
                "has fitted on maps of the same method and layer."
            )
        leading = 2 if isinstance(result.status[0], list) else 1  # with lists of targets
        raw, size = result.raw[source.layer], result.maps.shape[leading:]
        rescaled = self.normaliser(raw.flatten(0, leading - 1))
        return placed(rescaled, size, result.placement.get(source.layer)).clamp(0, 1).view(result.maps.shape)
