"""Single pictures on the scale of a data set."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from camtool.analysis.normaliser import Normaliser
from camtool.analysis.scale import DataSetScale
from camtool.analysis.sources import Source
from camtool.apis.figures import FigureOptions
from camtool.cli.main import app
from camtool.errors import DataError, OutputError
from camtool.io.images import read_picture
from camtool.placement import placed
from tests.runs import tiny

LAYER = "body[3]"


def scale(vmax: float, vmin: float = 0.0, rescale: str = "norm", layer: str = LAYER) -> DataSetScale:
    return DataSetScale(Normaliser(Source("gradcam", layer), vmax=vmax, vmin=vmin, rescale=rescale))


def test_maps_of_two_pictures_keep_their_ratio_on_one_scale(tmp_path: Path) -> None:
    explainer = tiny.explainer(tmp_path, method="gradcam", target_layers=LAYER)
    explainer.network.model.head.weight.data.abs_()  # all evidence is for every class
    data = tiny.pictures(tmp_path / "data", 2)
    first, second = (explainer(str(path), categories=1).results["gradcam"] for path in sorted(data.rglob("*.png")))
    highest = max(float(result.raw[LAYER].amax()) for result in (first, second))
    shown = [scale(vmax=2 * highest).maps(result, "") for result in (first, second)]
    for maps, result in zip(shown, (first, second), strict=True):
        assert maps.shape == result.maps.shape == (1, 1, tiny.SIZE, tiny.SIZE)
        expected = placed(result.raw[LAYER][0] / (2 * highest), (tiny.SIZE, tiny.SIZE), result.placement[LAYER])
        torch.testing.assert_close(maps[0], expected.clamp(0, 1))
        assert float(result.maps.amax()) == 1  # on their own scales both reach 1
    assert max(float(maps.amax()) for maps in shown) < 0.51


def test_a_figure_on_one_scale_has_its_colour_bar(tmp_path: Path) -> None:
    explainer = tiny.explainer(tmp_path, method="gradcam", target_layers=LAYER)
    explanation = explainer(str(next(tiny.pictures(tmp_path / "data", 1).rglob("*.png"))))
    plain, scaled = explanation.figure(), explanation.figure(scale=scale(vmax=1.0))
    assert scaled.shape[0] > plain.shape[0]
    with pytest.raises(OutputError, match="one scale"):
        FigureOptions(signed=True, scale=scale(vmax=1.0)).check()


def test_a_normaliser_of_another_layer_is_refused(tmp_path: Path) -> None:
    explainer = tiny.explainer(tmp_path, method="gradcam", target_layers=LAYER)
    explainer.network.model.head.weight.data.abs_()
    result = explainer(np.full((9, 9, 3), 99, np.uint8)).results["gradcam"]
    with pytest.raises(DataError, match=r"is of gradcam at body\[1\], the map of gradcam at body\[3\]"):
        scale(vmax=1.0, layer="body[1]").maps(result, "")


def test_the_whole_way_from_a_run_to_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.config(tmp_path)
    data = tiny.pictures(tmp_path / "data", 6)
    picture = str(next(data.rglob("*.png")).relative_to(tmp_path))
    for line in (f"run tiny.py --data data --out maps --workers 0 --target-layers {LAYER}", "analyze ranges maps"):
        result = CliRunner().invoke(app, line.split())
        assert result.exit_code == 0, result.output
    (file,) = (tmp_path / "maps-analysis").glob("ranges_gradcam_*.json")
    line = f"vis {picture} tiny.py --target-layers {LAYER} --normaliser {file} --figure heatmap -o x.png"
    result = CliRunner().invoke(app, line.split())
    assert result.exit_code == 0, result.output
    assert read_picture(tmp_path / "x.png").shape[0] > tiny.SIZE
    result = CliRunner().invoke(app, f"vis {picture} tiny.py --method layercam --normaliser {file}".split())
    assert result.exit_code == 2
    assert "The normaliser is of gradcam" in result.output
    assert torch.is_grad_enabled()
