"""Networks that hold something back from a backward pass are explained as if they did not, and are afterwards as they were."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.overrides import TorchFunctionMode
from torch.utils import checkpoint

from camtool import CAM
from camtool.errors import CamtoolError, MethodError
from camtool.instrumentation.adaptation import adapted
from camtool.instrumentation.checkpointing import without_reentrant_checkpoints
from tests.networks import images, small_net

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")


class Checkpointed(nn.Module):
    """Runs each of its two blocks as a checkpoint, or as it is."""

    def __init__(self, *, reentrant: bool | None) -> None:
        super().__init__()
        self.network = small_net()
        self.reentrant = reentrant

    def forward(self, image: Tensor) -> Tensor:
        network = self.network
        for block in (network.early, network.late):
            image = block(image) if self.reentrant is None else checkpoint.checkpoint(block, image, use_reentrant=self.reentrant)
        return network.fc(network.pool(image).flatten(1))


@pytest.mark.parametrize("layer", ["network.early[0]", "network.early", "network.late[1]", None])
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_change_nothing(layer: str | None, reentrant: bool) -> None:
    for method in (["hirescam", "ablationcam"], ["fullgrad", "guidedbackprop"]):
        layers = layer if method[0] == "hirescam" else None
        found = CAM(Checkpointed(reentrant=reentrant), layers, method)(images(), 1)
        expected = CAM(Checkpointed(reentrant=None), layers, method)(images(), 1)
        for name in method:
            assert found[name].layers == expected[name].layers
            torch.testing.assert_close(found[name].raw, expected[name].raw)


def test_other_threads_have_their_checkpoints() -> None:
    original, calls = checkpoint.CheckpointFunction, list[str]()

    def train() -> None:
        leaf = torch.ones(2, requires_grad=True)

        def function(tensor: Tensor) -> Tensor:
            calls.append("called")
            return tensor * 2

        checkpoint.checkpoint(function, leaf, use_reentrant=True).sum().backward()
        assert leaf.grad is not None

    with without_reentrant_checkpoints(), without_reentrant_checkpoints():
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
        assert len(calls) == 2, "once forward, once again backward"
        train()
        assert len(calls) == 3, "no checkpoint here"
    assert checkpoint.CheckpointFunction is original


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def trained(model: nn.Module, between: Callable[[int], None]) -> dict[str, Tensor]:
    """Return the weights after five steps; `between` is called after each."""
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(5):
        model.train()
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images(seed=step)), torch.tensor([0, 1])).backward()
        optimiser.step()
        between(step)
    return {name.removeprefix("module."): value for name, value in model.state_dict().items()}


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("settings", [{}, {"static_graph": True}, {"gradient_as_bucket_view": True}], ids=str)
@pytest.mark.parametrize("layer", ["module.late", None])
def test_a_cam_between_the_steps_of_distributed_training_changes_nothing(settings: dict[str, bool], layer: str | None) -> None:
    torch.manual_seed(0)
    expected = trained(small_net(), lambda _: None)
    torch.manual_seed(0)
    model = DistributedDataParallel(small_net(), **settings)
    torch.testing.assert_close(trained(model, lambda _: CAM(model, layer)(images(), 1) and None), expected)


@pytest.mark.usefixtures("process_group")
def test_a_cam_of_one_process_waits_for_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model = DistributedDataParallel(small_net())
    monkeypatch.setattr(model, "_sync_buffers", lambda: pytest.fail("waits for the other processes"))
    expected = CAM(small_net(), "late", ["hirescam", "ablationcam"])(images(), 1)
    found = CAM(model, "module.late", ["hirescam", "ablationcam"])(images(), 1)
    for name in found:
        torch.testing.assert_close(found[name].maps, expected[name].maps)
    assert "forward" not in vars(model)


def test_the_wrapper_for_several_devices_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    model, moved = DataParallel(small_net()), list[Any]()
    monkeypatch.setattr(DataParallel, "forward", lambda *_: pytest.fail("copies the network, whose copies have no hooks of this thread"))
    model.device_ids = [torch.device("cpu")]
    monkeypatch.setattr(Tensor, "to", lambda tensor, *where, to=Tensor.to, **kinds: moved.append(where[0]) or to(tensor, *where, **kinds))
    found = CAM(model, "module.late")(images(), 1)
    assert torch.device("cpu") in moved, "the inputs go to the first device"
    torch.testing.assert_close(found.maps, CAM(small_net(), "late")(images(), 1).maps)


class Anchored(nn.Module):
    """Keeps tensors in every form that a detector keeps its anchors in, made when they are first needed."""

    def __init__(self) -> None:
        super().__init__()
        self.network = small_net()
        self.register_buffer("scale", torch.ones(4))
        self.grids = [torch.zeros(0)]
        self.caches: dict[str, Any] = {}
        self.made: tuple[Tensor, ...] | None = None

    def forward(self, image: Tensor) -> Tensor:
        if self.made is None:
            self.scale = torch.linspace(0.5, 2, 4)
            self.grids[0] = torch.linspace(1, 3, 4)
            self.caches["order"] = torch.tensor([3, 2, 1, 0])  # whole numbers are saved for the backward pass, too
            self.made = (torch.full((4,), 0.5), torch.ones(4))
        scores = self.network(image) ** 2 * self.scale * self.grids[0]
        return scores[:, self.caches["order"]] * self.made[0] * self.made[1]


@pytest.mark.parametrize("layer", ["network.early", None])
def test_tensors_made_in_inference_mode_are_exchanged_for_the_time_of_a_pass(layer: str | None) -> None:
    methods = ["hirescam", "ablationcam", "scorecam"]
    expected = CAM(Anchored().eval(), layer, methods)(images(), 1)
    model = Anchored().eval()
    with torch.inference_mode():
        model(images())
    kept = [model.scale, model.grids[0], model.caches["order"], *model.made]
    found = CAM(model, layer, methods)(images(), 1)
    for name in methods:
        torch.testing.assert_close(found[name].maps, expected[name].maps)
    now = [model.scale, model.grids[0], model.caches["order"], *model.made]
    assert all(before is after for before, after in zip(kept, now, strict=True))
    assert model.scale.is_inference()


def test_statistics_made_in_inference_mode() -> None:
    model = small_net()
    expected = CAM(model, "early[0]", "hirescam")(images(), 1)
    with torch.inference_mode():
        for norm in (model.early[1], model.late[1]):
            norm.running_mean, norm.running_var = norm.running_mean + 0, norm.running_var * 1
    torch.testing.assert_close(CAM(model, "early[0]", "hirescam")(images(), 1).raw, expected.raw)


class Head(nn.Module):
    """Works on the output of its sigmoid as YOLO's does, in place or not."""

    def __init__(self, *, in_place: bool) -> None:
        super().__init__()
        self.network = small_net()
        self.in_place = in_place

    def forward(self, image: Tensor) -> Tensor:
        scores = self.network(image).sigmoid()
        if not self.in_place:
            return torch.cat([(scores[:, :2] * 2) ** 2, scores[:, 2:]], dim=1)
        scores[:, :2] = (scores[:, :2] * 2) ** 2
        return scores


@pytest.mark.parametrize("method", ["gradcam", "shapleycam", "fullgrad", "opticam", "liftcam", "smooth"])
def test_heads_that_overwrite_what_autograd_has_saved(method: str) -> None:
    layer = None if method == "fullgrad" else "network.late"
    for target in (1, 3):
        expected = CAM(Head(in_place=False), layer, method)(images(), target)
        found = CAM(Head(in_place=True), layer, method)(images(), target)
        torch.testing.assert_close(found.raw, expected.raw)
    assert CAM(Head(in_place=True)).probe(images()).default_layer() == CAM(Head(in_place=False)).probe(images()).default_layer()


class Recurrent(nn.Module):
    """Reads the columns of a convolution's maps one after the other."""

    def __init__(self, kind: type[nn.RNNBase], *, packed: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Conv2d(2, 4, 3, 2, 1)
        self.layer = kind(4, 6, num_layers=2, dropout=0.5, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(12, 3)
        self.packed = packed

    def forward(self, image: Tensor) -> Tensor:
        columns = self.features(image).relu().mean(2).transpose(1, 2)
        if self.packed:
            lengths = [columns.shape[1]] * len(columns)
            packed = nn.utils.rnn.pack_padded_sequence(columns, lengths, batch_first=True)
            return self.fc(nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True)[0].mean(1))
        return self.fc(self.layer(columns)[0].mean(1))


class RefusingRecurrence(TorchFunctionMode):
    """Refuses a backward pass through recurrent functions that were not run in training, as cuDNN does."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in ("lstm", "gru", "rnn_tanh", "rnn_relu") and output[0].requires_grad:
            train = [argument for argument in args if isinstance(argument, bool)][1]
            output[0].register_hook(lambda _: None if train else refuse())
        return output


def refuse() -> None:
    raise RuntimeError("cudnn RNN backward can only be called in training mode")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_behind_the_layer_have_a_backward_pass_in_eval_mode(kind: type[nn.RNNBase], packed: bool) -> None:
    model = Recurrent(kind, packed=packed).eval()
    methods = ["hirescam", "ablationcam", "opticam"]
    expected = CAM(model, "features", methods)(images(), 1)
    with RefusingRecurrence():
        found = CAM(model, "features", methods)(images(), 1)
        assert CAM(model)(images(), 1).layers == ["features"]
        with pytest.raises(RuntimeError, match="training mode"):
            model(images()).sum().backward()
    for name in methods:
        torch.testing.assert_close(found[name].raw, expected[name].raw)
    assert not any(module.training for module in model.modules())
    assert model.layer.dropout == 0.5


def test_recurrent_layers_keep_their_dropout_in_training() -> None:
    layer = nn.LSTM(3, 4, num_layers=2, dropout=0.9)
    sequence = torch.randn(5, 1, 3)
    with adapted(layer):
        assert not torch.equal(layer(sequence)[0], layer(sequence)[0])


class Scripted(nn.Module):
    """A network with a part in TorchScript."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features, self.norm, self.fc = nn.Conv2d(2, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.part = part

    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.part(self.norm(self.features(image)).relu()).mean((2, 3)))


class Mixing(nn.Module):
    """Attention over positions."""

    def forward(self, maps: Tensor) -> Tensor:
        tokens = maps.flatten(2).transpose(1, 2)
        weights = torch.softmax(tokens @ tokens.transpose(1, 2), dim=-1)
        return (weights @ tokens).transpose(1, 2).reshape(maps.shape)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("make", [lambda: nn.Conv2d(4, 4, 1), lambda: nn.BatchNorm2d(4), Mixing, lambda: nn.Sequential(nn.ReLU())])
@pytest.mark.parametrize("how", ["script", "trace"])
def test_scripted_parts_behind_the_layer(make: Callable[[], nn.Module], how: str) -> None:
    torch.manual_seed(0)
    part = make().eval()
    scripted = torch.jit.script(part) if how == "script" else torch.jit.trace(part, torch.randn(2, 4, 5, 7))
    model, plain = Scripted(scripted).eval(), Scripted(part).eval()
    for settings in ({}, {"speed": {"fold": True}}, {"placement": "measured"}):
        methods = ["hirescam", "ablationcam", "scorecam"]
        found, expected = (CAM(network, "norm", methods, **settings)(images(), 1) for network in (model, plain))
        for name in methods:
            torch.testing.assert_close(found[name].maps, expected[name].maps)
    assert CAM(model)(images(), 1).layers == ["norm"], "no hook sees what is behind it"
    CAM(model, None, "fullgrad")(images(), 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_parts_that_a_method_would_have_to_see_are_named() -> None:
    attention, activation = Scripted(torch.jit.script(Mixing())).eval(), Scripted(torch.jit.script(nn.ReLU())).eval()
    with pytest.raises(MethodError, match=r"'part' of the network is scripted .*its attention is not seen"):
        CAM(attention, None, "rollout")(images(), 1)
    with pytest.raises(MethodError, match=r"'part' of the network is scripted .*its activations are not seen"):
        CAM(activation, None, "guidedbackprop")(images(), 1)
    cam = CAM(attention, "features", ["rollout", "gradcam"], skip_unfit=True)
    assert list(cam(images(), 1)) == ["gradcam"]
    assert "scripted" in cam.refused["rollout"]


def test_lazy_modules_are_named() -> None:
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LazyLinear(3))
    for explain in (lambda: CAM(model, "[0]")(images()), lambda: CAM(model).probe(images())):
        with pytest.raises(CamtoolError, match=r"lazy modules, whose weights are not made yet: 0\.weight, .*Run it once"):
            explain()
    assert model[0].has_uninitialized_params()
    model(images())
    assert CAM(model, "[0]")(images()).maps.shape == (2, 10, 14)


def test_numbers_without_axes_may_stand_beside_the_scores() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = small_net()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            return self.network(image), self.scale.exp()

    methods = ["hirescam", "ablationcam", "reciprocam", "liftcam", "scorecam"]
    for settings in ({}, {"aug_smooth": True}, {"speed": {"fold": True}}):
        found = CAM(Scaled(), "network.late", methods, **settings)(images(), 1)
        expected = CAM(small_net(), "late", methods, **settings)(images(), 1)
        for name in methods:
            torch.testing.assert_close(found[name].maps, expected[name].maps, rtol=1e-4, atol=1e-5)


def test_an_error_of_the_backward_pass_says_whose_it_is() -> None:
    class Failing(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, tensor: Tensor) -> Tensor:
            return tensor.clone()

        @staticmethod
        def backward(*_: Any) -> Tensor:
            raise RuntimeError("no backward pass in eval mode")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = small_net()

        def forward(self, image: Tensor) -> Tensor:
            return Failing.apply(self.network(image))

    with pytest.raises(RuntimeError, match="no backward pass") as raised:
        CAM(Net(), "network.late")(images(), 1)
    assert "the network itself, in the backward pass" in raised.value.__notes__[0]
