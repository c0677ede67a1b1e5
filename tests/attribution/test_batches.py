"""Samples of a batch do not see one another: where they do, or where other inputs only look like theirs, maps stay right or are refused."""

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import CamtoolError, LayerError, LayoutError, MethodError, TargetError
from camtool.instrumentation.copies import beside_different, copies_agree
from camtool.instrumentation.network_inputs import network_inputs

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")

OF_COPIES = ["ablationcam", "reciprocam", "scorecam", "liftcam", "smoothgradcam++"]


class Coupled(nn.Module):
    """A batch norm without running statistics behind the layer: in eval mode, too, it takes those of the batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.middle = nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 6, 3, 2, 1)
        self.norm, self.fc = nn.BatchNorm2d(6, track_running_stats=False), nn.Linear(6, 5)

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.norm(self.middle(self.layer(image).relu())).relu().mean((2, 3)))


class Attending(Coupled):
    """Each sample gets a part of all samples' mean."""

    def forward(self, image: Tensor) -> Tensor:
        features = self.layer(image).relu()
        return self.fc((features + features.mean(0, keepdim=True)).mean((2, 3)))


class OverMaximum(Coupled):
    """Divides by the batch's largest value, which leaves the sample that has it as it is."""

    def forward(self, image: Tensor) -> Tensor:
        features = self.middle(self.layer(image).relu())
        return self.fc((features / features.abs().amax()).relu().mean((2, 3)))


class AboveMinimum(Coupled):
    def forward(self, image: Tensor) -> Tensor:
        features = self.middle(self.layer(image).relu())
        return self.fc((features - features.amin()).mean((2, 3)))


def pictures(count: int) -> Tensor:
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("make", [Coupled, Attending, OverMaximum, AboveMinimum])
@pytest.mark.parametrize("name", OF_COPIES)
def test_a_network_whose_samples_see_one_another_is_refused_by_methods_of_copies(name: str, make: type[nn.Module], count: int) -> None:
    with pytest.raises(MethodError, match=r"samples of a batch one by one.*try per_sample"):
        CAM(make().eval(), "layer", name)(pictures(count), 1)


def test_methods_of_one_pass_explain_such_a_network_but_not_with_copies_of_the_input() -> None:
    model = Coupled().eval()
    assert CAM(model, "layer", ["gradcam", "eigencam"])(pictures(2), 1)["gradcam"].maps.shape == (2, 16, 16)
    with pytest.raises(MethodError, match="without aug_smooth"):
        CAM(model, "layer", "gradcam", aug_smooth=True)(pictures(1), 1)


class Graph(Coupled):
    """The second input says how much of each sample every other one gets: it belongs to no sample."""

    def forward(self, image: Tensor, shares: Tensor) -> Tensor:
        return self.fc(shares @ self.layer(image).relu().mean((2, 3)))


@pytest.mark.parametrize("name", OF_COPIES)
def test_a_network_that_takes_no_other_number_of_samples_is_refused_in_words(name: str) -> None:
    inputs = pictures(3), torch.rand(3, 3, generator=torch.Generator().manual_seed(2))
    with pytest.raises(MethodError, match=r"the network raises RuntimeError \(mat1 and mat2 .*try per_sample"):
        CAM(Graph().eval(), "layer", name, input=0)(inputs, 1)


def test_a_sample_and_a_different_one_are_asked() -> None:
    alone = torch.tensor([[1.0, 2.0], [3.0, 4.0]])

    def run(numbers: list[int]) -> Tensor:
        return alone[numbers]

    def maximal(numbers: list[int]) -> Tensor:
        return run(numbers) - run(numbers).amax()

    assert copies_agree(run, 2, alone[:1])
    assert not copies_agree(run, 2, alone[:1] + 0.01)
    alone = alone.flip(0)
    assert not copies_agree(maximal, 2, maximal([0])), "the first has the maximum, the other one changes"
    assert copies_agree(maximal, 2, maximal([0]), both=False)
    alone[1] = torch.nan
    assert copies_agree(run, 2, alone[:1]), "a different one without scores among its like, too"
    assert not copies_agree(maximal, 2, run([0]))


class Random(Coupled):
    """Drops channels also in eval mode."""

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(nn.functional.dropout(self.layer(image).relu(), 0.3, training=True).mean((2, 3)))


def test_a_network_of_random_scores_is_not_said_to_couple_samples() -> None:
    torch.manual_seed(3)
    assert CAM(Random(), "layer", "scorecam")(pictures(2), 1).maps.isfinite().all()


class ZeroShot(nn.Module):
    """Scores of pictures (n, ...) by captions (k, d)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.layer = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1)

    def forward(self, image: Tensor, captions: Tensor) -> Tensor:
        return self.layer(self.first(image).relu()).relu().mean((2, 3)) @ captions.T


@pytest.mark.parametrize("per_sample", [None, []], ids=["found", "said"])
@pytest.mark.parametrize("aug_smooth", [False, True])
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("name", ["gradcam", *OF_COPIES, {"type": "opticam", "steps": 2}], ids=str)
def test_as_many_captions_as_pictures_stay_whole(name: Any, count: int, aug_smooth: bool, per_sample: list[str] | None) -> None:
    model, images = ZeroShot().eval(), pictures(count)
    captions = torch.randn(count, 8, generator=torch.Generator().manual_seed(2))
    cam = CAM(model, "layer", name, input="image", per_sample=per_sample, aug_smooth=aug_smooth)
    both = cam({"image": images, "captions": captions}, 0)
    # One more caption, which no map explains, and nothing is as long as the batch.
    more = {"image": images, "captions": torch.cat([captions, torch.zeros(1, 8)])}
    expected = CAM(model, "layer", name, input="image", aug_smooth=aug_smooth)(more, 0)
    torch.testing.assert_close(both.raw["layer"], expected.raw["layer"], rtol=1e-4, atol=1e-5)


class Aged(ZeroShot):
    """Each picture has a row of its own beside the captions."""

    def forward(self, image: Tensor, row: Tensor, captions: Tensor) -> Tensor:
        return (self.layer(self.first(image).relu()).relu().mean((2, 3)) * row) @ captions.T


@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_several_inputs_as_long_as_the_batch_those_of_the_samples_are_found(count: int) -> None:
    generator = torch.Generator().manual_seed(2)
    given = {"image": pictures(count), "row": torch.randn(count, 8, generator=generator), "captions": torch.randn(count, 8)}
    found = network_inputs(Aged().eval(), given, "image")
    assert found.batch_axes.keys() == {("image",), ("row",)}
    said = network_inputs(Aged().eval(), given, "image", per_sample=["row", "captions"])
    assert said.batch_axes.keys() == {("image",), ("row",), ("captions",)}


def test_what_is_said_to_be_per_sample_must_be_an_input_of_that_length() -> None:
    given = {"image": pictures(2), "captions": torch.randn(3, 8), "row": torch.randn(2, 8)}
    for name in ("captions", "caption"):
        with pytest.raises(CamtoolError, match=rf"with an axis of 2, the number of samples, got '{name}'; try some of: 'row'"):
            network_inputs(Aged(), given, "image", per_sample=[name])


class LengthFirst(Coupled):
    """Gives scores (time, n, classes)."""

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.layer(image).relu().mean(3).permute(2, 0, 1)[:3])


def test_an_output_whose_first_axis_is_as_long_as_the_batch_by_accident_is_refused() -> None:
    with pytest.raises(TargetError, match="by accident"):
        CAM(LengthFirst(), "layer")(pictures(3), lambda scores: scores[0, 1])
    with pytest.raises(TargetError, match="No scores of 2 samples"):
        CAM(LengthFirst(), "layer")(pictures(2), lambda scores: scores[0, 1])

    class BatchFirst(LengthFirst):
        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image).transpose(0, 1)

    assert CAM(BatchFirst(), "layer")(pictures(3), lambda scores: scores[0, 1]).maps.shape == (3, 16, 16)


def test_the_copies_beside_the_first_sample_differ_from_it_and_are_never_as_many_as_the_batch() -> None:
    for batch in (1, 2, 3):
        tensor = torch.randn(4, batch, 5, generator=torch.Generator().manual_seed(0))
        beside = beside_different(tensor, axis=1, batch=batch)
        assert beside.shape[1] == (3 if batch == 2 else 2)
        assert torch.equal(beside[:, 0], tensor[:, 0])
        assert all((beside[:, 0] != beside[:, copy]).all() for copy in range(1, beside.shape[1]))


class Plain(Coupled):
    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.layer(image).relu().mean((2, 3)))


@pytest.mark.parametrize("layer", ["back", None])
def test_a_network_of_static_int8_layers_is_explained_where_its_numbers_are_floating_point(layer: str | None) -> None:
    model, quantised = static_int8()
    methods = ["eigencam", "ablationcam", "scorecam", "gradcam"]
    results = [CAM(network, layer, methods)(pictures(2), 1) for network in (quantised, model)]
    for method in methods:
        found, expected = (result[method].maps.flatten() for result in results)
        assert torch.corrcoef(torch.stack([found, expected]))[0, 1] > 0.98, method


@pytest.mark.parametrize("method", ["eigencam", "ablationcam", "gradcam"])
def test_a_layer_of_quantised_numbers_is_refused_with_the_way_out(method: str) -> None:
    with pytest.raises(LayoutError, match=r"Layer 'second': its output is quantised \(quint8\).* such as the one that dequantises"):
        CAM(static_int8()[1], "second", method)(pictures(2), 1)


class Static(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stub, self.back = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
        self.first, self.second, self.fc = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1), nn.Linear(16, 5)
        self.relu = nn.ReLU()

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.back(self.relu(self.second(self.relu(self.first(self.stub(images)))))).mean((2, 3)))


def static_int8() -> tuple[nn.Module, nn.Module]:
    """Return a network, and the same with integer convolutions whose scales are known beforehand."""
    torch.manual_seed(0)
    model = Static().eval()
    prepared = copy.deepcopy(model)
    prepared.qconfig = torch.ao.quantization.get_default_qconfig("x86")  # type: ignore[assignment]
    prepared.fc.qconfig = None  # type: ignore[assignment]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the future of torch.ao
        torch.ao.quantization.prepare(prepared, inplace=True)
        prepared(pictures(2))
        return model, torch.ao.quantization.convert(prepared)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_an_int8_network_is_explained_by_activations_and_copies_and_refused_by_gradients() -> None:
    model = Plain().eval()
    quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(model), {nn.Linear})
    names = ["eigencam", "ablationcam", "scorecam", "reciprocam"]
    found, expected = (CAM(network, "layer", names)(pictures(2), 1) for network in (quantised, model))
    for name in names:
        both = torch.stack([result[name].maps.flatten() for result in (found, expected)])
        assert torch.corrcoef(both)[0, 1] > 0.99
    for name in ("gradcam", "liftcam", "fullgrad", {"type": "opticam", "steps": 2}):
        layer = None if name == "fullgrad" else "layer"
        with pytest.raises((MethodError, LayerError), match="The network is quantised: its integer layers have no gradient"):
            CAM(quantised, layer, name)(pictures(2), 1)
    with pytest.raises(LayerError, match=r"the network is quantised.* a layer must be named"):
        CAM(quantised)(pictures(2), 1)
