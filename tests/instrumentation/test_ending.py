"""The end of a network: a softmax or a sigmoid is seen, however it is written, and nothing else is taken for one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool.instrumentation.ending import last_activation, may_be_probabilities, sum_to_one


class Ends(nn.Module):
    """Scores of three classes, and what `end` makes of them."""

    def __init__(self, end: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.scores = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        self.end = end

    def forward(self, inputs: Tensor) -> Any:
        return self.end(self.scores(inputs))


def overwritten(scores: Tensor) -> Tensor:
    return scores.sigmoid().mul_(3)


def attended(scores: Tensor) -> Tensor:
    return (scores.softmax(1) @ torch.eye(3)) / 5


@pytest.mark.parametrize(
    ("end", "name"),
    [
        (nn.Softmax(dim=1), "Softmax"),
        (nn.Sigmoid(), "Sigmoid"),
        (lambda scores: scores.softmax(dim=-1), "Softmax"),
        (torch.sigmoid_, "Sigmoid"),
        (lambda scores: (scores.softmax(1), scores), "Softmax"),  # ultralytics' classifier in eval mode
        (lambda scores: {"features": scores, "logits": scores.sigmoid()}, "Sigmoid"),
        (lambda scores: scores[:, None].softmax(-1).squeeze(1).double(), "Softmax"),
        (lambda scores: torch.cat([scores[:, :1].sigmoid(), scores[:, 1:].sigmoid()], dim=1), "Sigmoid"),
        (lambda scores: scores.sigmoid()[:, [2, 1]], "Sigmoid"),
        (lambda scores: scores.sigmoid().clone(), "Sigmoid"),
        (lambda scores: torch.cat([scores[:, :1].sigmoid(), scores[:, 1:]], dim=1), ""),
        (nn.LogSoftmax(dim=1), ""),
        (nn.Identity(), ""),
        (attended, ""),
        (overwritten, ""),
        (lambda scores: scores * scores.sigmoid(), ""),
        (lambda scores: scores.sigmoid().add(1), ""),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_the_operation_at_the_end_is_found(end: Callable[[Tensor], Any], name: str, training: bool) -> None:
    torch.manual_seed(0)
    model = Ends(end).train(training)

    for samples in (1, 3):
        assert last_activation(model, torch.randn(samples, 3, 2, 2)) == name
    assert model.training is training


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_rows_of_a_softmax_sum_to_one_in_every_precision_and_logits_do_not(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    for classes in (2, 10, 1000):
        scores = 5 * torch.randn(4, classes, generator=generator)
        probabilities = scores.softmax(1).to(dtype)
        assert sum_to_one(probabilities)
        assert may_be_probabilities(probabilities)
        assert not sum_to_one(scores.relu().to(dtype))
        assert not may_be_probabilities(scores.to(dtype))
    assert not sum_to_one(torch.tensor([[1.5, -0.5]], dtype=dtype))
    assert not sum_to_one(torch.ones(3, 1, dtype=dtype))
