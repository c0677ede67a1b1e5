"""Scores of a network that keeps only some channels of its target layer: one capture, and the tail again for each selection."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camtool.errors import DataError
from camtool.instrumentation.calls import only_call
from camtool.instrumentation.inputs import Inputs
from camtool.instrumentation.layer_paths import find_layer
from camtool.instrumentation.network_inputs import network_inputs
from camtool.instrumentation.replay import Recording, Replay
from camtool.layouts import LayoutSpec, build_layout
from camtool.layouts.build import fit_layout
from camtool.targets import OutputName, scores_in


@dataclass(frozen=True)
class KeptScores:
    """Scores of samples, of the network as it is and with some channels of a layer only; the others are zeros."""

    before: Float[Tensor, "n classes"]
    after: Float[Tensor, "n selections classes"]

    def accuracy(self, labels: Sequence[int]) -> tuple[float, list[float]]:
        """Return the accuracy of the network as it is, and with each selection."""
        true = torch.tensor(labels, device=self.before.device)
        after = (self.after.argmax(dim=-1) == true[:, None]).double().mean(dim=0)
        return float((self.before.argmax(dim=-1) == true).double().mean()), after.tolist()


def scores_of_kept_channels(
    model: nn.Module,
    layer: str,
    inputs: Tensor | Inputs,
    masks: Float[Tensor, "n selections c"],
    *,
    layout: LayoutSpec = None,
    output: OutputName = None,
) -> KeptScores:
    """Return the scores of samples with the channels of `layer` multiplied by masks; the network is left as it is.

    The masks are the caller's choice for each sample: those of its predicted class keep the label out of the network's answer.

    Args:
        layer: path of the target layer.
        inputs: (n, c, *spatial), preprocessed; of a network with further inputs as `network_inputs` returns them.
        masks: of each sample, one or several selections of the layer's channels.
        layout: how the layer's output is read; None: by its shape.
        output: of a network of several tasks which of its outputs the scores are; None: the first.

    Raises:
        LayerError: if there is no such layer.
        TargetError: if there is no such output.
        DataError: if the masks are not for as many samples and channels as there are, or not finite; if a pass calls the layer several
            times; if the network gives no class scores.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())  # class scores: the channels' means
        >>> masks = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> scores_of_kept_channels(model, "[0]", torch.ones(1, 2, 3, 3), masks).after.tolist()
        [[[1.0, 0.0], [0.0, 1.0]]]
    """
    path, module = find_layer(model, layer)
    given = build_layout(layout)
    with only_call(model), torch.inference_mode(False), torch.no_grad():
        prepared = inputs if isinstance(inputs, Inputs) else network_inputs(model, inputs.detach(), output=output)
        recording = Recording(model, module)
        with recording.recording():
            answer = prepared.run(model)
        if recording.calls > 1:
            raise DataError(
                f"Layer '{path}' is called {recording.calls} times in a pass, and channels would be left out of one call only; name a "
                "layer that is called once."
            )
        replay = Replay(recording, 0, prepared, answer)
        batch, size = len(prepared.picture), tuple(prepared.picture.shape[2:])
        read = fit_layout(replay.activations, batch, size, given, module=module)
        maps = read.to_maps(replay.activations, size)
        if len(masks) != batch or masks.shape[2] != maps.shape[1] or not bool(masks.isfinite().all()):
            raise DataError(
                f"Expected finite masks for {batch} samples and the {maps.shape[1]} channels of '{path}', got {tuple(masks.shape)}, "
                f"{int((~masks.isfinite()).sum())} of them not finite; see selection_masks."
            )
        weights = masks.to(maps).unflatten(2, (-1, *[1] * (maps.ndim - 2)))
        after = []
        for sample in range(batch):
            altered = maps[sample : sample + 1] * weights[sample]
            tensor = read.from_maps(altered, replay.activations.narrow(read.batch_axis, sample, 1), size)
            after.append(_class_scores(replay(sample, tensor), len(altered)))
        return KeptScores(_class_scores(answer, batch), torch.stack(after))


def _class_scores(output: Any, batch: int) -> Tensor:
    scores = scores_in(output, batch=batch)
    if not isinstance(scores, Tensor):
        raise DataError("Expected a network with scores (n, classes), got a detector's boxes; channels are chosen by class scores.")
    return scores
