"""Replaying a network's tail gives what a whole forward pass gives, whatever the network's Python does in between."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from camtool.instrumentation.inputs import find_inputs
from camtool.instrumentation.module_state import evaluating
from camtool.instrumentation.nested import tensors_in
from camtool.instrumentation.replay import Recording, Replay


class Counting(nn.Identity):
    """Counts the samples that went through it; they start from its input plus one."""

    def __init__(self) -> None:
        super().__init__()
        self.samples = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.samples += len(inputs)
        return inputs + 1


class Base(nn.Module):
    """Convolutions before, at and behind the layer; subclasses say how they hang together."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.counting = Counting()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.layer = nn.Conv2d(4, 4, 3, padding=1)
        self.behind = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.fc = nn.Linear(4, 5)

    def head(self, features: Tensor) -> Tensor:
        return self.fc(features.mean((2, 3)))


class Residual(Base):
    """A skip connection by-passes the layer, and one module is called before and behind it."""

    def forward(self, image: Tensor) -> Tensor:
        skip = self.act(self.stem(self.counting(image)))
        return self.head(self.act(self.behind(self.act(self.layer(skip)) + skip)))


class InPlace(Base):
    """What a module returned is overwritten in place, by another module before the layer and by plain code behind it."""

    def forward(self, image: Tensor) -> Tensor:
        stem = self.stem(self.counting(image))
        plain = stem * 1
        self.act(stem)
        features = self.layer(stem)
        stem += plain
        features += stem
        return self.head(self.act(features))


class Functional(Base):
    """Between the modules stands code that depends on the batch, and a table that belongs to no sample."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Table()

    def forward(self, image: Tensor) -> Tensor:
        stem = F.gelu(self.stem(self.counting(image)))
        batch, channels, height, width = stem.shape
        rows = self.table().cumsum(0)[-1:].expand(batch, -1, -1)
        tokens = torch.cat([stem.view(batch, channels, -1), rows], dim=2)
        features = self.layer(tokens[:, :, : height * width].view(batch, channels, height, width))
        features = features + rows.mean((1, 2)).view(-1, 1, 1, 1)
        return self.head(torch.tanh(self.behind(features)) * stem.sigmoid())


class Table(nn.Module):
    """A parameter as a module, as position biases are."""

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.randn(3, 4, 3))  # three rows, as many as one of the batches

    def forward(self) -> Tensor:
        return self.values * 1


class Repeated(Base):
    """The layer is called three times; its first call is replaced."""

    def forward(self, image: Tensor) -> Tensor:
        features = self.stem(self.counting(image))
        for _ in range(3):
            features = torch.relu(self.layer(features)) + features
        return self.head(features)


class Windows(Base):
    """Samples are folded into windows before the layer, which lies inside a part that sees them whole again."""

    def forward(self, image: Tensor) -> Tensor:
        stem = self.counting(image)
        batch = len(stem)
        windows = stem.unflatten(2, (2, -1)).movedim(2, 1).flatten(0, 1)  # upper and lower half
        folded = self.stem(windows)
        whole = folded.unflatten(0, (batch, 2)).movedim(1, 2).flatten(2, 3)
        return self.head(self.behind(self.layer(whole)))


class Nested(nn.Module):
    """Returns dicts and tuples from modules, and scores in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Residual()
        self.counting = self.net.counting
        self.layer = Pair(self.net.layer)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        stem = self.net.stem(self.net.counting(image))
        features, size = self.layer(stem)
        return {"logits": self.net.head(features) * size}


class Pair(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.inner = layer

    def forward(self, features: Tensor) -> tuple[Tensor, int]:
        return self.inner(features), features.shape[-1]


class Sequence(nn.Module):
    """A transformer with the length in front of the batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.counting = Counting()
        self.first = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
        self.layer = nn.LayerNorm(8)
        self.second = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
        self.fc = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.counting(image).flatten(2).permute(2, 0, 1)[:, :, :1].expand(-1, -1, 8)
        normed = self.layer(self.first(tokens).transpose(0, 1))
        return self.fc(self.second(normed.transpose(0, 1)).mean(0))


class Fickle(Base):
    """Calls one module more every other time: not the same Python twice."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, image: Tensor) -> Tensor:
        self.calls += 1
        features = self.stem(self.counting(image))
        if self.calls > 1:
            features = self.act(features)
        return self.head(self.layer(features))


def bound(model: nn.Module, inputs: Tensor) -> Replay:
    recording = Recording(model, model.get_submodule("layer"))
    with recording.recording():
        output = model(inputs)
    return Replay(recording, 0, find_inputs(inputs), output)


REPLAYED = [Residual, InPlace, Functional, Repeated, Windows, Nested, Sequence]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("make", REPLAYED)
@torch.no_grad()
def test_replay_equals_whole_forward_passes(make: Callable[[], nn.Module], batch: int) -> None:
    model, inputs = make().eval(), torch.randn(batch, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    replay = bound(model, inputs)
    for sample in range(batch):
        own = replay.activations[sample : sample + 1]
        changed = own + torch.randn(5, *own.shape[1:], generator=torch.Generator().manual_seed(sample))
        found, expected = (next(tensors_in(run(sample, changed.clone()))) for run in (replay, replay.whole))
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
        assert found.std(dim=0).min() > 1e-3, "the copies differ"
    assert replay.status == "replay"


@pytest.mark.parametrize("make", [Residual, InPlace, Functional, Repeated, Nested])
@torch.no_grad()
def test_nothing_upstream_runs_again(make: Callable[[], Base]) -> None:
    model, inputs = make().eval(), torch.randn(2, 3, 8, 8)
    replay = bound(model, inputs)
    assert model.counting.samples == 2
    replay(0, replay.activations[:1].repeat(40, 1, 1, 1))
    assert model.counting.samples == 2


@torch.no_grad()
def test_a_network_that_runs_otherwise_each_time_gets_whole_forward_passes_and_says_so() -> None:
    model, inputs = Fickle().eval(), torch.randn(2, 3, 8, 8)
    replay = bound(model, inputs)
    changed = replay.activations[:1] + torch.randn(3, 4, 8, 8)
    model.calls = 5
    found = replay(0, changed)
    torch.testing.assert_close(found, model.head(changed))
    assert replay.status == "full forward passes: its modules are called in another order"


class Hidden(Base):
    """Reaches the layer through a module that does not hold it."""

    def __init__(self) -> None:
        super().__init__()
        self.act.forward = lambda features: self.layer(features)  # type: ignore[method-assign]  # noqa: PLW0108 - a module would be held

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.act(self.stem(image)))


@torch.no_grad()
def test_a_layer_called_by_a_stranger_gets_whole_forward_passes_and_says_so() -> None:
    model, inputs = Hidden().eval(), torch.randn(2, 3, 8, 8)
    replay = bound(model, inputs)
    changed = replay._recording.layer(model.stem(inputs[:1])) + torch.randn(3, 4, 8, 8)
    torch.testing.assert_close(replay.whole(0, changed), model.head(changed))
    assert replay.status.startswith("full forward passes: the layer is called inside a module that does not contain it")


@torch.no_grad()
def test_what_a_module_returned_is_remembered_as_it_was() -> None:
    model, inputs = InPlace().eval(), torch.randn(1, 3, 8, 8)
    stem = model.stem(inputs + 1)
    replay = bound(model, inputs)
    assert torch.equal(replay._recording.answers[1].output, stem), "the ReLU behind it works in place"


@torch.no_grad()
def test_forward_methods_are_as_they_were_also_after_an_exception() -> None:
    model, inputs = Residual().eval(), torch.randn(1, 3, 8, 8)
    model.act.forward = own = lambda features: features.clamp(min=0)  # type: ignore[method-assign]
    replay = bound(model, inputs)
    replay(0, replay.activations.repeat(2, 1, 1, 1))
    assert vars(model.act)["forward"] is own
    with pytest.raises(RuntimeError):
        replay(0, torch.randn(2, 7, 8, 8))
    assert vars(model.act)["forward"] is own
    assert all("forward" not in vars(module) for module in model.modules() if module is not model.act)


def test_gradients_flow_through_a_replay() -> None:
    model, inputs = Residual().eval(), torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        replay = bound(model, inputs)
    changed = (replay.activations + 0.1).requires_grad_()
    (found,) = torch.autograd.grad(replay(0, changed.clone())[:, 1].sum(), changed)
    (expected,) = torch.autograd.grad(replay.whole(0, changed.clone())[:, 1].sum(), changed)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("layer", ["layer1[0].conv1", "layer2[1].bn2", "layer3", "layer4[1].conv2"])
@torch.no_grad()
def test_a_resnet_is_replayed_from_anywhere(layer: str) -> None:
    from camtool.instrumentation.layer_paths import find_layer

    torch.manual_seed(0)
    model, inputs = torchvision.models.resnet18().eval(), torch.randn(2, 3, 64, 64)
    _, module = find_layer(model, layer)
    with evaluating(model):
        recording = Recording(model, module)
        with recording.recording():
            output = model(inputs)
        replay = Replay(recording, 0, find_inputs(inputs), output)
        changed = replay.activations[1:] * torch.rand(4, *replay.activations.shape[1:])
        torch.testing.assert_close(replay(1, changed.clone()), replay.whole(1, changed.clone()), rtol=1e-5, atol=1e-5)
    assert replay.status == "replay"


class Hooked(Residual):
    """Has a hook of the user's on the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer.register_forward_hook(lambda *call: call[-1].mul_(2))


class Aliasing(Base):
    """Works in place on what a module returned before the layer."""

    def forward(self, image: Tensor) -> Tensor:
        stem = self.stem(self.counting(image))
        stem += self.layer(stem)
        return self.head(self.behind(stem).relu())


@pytest.mark.parametrize("make", [Hooked, Aliasing])
@torch.no_grad()
def test_a_replay_changes_nothing_that_the_next_one_needs(make: Callable[[], Base]) -> None:
    model, inputs = make().eval(), torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    recording = Recording(model, model.layer)
    with recording.recording():
        output = model(inputs)
    replay = Replay(recording, 0, find_inputs(inputs), output)
    for seed in range(3):  # one copy at a time: an expanded view of one is no copy
        changed = replay.activations + torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(replay(0, changed.clone()), replay.whole(0, changed.clone()), rtol=1e-5, atol=1e-6)
    assert replay.status == "replay"


class Keeper(nn.Module):
    """A stem whose skip is an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        self.skip = self.conv(image)
        return self.skip.relu()


class Skipping(Base):
    """Reads the skip that its stem keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = Keeper()  # type: ignore[assignment]

    def forward(self, image: Tensor) -> Tensor:
        features = self.layer(self.stem(image))
        return self.head(self.behind(features + self.stem.skip).relu())  # type: ignore[operator]


@torch.no_grad()
def test_what_other_passes_have_left_in_the_network_is_noticed() -> None:
    model, inputs = Skipping().eval(), torch.randn(1, 3, 8, 8)
    replay = bound(model, inputs)
    changed = replay.activations + torch.randn(2, 4, 8, 8)
    expected = replay.whole(0, changed.clone())
    replay(0, changed.clone())
    assert replay.status == "replay"
    model(torch.randn(1, 3, 8, 8))
    replay.invalidate()
    torch.testing.assert_close(replay(0, changed.clone()), expected)
    assert replay.status.startswith("full forward passes")
