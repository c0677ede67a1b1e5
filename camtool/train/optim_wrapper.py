"""Mixed precision without a GPU: bfloat16, which needs no scaling of the loss."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner.amp import autocast
from torch import nn

from camtool.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):  # type: ignore[misc]  # mmengine has no types
    """Runs the forward pass in bfloat16 where that is safe. mmengine's AmpOptimWrapper insists on CUDA, for its loss scaler."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Cast what is computed inside."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
