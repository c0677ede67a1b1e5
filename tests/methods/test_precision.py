"""Raw maps have the network's precision where it is wider than float32; final maps have the asked one, float32 unless asked."""

import pytest
import torch

from camtool import CAM
from camtool.errors import MethodError
from camtool.functional import min_max, resize
from tests.methods.kinds import NAMES
from tests.methods.test_memory import WRAPPED, network

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [*NAMES, *WRAPPED])
def test_raw_maps_have_the_networks_precision(name: str, dtype: torch.dtype) -> None:
    model, inputs, layers = network(name)
    result = CAM(model.to(dtype), layers, name)(inputs.to(dtype), 1)
    assert {raw.dtype for raw in result.raw.values()} == {dtype}
    assert result.maps.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("name", ["gradcam", "rollout", "fullgrad", "guidedgradcam"])
def test_maps_have_the_asked_precision(name: str, dtype: torch.dtype) -> None:
    model, inputs, layers = network(name)
    result = CAM(model.double(), layers, name, dtype=dtype)(inputs.double(), 1)
    assert {maps.dtype for maps in [result.maps, *result.layer_maps.values()]} == {dtype}
    plain = CAM(model, layers, name)(inputs.double(), 1)
    torch.testing.assert_close(result.maps.float(), plain.maps, rtol=1e-3, atol=1e-3)


def test_maps_of_float64_are_not_rounded_on_the_way() -> None:
    model, inputs, _ = network("layercam")
    result = CAM(model.double(), "late", "layercam", dtype=torch.float64)(inputs.double(), 1)
    raw = result.raw["late"].clamp(min=0)
    expected = resize(min_max(raw), inputs.shape[2:])
    torch.testing.assert_close(result.maps, min_max(expected), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_a_dtype_that_holds_no_maps_is_refused(dtype: torch.dtype) -> None:
    model, _, layers = network("gradcam")
    with pytest.raises(MethodError, match=r"Expected a floating-point dtype of maps, got .*; try torch\.float32 or torch\.float64"):
        CAM(model, layers, dtype=dtype)
