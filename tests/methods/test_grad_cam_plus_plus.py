"""Grad-CAM++'s coefficients: the same map at every scale of the gradients, and a remark where their denominator changes its sign."""

import warnings

import pytest
import torch

from camtool.errors import CamtoolWarning, MethodError
from camtool.methods import Evidence, build_method
from camtool.methods._base import ModelQueries
from tests.methods.queries import Formula

ACTIVATIONS = torch.tensor([[[1.0, 2.0, 0.0, 4.0], [2.0, 1.0, 0.0, 2.0]]])
GRADIENTS = torch.tensor([[[2.0, 0.0, -1.0, 3.0], [-2.0, 1.0, 0.0, -1.0]]])


@pytest.mark.parametrize("share", [1.0, 1e-4, 1e-8, 1e-15])
def test_weights_scale_with_the_gradients(share: float) -> None:
    # alpha g = g / (2 + sum(A) g): with activations / t and gradients * t every weight is t times as large, whatever t is.
    weights = build_method("gradcam++").weights(ACTIVATIONS / share, GRADIENTS * share)
    torch.testing.assert_close(weights.flatten() / share, torch.tensor([2 / 16 + 3 / 23, 1 / 7]), rtol=1e-5, atol=0)


def test_weights_of_tiny_gradients_are_half_their_positive_parts() -> None:
    # Where sum(A) g is small beside 2, alpha is 1/2; an epsilon of 1e-6 would take all but 1e-4 of it away.
    weights = build_method("gradcam++").weights(ACTIVATIONS, GRADIENTS * 1e-5)
    torch.testing.assert_close(weights.flatten(), torch.tensor([2.5e-5, 0.5e-5]), rtol=1e-3, atol=0)
    damped = build_method({"type": "gradcam++", "epsilon": 1e-6}).weights(ACTIVATIONS, GRADIENTS * 1e-5)
    assert (damped < 0.01 * weights).all()


def test_epsilon_is_added_as_it_is() -> None:
    weights = build_method({"type": "gradcam++", "epsilon": 0.5}).weights(ACTIVATIONS, GRADIENTS)
    expected = [8 / (8 + 7 * 8 + 0.5) + 27 / (18 + 7 * 27 + 0.5), 1 / (2 + 5 + 0.5)]
    torch.testing.assert_close(weights.flatten(), torch.tensor(expected))


@pytest.mark.parametrize("name", ["gradcam++", "smoothgradcam++"])
def test_a_denominator_that_changes_its_sign_is_remarked_on(name: str) -> None:
    # sum(A1) = -2: 2 + sum(A) g is -2 for g = 2 and 1 for g = 0.5.
    activations, gradients = torch.tensor([[[-3.0, 1.0], [1.0, 1.0]]]), torch.tensor([[[2.0, 0.5], [1.0, -1.0]]])
    queries: ModelQueries = Formula(torch.zeros(1, 1, 2).double(), activations, gradients, torch.ones(1, 2))
    method = build_method({"type": name, "sigma": 0.0} if name.startswith("smooth") else name)
    with pytest.warns(CamtoolWarning, match=rf"{name.replace('+', '.')}: the denominator .* negative at 33.3% of the positive gradients"):
        method.raw_map(Evidence(activations, gradients, lambda: torch.ones(1, 2), None, queries))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        method.raw_map(Evidence(activations + 3, gradients, lambda: torch.ones(1, 2), None, queries))


def test_a_negative_epsilon_is_refused() -> None:
    for name in ("gradcam++", "smoothgradcam++"):
        with pytest.raises(MethodError, match="expected an epsilon of 0 or more, got -1"):
            build_method({"type": name, "epsilon": -1.0})
