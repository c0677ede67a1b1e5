"""What methods ask of networks that are not kind to them."""

import pytest
import torch
from torch import Tensor, nn

from camtool import CAM
from camtool.errors import MethodError
from tests.networks import SmallNet, images, small_net

pytestmark = pytest.mark.filterwarnings("ignore::camtool.errors.CamtoolWarning")
ASKING = ["ablationcam", "reciprocam", "scorecam", "smoothgradcam++", {"type": "opticam", "steps": 3}, "liftcam"]


class OutOfPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = small_net()

    def forward(self, image: Tensor) -> Tensor:
        return self.net((image - 0.3) / 2)


class InPlace(OutOfPlace):
    """Normalises its input in place."""

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image.sub_(0.3).div_(2))


@pytest.mark.parametrize("speed", [None, {"channels_last": True}], ids=str)
def test_a_network_that_works_in_place_on_its_input_is_asked_with_the_input_itself(speed: dict[str, bool] | None) -> None:
    expected = CAM(OutOfPlace(), "net.early", ASKING)(images(), 1)
    found = CAM(InPlace(), "net.early", ASKING, speed=speed)(images(), 1)
    for name, result in expected.items():
        torch.testing.assert_close(found[name].raw["net.early"], result.raw["net.early"], rtol=1e-3, atol=1e-5)


class Squeezing(SmallNet):
    """One score, without axes where the batch is one."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images)[:, 0].squeeze()


@pytest.mark.parametrize("count", [1, 2])
def test_a_score_that_is_squeezed_away_is_found(count: int) -> None:
    model = Squeezing().eval()
    found = CAM(model, "early", ["gradcam", "reciprocam", "ablationcam"])(images(count=count), 0)
    assert all(result.maps.shape[0] == count for result in found.values())


class Viewing(nn.Module):
    """Wants its tokens in one piece of memory."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.fc = nn.Linear(3, 4), nn.Linear(4 * 16, 3)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.layer(nn.functional.avg_pool2d(image, 4).flatten(2).transpose(1, 2))
        return self.fc(tokens.view(len(tokens), -1))


def test_activations_are_given_back_in_one_piece_of_memory() -> None:
    found = CAM(Viewing(), "layer", ["ablationcam", "reciprocam", "liftcam"])(torch.randn(2, 3, 16, 16), 1)
    assert all(result.maps.isfinite().all() for result in found.values())


class Frozen(SmallNet):
    """No gradient gets to its input."""

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            early = self.early(images)
        return self.fc(self.pool(self.late(early)).flatten(1))


def test_a_score_without_gradient_at_the_input_is_refused_in_words() -> None:
    with pytest.raises(MethodError, match=r"'opticam' needs the gradient of the score .* the graph does not reach it"):
        CAM(Frozen().eval(), "late", "opticam")(images(), 1)
