"""`camtool vis` and `camtool run` on signals."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wfdb

import camtool.store
from camtool import Explainer
from camtool.io.signals import Signal
from tests.cli.fixtures import CAT, Run, pixels

NETWORK = """
import torch
from torch import nn


class Peaks(nn.Module):
    # A score for each of two channels: its mean where it is positive, in steps of four samples.
    def __init__(self, rows=False):
        super().__init__()
        self.rows = rows
        kernel, stride, padding = ((9, 1), (4, 1), (4, 0)) if rows else (9, 4, 4)
        self.conv = (nn.Conv2d if rows else nn.Conv1d)(2, 2, kernel, stride=stride, padding=padding)
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.bias.zero_()
            for channel in range(2):
                self.conv.weight[channel, channel] = 1 / 9
            self.head.weight.copy_(torch.eye(2))
            self.head.bias.zero_()

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).flatten(2).mean(2))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(2, 6, 9, stride=4, padding=4)
        self.lstm = nn.LSTM(6, 8, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.lstm(torch.relu(self.conv(x)).mT)[0].mean(1))
"""
RATE, PEAKS = 250.0, (2.0, 7.5)


@pytest.fixture
def config(tmp_path: Path) -> Any:
    """Write the config of a network with this preprocessing, and other keys; return its path."""
    (tmp_path / "peaks.py").write_text(NETWORK)

    def write(
        preprocess: dict[str, Any] | None = None, factory: str = "Peaks", kwargs: dict[str, Any] | None = None, **others: Any
    ) -> Path:
        model = {"type": "camtool.TorchModel", "factory": f"peaks.py:{factory}", "with_weights": True, "preprocess": preprocess or {}}
        model |= {"kwargs": kwargs or {}, "classes": ["early", "late"]}
        (tmp_path / "c.py").write_text("".join(f"{key} = {value!r}\n" for key, value in {"model": model, **others}.items()))
        return tmp_path / "c.py"

    return write


def record() -> Signal:
    """Return ten seconds with a peak at two seconds in one channel and at seven and a half in the other."""
    times = np.arange(0, 10, 1 / RATE)
    values = np.stack([np.exp(-((times - peak) ** 2) / 0.02) for peak in PEAKS])
    return Signal(values.astype(np.float32), RATE, ("I", "II"), name="record")


def write_csv(path: Path) -> Path:
    np.savetxt(path, record().values.T, delimiter=",", header="I,II", comments="")
    return path


@pytest.mark.parametrize("preprocess", [{}, {"rate": 100}, {"rate": 500, "normalise": "zscore"}, {"length": 2700, "align": "centre"}])
@pytest.mark.parametrize("rows", [False, True])
def test_the_map_lies_at_the_peak_of_its_class(config: Any, run: Run, tmp_path: Path, preprocess: dict[str, Any], rows: bool) -> None:
    image = write_csv(tmp_path / "record.csv")
    others = {"input": {"kind": "signal"}} if rows else {}
    recipe = config({**preprocess, **({"shape": "ct1"} if rows else {})}, kwargs={"rows": rows}, **others)

    finished = run(
        *("vis", image, recipe, "--sampling-rate", RATE, "--target-category", "early", "late"),
        *("-o", "figure.png", "--save-raw", "raw.npz"),
    )

    assert finished.exit_code == 0, finished.stderr
    assert pixels(tmp_path / "figure.png").shape[1] > 1000
    arrays = np.load(tmp_path / "raw.npz")
    assert arrays["time"].shape == (2500,)
    assert float(arrays["sampling_rate"]) == RATE
    explanation = Explainer(recipe)(record(), categories=["early", "late"])
    canvas = explanation.canvas()
    for k, peak in enumerate(PEAKS):
        on_record = canvas.placed(explanation.results["gradcam"].maps[0, k].numpy())
        assert on_record.shape == (2500,)
        assert abs(np.nanargmax(on_record) / RATE - peak) < 0.05


def test_a_part_of_the_record(config: Any, run: Run, tmp_path: Path) -> None:
    image = write_csv(tmp_path / "record.csv")

    finished = run("vis", image, config(), "--sampling-rate", RATE, "--start", 6, "--duration", 3, "-o", "a.png", "--save-raw", "a.npz")

    assert finished.exit_code == 0, finished.stderr
    times = np.load(tmp_path / "a.npz")["time"]
    assert (times[0], len(times)) == (6, 750)


def test_convolutions_before_a_recurrent_layer(config: Any, run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "record.npy", record().values)

    report = run(
        "vis",
        "record.npy",
        config(factory="Recurrent"),
        "--target-layers",
        "conv",
        "--method",
        "gradcam",
        "saliency",
        "-o",
        "a.png",
        "--json",
    ).report

    assert report["sources"]["gradcam"] == "at conv"


def test_the_library_takes_arrays_of_channels(config: Any) -> None:
    explanation = Explainer(config())(record().values)

    assert explanation.image.name == "signal_0"
    assert explanation.results["gradcam"].maps.shape == (1, 1, 2500)


@pytest.mark.parametrize("rows", [False, True])
def test_attributions_by_input_channel_are_drawn_by_channel(config: Any, rows: bool) -> None:
    others = {"input": {"kind": "signal"}} if rows else {}
    recipe = config({"rate": 100, **({"shape": "ct1"} if rows else {})}, kwargs={"rows": rows}, **others)
    explanation = Explainer(recipe, method=["gradcam", "guidedbackprop"])(record(), categories=["late"])
    canvas = explanation.canvas()

    by_channel = canvas.cell(explanation.answer, "guidedbackprop", 0).saliency

    signed = canvas.cell(explanation.answer, "guidedbackprop", 0, signed=True)
    has_negative = bool((explanation.results["guidedbackprop"].attributions[0, 0] < 0).any())
    assert signed.remark == ("" if has_negative else "no negative values")
    assert (np.nanmin(signed.saliency) < 0.5) == has_negative
    assert by_channel.shape == (2, 2500)
    assert np.nanmax(by_channel[0]) == 0, "the class reads the other channel"
    assert np.nanmax(by_channel[1]) == pytest.approx(1, abs=0.05)
    assert explanation.figure().shape[1] > 1000


@pytest.mark.parametrize("rows", [False, True])
def test_maps_of_a_layer_that_keeps_the_channels_apart_are_drawn_by_channel(config: Any, rows: bool) -> None:
    others = {"input": {"kind": "signal"}} if rows else {}
    recipe = config({"rate": 100, **({"shape": "ct1"} if rows else {})}, kwargs={"rows": rows}, **others)
    explainer, whole = Explainer(recipe), Explainer(recipe, by_channel=False)

    explanation = explainer(record(), categories=["late"])
    cell, signed = (explanation.canvas().cell(explanation.answer, "gradcam", 0, signed=signed) for signed in (False, True))

    assert cell.saliency.shape == signed.saliency.shape == (2, 2500)
    assert cell.subtitle == "gradcam at conv, each channel its own, on one scale"
    assert np.nanmax(cell.saliency[0]) == 0, "the class reads the other channel"
    assert np.nanmax(cell.saliency[1]) == pytest.approx(1, abs=0.05)
    assert np.nanargmax(cell.saliency[1]) / RATE == pytest.approx(PEAKS[1], abs=0.05)
    assert np.nanmin(signed.saliency[0]) == np.nanmax(signed.saliency[0]) == 0.5
    assert explainer.cam.by_channel is False, "runs and metrics do without"
    alone = whole(record(), categories=["late"])
    assert alone.canvas().cell(alone.answer, "gradcam", 0).saliency.shape == (2500,)
    arrays = np.load(io.BytesIO(explanation.arrays()))
    assert arrays["by_channel/gradcam/conv"].shape[:2] == (1, 2)
    assert not [name for name in np.load(io.BytesIO(alone.arrays())) if name.startswith("by_channel")]


def test_signed_channels_are_said_to_have_no_negative_values_only_if_they_have_none(config: Any) -> None:
    explanation = Explainer(config(factory="Recurrent"), method="saliency")(record())

    cell = explanation.canvas().cell(explanation.answer, "saliency", 0, signed=True)

    assert np.nanmin(cell.saliency) < 0.5
    assert not cell.remark


def test_a_recurrent_network_mixes_its_channels(config: Any, run: Run, tmp_path: Path) -> None:
    recipe = config(factory="Recurrent")

    explanation = Explainer(recipe)(record())
    refused = run("vis", write_csv(tmp_path / "r.csv"), recipe, "--sampling-rate", 250, "--by-channel", "-o", "a.png")

    assert explanation.canvas().cell(explanation.answer, "gradcam", 0).saliency.shape == (2500,)
    assert refused.exit_code == 2
    assert "Expected target layers that keep the input's channels apart, got lstm" in refused.stderr
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--by-channel", "--window", "500"], "got by_channel and a window"),
        (["--by-channel", "--aug-smooth"], "got by_channel and aug_smooth"),
        (["--by-channel", "--eigen-smooth"], "got by_channel and eigen_smooth"),
        (["--by-channel", "--method", "occlusion"], "got occlusion"),
        (["--no-by-channel", "--method", "dff"], "leave out --by-channel"),
    ],
)
def test_options_that_leave_no_map_of_a_channel_are_refused(
    config: Any, run: Run, tmp_path: Path, options: list[str], expected: str
) -> None:
    finished = run("vis", write_csv(tmp_path / "r.csv"), config(), "--sampling-rate", 250, *options, "-o", "a.png")

    assert finished.exit_code == 2
    assert expected in finished.stderr
    assert not (tmp_path / "a.png").exists()


def test_pictures_have_no_map_of_a_channel(run: Run) -> None:
    finished = run("vis", CAT, "torchvision/squeezenet1_1", "--random-weights", "--by-channel", "-o", "a.png")

    assert finished.exit_code == 2
    assert "Expected a network on signals, whose figures have a map for each channel, got one on images" in finished.stderr


def test_the_channels_that_the_network_takes_are_drawn(config: Any) -> None:
    explanation = Explainer(config({"channels": ["II", "I"]}))(record())

    assert explanation.figure().shape == Explainer(config())(record()).figure().shape


def test_a_folder_of_signals_is_run(config: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number in range(3):
        np.save(tmp_path / "data" / f"{number}.npy", record().values)

    finished = run("run", config(), "--data", "data", "--out", "store")

    assert finished.exit_code == 0, finished.stderr
    rows = list(camtool.store.open(tmp_path / "store"))
    assert [tuple(row.map.shape) for row in rows] == [(625,)] * 3


def test_a_record_of_a_header_and_its_signals_is_one_sample(config: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("r1", "r2"):
        wfdb.wrsamp(
            name, fs=RATE, units=["mV"] * 2, sig_name=["I", "II"], p_signal=record().values.T, fmt=["16"] * 2, write_dir=tmp_path / "data"
        )
    recipe = config()

    finished = run("run", recipe, "--data", "data", "--out", "store")

    assert finished.exit_code == 0, finished.stderr
    assert [row["path"] for row in camtool.store.open(tmp_path / "store")] == ["r1.hea", "r2.hea"]
    for given in ("data", "data/*"):
        reports = json.loads(run("vis", given, recipe, "-o", "maps/", "--json").stdout)
        assert [one["image"] for one in reports] == ["data/r1.hea", "data/r2.hea"]
    assert run("vis", "data/r1.dat", recipe, "-o", "maps/").exit_code == 0


WRONG: dict[str, tuple[str, list[Any], str]] = {
    "text in a table": ("I,II\n1,2\n3,x\n", ["--sampling-rate", 5], "x"),
    "an empty file": ("", [], "empty"),
    "seconds without a rate": ("1,2\n3,4\n", ["--start", 1], "--sampling-rate"),
    "no such channel": ("I,II\n1,2\n3,4\n", ["--channels", "III"], "III"),
    "a start behind the end": ("1,2\n3,4\n", ["--sampling-rate", 1, "--start", 5], "--start"),
    "a rate of zero": ("1,2\n3,4\n", ["--sampling-rate", 0], "above 0"),
    "slices": ("1,2\n3,4\n", ["--slices", 2], "--slices is an option of volumes"),
    "a volume's format": ("1,2\n3,4\n", ["-o", "a.nii.gz"], "Cannot write"),
    "one channel of two": ("1\n2\n3\n4\n5\n6\n7\n8\n9\n", [], "expected input"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_signals(config: Any, run: Run, tmp_path: Path, case: str) -> None:
    content, options, message = WRONG[case]
    image = tmp_path / "record.csv"
    image.write_text(content)
    recipe = config()
    before = sorted(tmp_path.iterdir())

    finished = run("vis", image, recipe, *options)

    assert finished.exit_code == 2, finished.stdout
    assert message in finished.stderr
    assert finished.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_one_of_several_arrays_and_what_fills_gaps(config: Any, run: Run, tmp_path: Path) -> None:
    values = record().values.copy()
    values[0, 490:510] = np.nan  # at the peak
    np.savez(tmp_path / "two.npz", ecg=values, noise=values[:, ::-1], fs=RATE)
    recipe = config()

    unnamed = run("vis", "two.npz", recipe, "-o", "a.png")
    with_gaps = run("vis", "two.npz", recipe, "--part", "ecg", "-o", "a.png")
    wrong = run("vis", "two.npz", recipe, "--part", "ecg", "--fill", "spline", "-o", "a.png")
    filled = [run("vis", "two.npz", recipe, "--part", "ecg", "--fill", fill, "-o", f"{fill}.png") for fill in ("0", "linear", "-1.5")]

    for finished, message in ((unnamed, "by --part"), (with_gaps, "--fill linear"), (wrong, "--fill")):
        assert finished.exit_code == 2, finished.stdout
        assert message in finished.stderr
        assert finished.stderr.count("\n") == 1
    assert [finished.exit_code for finished in filled] == [0, 0, 0], filled[0].stderr
    assert not (tmp_path / "a.png").exists()
    assert len({(tmp_path / f"{fill}.png").read_bytes() for fill in ("0", "linear", "-1.5")}) == 3


SPECTROGRAMS = """
import torch
from torch import nn


class Loud(nn.Module):
    # Class 0 is what is loud in a spectrogram: one that is given, or that the network makes of the signal.
    def __init__(self, inside=False):
        super().__init__()
        self.inside = inside
        self.features = nn.Sequential(nn.Conv2d(1, 2, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.features[0].weight.fill_(1 / 9)
            self.features[0].bias.zero_()
            self.head.weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
            self.head.bias.zero_()

    def forward(self, x):
        if self.inside:
            waves = torch.stft(x[:, 0], 64, 16, window=torch.hann_window(64), return_complex=True)
            x = waves.abs().square()[:, None]
        return self.head(self.features(x).mean((2, 3)))
"""


@pytest.mark.parametrize("inside", [True, False])
def test_networks_of_spectrograms(config: Any, run: Run, tmp_path: Path, inside: bool) -> None:
    (tmp_path / "peaks.py").write_text(SPECTROGRAMS)
    times = np.arange(0, 10, 1 / RATE)
    tone = np.sin(2 * np.pi * 60 * times) * ((times >= 4) & (times < 5)) + 0.001 * np.random.default_rng(0).standard_normal(len(times))
    np.save(tmp_path / "record.npy", tone)
    spectrogram = {} if inside else {"spectrogram": {"window": 64, "hop": 16, "log": False}}
    recipe = config({"rate": 250, **spectrogram}, "Loud", {"inside": inside}, input={"kind": "signal", "rate": RATE})

    finished = run("vis", "record.npy", recipe, "--target-category", "early", "-o", "a.png", "--save-raw", "a.npz")

    assert finished.exit_code == 0, finished.stderr
    assert pixels(tmp_path / "a.png").shape[1] > 1000
    assert np.load(tmp_path / "a.npz")["map/gradcam"].shape == ((1, 2500) if inside else (1, 33, 157))
    explanation = Explainer(recipe)(Signal(tone[None].astype(np.float32), RATE, ("0",)), categories=["early"])
    drawn = explanation.canvas().cell(explanation.answer, "gradcam", 0).saliency
    assert drawn.shape == (2500,)
    assert np.nanmax(drawn) == pytest.approx(1)
    assert set(np.flatnonzero(drawn > 0.5) / RATE // 0.2) <= {19, 20, 21, 22, 23, 24, 25}
    assert (drawn[(times > 4.2) & (times < 4.8)] > 0.5).all()


def test_a_data_set_is_read_by_the_options_of_files(config: Any, run: Run, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with_gap = record().values.copy()
    with_gap[0, 100:150] = np.nan
    np.savez(data / "0.npz", ecg=with_gap, other=np.zeros((2, 2500), np.float32))
    options = ["--part", "ecg", "--fill", "linear", "--sampling-rate", RATE]
    recipe = config({"rate": 100})

    finished = run("run", recipe, "--data", data, "--out", "maps", *options)
    assert finished.exit_code == 0, finished.stderr
    (row,) = camtool.store.open(tmp_path / "maps")
    assert row["status"] == "ok"
    assert camtool.store.open(tmp_path / "maps").run["input"]["reading"] == {"rate": RATE, "part": "ecg", "fill": "linear"}

    other = run("run", recipe, "--data", data, "--out", "maps", *options[:2], "--fill", 0, *options[4:])
    assert other.exit_code == 2
    assert "config.input.fill: 0.0 instead of linear" in other.stderr
    run("run", recipe, "--data", data, "--out", "maps2")
    (unread,) = camtool.store.open(tmp_path / "maps2")
    assert unread["status"] != "ok"
    volumes = run("run", recipe, "--data", data, "--out", "maps3", "--volume-axis", 0)
    assert (volumes.exit_code, volumes.stderr.count("\n")) == (2, 1)
    assert "--volume-axis is an option of volumes" in volumes.stderr


@pytest.mark.parametrize("command", ["check", "eval"])
def test_scores_of_a_data_set_that_options_read(config: Any, run: Run, tmp_path: Path, command: str) -> None:
    data = tmp_path / "data"
    data.mkdir()
    np.savez(data / "0.npz", ecg=record().values, other=np.zeros((2, 2500), np.float32))
    masks = tmp_path / "masks"
    masks.mkdir()
    times = np.arange(2500) / RATE
    np.save(masks / "0.npy", (abs(times - PEAKS[0]) < 0.3).astype(np.uint8))
    wanted = ["--require", "energy >= 0.3"] if command == "check" else ["--metrics", "deletion", "--out", tmp_path / "scores"]
    files = ["--part", "ecg", "--sampling-rate", RATE, "--target-category", "early"]
    if command == "check":
        wanted += ["--masks", masks]

    finished = run(command, config({"rate": 100}), "--data", data, *wanted, *files)

    assert finished.exit_code in ((0, 1) if command == "check" else (0,)), finished.stderr
    assert not finished.stderr.startswith("Error")


@pytest.mark.parametrize("stride", [1, 4])
def test_a_span_in_windows_is_explained_or_refused(config: Any, run: Run, tmp_path: Path, stride: int) -> None:
    (tmp_path / "peaks.py").write_text(
        "import torch\nfrom torch import nn\n"
        "def build(stride):\n"
        "    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Conv1d(2, 4, 5, stride=stride, padding=2), nn.ReLU(), nn.Conv1d(4, 2, 1))\n"
    )
    np.save(tmp_path / "record.npy", record().values)
    recipe = config({}, "build", {"stride": stride}, input={"kind": "signal", "rate": RATE})
    given = ["--span", "2:3", "--target-category", "early", "--method", "hirescam", "--target-layers", "[0]"]

    whole = run("vis", "record.npy", recipe, *given, "-o", "a.png", "--save-raw", "a.npz")
    windows = run("vis", "record.npy", recipe, *given, "--window", 500, "--batch-size", 3, "-o", "b.png", "--save-raw", "b.npz")

    assert whole.exit_code == 0, whole.stderr
    if stride == 1:
        assert windows.exit_code == 0, windows.stderr
        maps = [np.load(tmp_path / name)["map/hirescam"] for name in ("a.npz", "b.npz")]
        np.testing.assert_allclose(maps[1], maps[0], atol=0.01)
    else:
        assert windows.exit_code == 2
        assert windows.stderr.count("\n") == 1
        assert "at each position of a window of 500, got (n, 2, 125); leave the window out" in windows.stderr
