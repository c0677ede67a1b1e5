"""Mixed precision in bfloat16, for training without CUDA."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.runner.amp import autocast
from torch import nn

from camtool.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):  # type: ignore[misc]  # mmengine has no types
    """Optimizer wrapper whose forward pass runs in bfloat16 autocast; mmengine's AmpOptimWrapper requires CUDA for its loss scaler."""

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context of the forward pass, with autocast."""
        with super().optim_context(model), autocast(dtype=torch.bfloat16):
            yield
