"""Further passes: the evidence of other pictures, for methods that look at more than one."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from camtool.attribution.context import CallContext
from camtool.attribution.forward_pass import ForwardPass, check_alive, parts
from camtool.attribution.queries import NetworkQueries, QueryContext
from camtool.instrumentation.batching import chunk_size, in_chunks
from camtool.methods._base import Evidence
from camtool.targets import Target, find_logits, samples_of


class FurtherPasses:
    """Passes of the network beside the one that all methods share."""

    def __init__(self, setting: CallContext) -> None:
        self._setting = setting

    def evidence_of(
        self, aimed: Sequence[Sequence[Target]], method: str, path: str, k: int, pictures: Sequence[Tensor], *, gradients: bool
    ) -> list[Evidence]:
        """Return the evidence of other pictures (each n, c, *spatial) for the k-th targets at a layer."""
        setting, evidence = self._setting, list[Evidence]()
        n = len(aimed)

        def run(start: int, stop: int) -> None:
            together = torch.cat([picture.to(setting.inputs.picture.dtype) for picture in pictures[start:stop]])
            given = setting.given(together)
            with setting.capturing({path: setting.layers[path]}, together, differentiate=gradients) as capture:
                logits = find_logits(given.run(setting.model), batch=len(together))
                captured = {path: capture.activations(path)}
            seen = ForwardPass(setting.model, given, logits, captured, [[row[k]] for row in aimed] * (stop - start))
            if gradients:
                seen.differentiate()
            for part, one in enumerate(parts(seen.evidence(path, 0, alive=False), stop - start)):
                picture = pictures[start + part]
                asked = QueryContext(
                    setting.model,
                    setting.given(picture),
                    samples_of(logits, slice(part * n, (part + 1) * n)).detach(),
                    aimed,
                    partial(self.evidence_of, aimed),
                    setting.progress,
                    callers_autocast(picture),
                )
                layout = captured[path][1]
                evidence.append(replace(one, model_queries=NetworkQueries(asked, method, path, k, layout, None, None)))

        progress = setting.progress and partial(setting.progress, f"{method} at {path}")
        in_chunks(len(pictures), max(chunk_size(pictures[0][:1]) // n, 1), run, progress)
        if gradients:
            # Far from the input every ReLU may be dead; a layer that no picture has a gradient at is the wrong one.
            of_all = torch.stack([one.gradients for one in evidence if one.gradients is not None]).abs().sum(dim=0)
            check_alive(path, [row[k] for row in aimed], of_all)
        return evidence


def callers_autocast(inputs: Tensor) -> Callable[[], Any]:
    """Return what restores the caller's autocast around further passes of the network."""
    kind = inputs.device.type
    enabled, dtype = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    return partial(torch.autocast, kind, dtype=dtype, enabled=enabled)
