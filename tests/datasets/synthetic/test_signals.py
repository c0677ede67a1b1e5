"""Signals: a small network trained on their scenes for seconds has a class activation map that covers the shape."""

import torch
from torch import Tensor, nn

from camtool.datasets.synthetic.scenes import ShapeScenes
from tests.datasets.synthetic.known_answers import ask, pictures_of
from tests.networks import CONV, GAP, NORM


class Net(nn.Module):
    """Convolutions, global average pooling, one linear layer."""

    def __init__(self, rank: int, classes: int, channels: tuple[int, ...], kernel: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *channels), channels, strict=False):
            layers += [CONV[rank](before, after, kernel, stride=2, padding=kernel // 2, bias=False), NORM[rank](after), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.pool = GAP[rank](1)
        self.fc = nn.Linear(channels[-1], classes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.fc(self.pool(self.features(inputs)).flatten(1))


def to_inputs(pictures: Tensor) -> Tensor:
    return (pictures.float() - 127.5) / 51


def test_the_map_covers_the_shape() -> None:
    rank, size, count, epochs = 1, 128, 1500, 12
    scenes = ShapeScenes(rank=rank, size=size)
    samples = [scenes.scene(index).sample() for index in range(count)]
    inputs, labels = to_inputs(pictures_of(samples)), torch.tensor([sample.label for sample in samples])
    model = Net(rank, len(scenes.classes), channels=(16, 32, 64), kernel=9)
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, epochs=epochs, steps_per_epoch=-(-count // 50))
    for _ in range(epochs):
        for batch in torch.randperm(count).split(50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
    held_out = ShapeScenes(rank=rank, size=size, split="test")
    answers = ask(model.eval(), to_inputs, [held_out.scene(index) for index in range(200)], target_layers="features")
    assert answers.accuracy >= 0.75
    assert answers.energy >= 2.5
    assert answers.object_to_distractor >= 2
    assert answers.flips >= 0.95
