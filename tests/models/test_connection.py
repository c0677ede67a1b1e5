"""Without a network: one line, at once, and what was downloaded before still works."""

import socket
import time
from collections.abc import Callable

import pytest
import torch

from camtool.config.loading import load_config
from camtool.errors import CamtoolError
from camtool.models import load_network
from camtool.models.connection import unreachable


@pytest.fixture(autouse=True)
def without_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.getproxies", dict)


def silent(address: object, timeout: float) -> socket.socket:
    time.sleep(6)  # in a thread that nobody waits for
    raise TimeoutError


def unknown(address: object, timeout: float) -> socket.socket:
    raise socket.gaierror(-2, "Name or service not known")


@pytest.fixture(params=[silent, unknown], ids=["silent", "unknown"])
def cut_off(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., socket.socket]:
    monkeypatch.setattr("socket.create_connection", request.param)
    return request.param


def test_a_server_that_listens_is_reached_and_one_that_has_gone_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/weights.pth"
        assert unreachable(url) == ""
    assert unreachable(url) == "no connection to 127.0.0.1: Connection refused"


def test_the_proxy_is_asked_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://127.0.0.1:9"})
    assert unreachable("https://example.invalid/weights.pth") == "no connection to 127.0.0.1: Connection refused"


@pytest.mark.parametrize("config", ["hf/nobody/no-such-network", "timm/resnet18", "torchvision/resnet18"])
def test_without_a_network_it_is_said_within_three_seconds(
    config: str, cut_off: object, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("transformers")
    empty = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(empty))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(empty))
    import camtool.models.sources.huggingface_source
    import camtool.models.sources.timm_source
    import camtool.models.sources.torchvision_source  # noqa: F401

    loaded = load_config(config)
    started = time.perf_counter()
    with pytest.raises(CamtoolError, match="no connection to ") as caught:
        load_network(loaded)

    assert time.perf_counter() - started < 3
    assert "\n" not in str(caught.value)
