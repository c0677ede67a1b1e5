"""`camtool eval` by metrics that ask a method again: with the settings and the target of the run, and methods at one layer at once."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from camtool import Explainer
from camtool.analysis.sources import Source, sources
from camtool.apis.stored_pictures import scaled_map
from camtool.evaluation.explaining import Methods
from camtool.store import open as open_store
from camtool.targets import ClassProbability
from tests.cli import evaluated
from tests.cli.fixtures import Run

store = evaluated.store

RUNS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "settings of the config": ("target_layers='layer', method=dict(type='FEM', k=0.5)", ()),
    "settings of the command": ("target_layers='layer'", ("--method", "fem(k=0.5)", "smooth(samples=3,sigma=0.3):layercam")),
    "two of one method": ("target_layers='layer'", ("--method", "fem(k=0.5)", "fem(k=1.5)")),
    "a seed": ("target_layers='layer'", ("--method", "smooth:gradcam", "smooth(samples=3):layercam", "--seed", 7)),
    "a target": ("target_layers='layer'", ("--method", "gradcam", "--target", "probability")),
    "a contrast": ("target_layers='layer'", ("--method", "gradcam", "--target", "contrast", "--target-category", "0", "--against", "1")),
    "options": ("target_layers='layer'", ("--method", "gradcam", "layercam", "--aug-smooth")),
    "eigen": ("target_layers='layer'", ("--method", "gradcam", "layercam", "--eigen-smooth")),
    "windows": ("target_layers='layer', window=16, method=['gradcam', 'saliency']", ()),
    "methods without a layer": ("target_layers='layer'", ("--method", "saliency", "gradcam", "guidedgradcam")),
}


@pytest.mark.parametrize("case", RUNS)
def test_a_method_says_again_of_the_samples_what_the_run_has(run: Run, store: Path, tmp_path: Path, case: str) -> None:
    recipe, options = RUNS[case]
    (tmp_path / "again.py").write_text((tmp_path / "c.py").read_text().replace("target_layers='layer'", recipe))
    assert run("run", "again.py", "--data", "data", "--out", "again", "--limit", 3, *options).exit_code == 0
    stored = open_store(tmp_path / "again")
    explainer = Explainer(tmp_path / "again.py", method="gradcam") if options else Explainer(tmp_path / "again.py")
    rows = [row for row in stored if row.map is not None]
    asked = sources(stored)
    first = [row for row in rows if row["method"] == asked[0].method]
    inputs = torch.cat([explainer.preprocessed(tmp_path / "data" / row["path"])[1] for row in first])

    found = Methods(explainer, stored.run).maps(asked, inputs, [ClassProbability(row["target"]) for row in first])

    assert list(found) == [str(source) for source in asked]
    for source in asked:
        expected = torch.stack([scaled_map(row) for row in rows if row["method"] == source.method])
        torch.testing.assert_close(found[str(source)].cpu(), expected, atol=2e-4, rtol=0)


def test_methods_of_one_evaluation_share_its_passes_and_score_as_alone(run: Run, store: Path, tmp_path: Path) -> None:
    passes = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: passes.append(1) if isinstance(module, nn.Conv2d) else None)
    metrics = ("max-sensitivity", "randomisation", "emprt")
    options = ("--metrics", *metrics, "--config", "c.py", "--set", "max-sensitivity.samples=4")
    counts = {}
    for name, chosen in {"both": (), "first": ("--method", "gradcam"), "second": ("--method", "layercam")}.items():
        passes.clear()
        assert run("eval", store, *options, *chosen, "--out", name).exit_code == 0
        counts[name] = len(passes)
    handle.remove()

    for metric in metrics:
        alone: list[tuple[Any, ...]] = []
        for name in ("first", "second"):
            alone += pq.read_table(tmp_path / f"{name}/{metric}/scores-000000.parquet").to_pylist()
        single = {(row["id"], row["method"]): row["score"] for row in alone if not row["baseline"]}
        both = pq.read_table(tmp_path / f"both/{metric}/scores-000000.parquet").to_pylist()
        together = {(row["id"], row["method"]): row["score"] for row in both if not row["baseline"]}
        assert together == pytest.approx(single, rel=1e-5, abs=1e-7)
    assert counts["both"] < 0.7 * (counts["first"] + counts["second"])


def test_a_method_without_a_score_leaves_the_others_theirs(run: Run, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = Methods.maps

    def partly_zero(self: Methods, sources: list[Source], inputs: Tensor, targets: list[Any]) -> dict[str, Tensor]:
        found = maps(self, sources, inputs, targets)
        return {name: 0 * own if "layercam" in name else own for name, own in found.items()}

    monkeypatch.setattr(Methods, "maps", partly_zero)

    finished = run("eval", store, "--metrics", "max-sensitivity", "--config", "c.py", "--json")

    means = {entry["method"]: entry for entry in finished.report["summary"] if entry["layer"]}
    assert (means["gradcam"]["maps"], means["layercam"]["maps"]) == (12, 0)
    assert "Expected a map with values, got zero everywhere" in finished.stderr


def test_another_networks_weights_are_refused(run: Run, store: Path, tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text((tmp_path / "net.py").read_text().replace("1 / 9", "2 / 9"))
    (tmp_path / "o.py").write_text((tmp_path / "c.py").read_text().replace("net.py", "other.py"))

    finished = run("eval", store, "--metrics", "deletion", "--config", "o.py")

    assert finished.exit_code == 2
    assert "are not those that" in finished.stderr
    assert not (tmp_path / "store-eval").exists()


def test_settings_that_cannot_be_had_again_are_named(run: Run, store: Path, tmp_path: Path) -> None:
    explainer, stored = Explainer("c.py"), open_store(store)
    fingerprint = dict(stored.run["fingerprint"])
    fingerprint["methods"] = {"gradcam": {"type": "MyOwn", "k": 2}, "layercam": fingerprint["methods"]["layercam"]}

    with pytest.raises(Exception, match=r"'gradcam' cannot be asked again as in the run \(no 'MyOwn' is known\); give the config"):
        Methods(explainer, {**stored.run, "fingerprint": fingerprint}).maps(sources(stored), torch.rand(1, 3, 32, 32), [0])
