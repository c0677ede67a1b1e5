"""Masked passes, `basic` and `logit`, against a literal replica and by hand."""

import math
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from camtool.analysis import Normaliser
from camtool.analysis.masked import MaskedBatch, MaskedEffect, masked_effect
from camtool.analysis.passes import MaskedPasses
from camtool.errors import DataError
from camtool.io.images import read_picture
from camtool.runs import run as run_data_set
from camtool.store import MapRow
from camtool.store import open as open_store
from tests.cli.fixtures import Run
from tests.runs import tiny


def _batches(size: tuple[int, ...]) -> list[MaskedBatch]:
    generator = torch.Generator().manual_seed(0)
    batches = []
    for count in (3, 4):
        inputs = torch.randn(count, 2, *size, generator=generator)
        maps = torch.randn(count, *size, generator=generator) + 0.5
        batches.append(MaskedBatch(inputs, maps, [k % 3 for k in range(count)], [None, *range(count - 1)] if count == 3 else [0, 1, 2, 0]))
    return batches


def _replica(model: nn.Module, batches: list[MaskedBatch], kind: str) -> MaskedEffect:
    """Return the effect, literally, sample by sample and cell by cell."""
    drops, raised, before_right, after_right, left_out = [], [], [], [], 0
    for batch in batches:
        for inputs, saliency, explained, label in zip(batch.inputs, batch.maps, batch.explained, batch.labels, strict=True):
            index = explained if kind == "basic" else label
            if index is None:
                left_out += 1
                continue
            mask = torch.tensor([min(max(v, 0.0), 1.0) for v in saliency.flatten().tolist()]).view(saliency.shape)
            masked = torch.stack([channel * mask for channel in inputs])
            outputs = [model(one[None])[0].tolist() for one in (inputs, masked)]
            values = [math.exp(o[index]) / sum(map(math.exp, o)) if kind == "basic" else o[index] for o in outputs]
            drops.append(max(values[0] - values[1], 0) / (abs(values[0]) + 1e-7))
            raised.append(values[0] < values[1])
            if label is not None:
                before_right.append(outputs[0].index(max(outputs[0])) == label)
                after_right.append(outputs[1].index(max(outputs[1])) == label)
    means = [sum(values) / len(values) for values in (drops, raised, before_right, after_right)]
    return MaskedEffect(*means, count=len(drops), left_out=left_out)


@pytest.mark.parametrize("kind", ["basic", "logit"])
@pytest.mark.parametrize("size", [(6,), (3, 4), (2, 3, 2)])
def test_effects_are_those_of_a_literal_replica(kind: str, size: tuple[int, ...]) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * math.prod(size), 3))
    batches = _batches(size)

    found = masked_effect(model, batches, kind)

    expected = _replica(model, batches, kind)
    assert vars(found) == pytest.approx(vars(expected), abs=1e-6)
    assert (found.count, found.left_out) == ((7, 0) if kind == "basic" else (6, 1))


def _sums(inputs: Tensor) -> Tensor:
    total = inputs.flatten(1).sum(dim=1)
    return torch.stack([torch.zeros_like(total), total], dim=1)


def test_by_hand() -> None:
    half = MaskedBatch(torch.full((2, 1, 2), 2.0), torch.tensor([[1.5, -1.0], [1.0, 1.0]]), [1, 1], [1, 0])

    found = masked_effect(_sums, [half], "basic")

    p, masked = 1 / (1 + math.exp(-4)), 1 / (1 + math.exp(-2))
    assert found.drop == pytest.approx((p - masked) / p / 2, abs=1e-6)
    assert (found.increase, found.accuracy_before, found.accuracy_after) == (0, 0.5, 0.5)
    others = MaskedBatch(half.inputs, half.maps, [1, None], [1, 0], [0, 1])
    counted = masked_effect(_sums, [others], "basic", probabilities=lambda logits: logits / 10)
    assert (counted.differing, counted.left_out, counted.count) == (1, 1, 1)
    assert counted.drop == pytest.approx(0.5, abs=1e-6)
    negative = MaskedBatch(torch.full((1, 1, 2), -2.0), torch.tensor([[1.0, 0.0]]), [1], [1])
    raised = masked_effect(_sums, [negative], "logit")
    assert (raised.drop, raised.increase) == (0, 1)
    lowered = masked_effect(_sums, [MaskedBatch(torch.tensor([[[-2.0, 1.0]]]), torch.tensor([[1.0, 0.0]]), [1], [1])], "logit")
    assert lowered.drop == pytest.approx(1)  # from -1 to -2


def test_what_cannot_be_compared_is_refused() -> None:
    batch = MaskedBatch(torch.ones(1, 1, 2), torch.ones(1, 2), [1], [None])
    with pytest.raises(DataError, match="No sample for the evaluation 'logit'; 1 have no class to look at"):
        masked_effect(_sums, [batch], "logit")
    assert math.isnan(masked_effect(_sums, [batch]).accuracy_before)
    with pytest.raises(DataError, match="closest: 'basic'"):
        masked_effect(_sums, [batch], "basics")
    with pytest.raises(DataError, match="of the inputs' size"):
        masked_effect(_sums, [MaskedBatch(torch.ones(1, 1, 2), torch.ones(1, 3), [1], [None])])


def test_a_run_is_masked_by_its_own_maps(run: Run, tmp_path: Path) -> None:
    config = tiny.config(tmp_path)
    data = tiny.pictures(tmp_path / "pictures", 12)
    made = run("run", config, "--data", data, "--out", "store", "--method", "gradcam", "--importances")
    assert made.exit_code == 0, made.stderr
    store = open_store(tmp_path / "store")
    scale = Normaliser.fit(store)
    network = tiny.explainer(tmp_path).network

    report = run(
        "analyze",
        "consistency",
        "store",
        "--masked",
        "basic",
        "logit",
        "--config",
        config,
        "--batch-size",
        "5",
        "--json",
    ).report

    for entry in report["masked"]:
        drops, raised = [], []
        for row, rescaled in scale.rows(store):
            inputs = network.preprocess(read_picture(data / row["path"]))
            mask = MapRow(row.values, rescaled).resized().clamp(0, 1)
            outputs = [network.model(one)[0].double() for one in (inputs, inputs * mask)]
            index = row["target"] if entry["masked"] == "basic" else row["label"]
            p, masked = (float(o.softmax(dim=0)[index] if entry["masked"] == "basic" else o[index]) for o in outputs)
            drops.append(max(p - masked, 0) / (abs(p) + 1e-7))
            raised.append(p < masked)
        assert entry["drop"] == pytest.approx(sum(drops) / len(drops), abs=1e-5)
        assert entry["increase"] == pytest.approx(sum(raised) / len(raised))
        assert entry["samples"] == 12
    assert run("analyze", "importance", "store", "--all-samples", "--json").report["importance"][0]["channels"] == 6
    moved = run("analyze", "consistency", "store", "--masked", "basic")
    assert (moved.exit_code, moved.stderr.count("Expected --config with --masked")) == (2, 1)


def test_another_network_than_the_runs_is_refused(tmp_path: Path) -> None:
    explainer = tiny.explainer(tmp_path, method=["gradcam"])
    data = tiny.pictures(tmp_path / "pictures", 9)
    run_data_set(explainer, data, tmp_path / "store")
    store = open_store(tmp_path / "store")
    scale = Normaliser.fit(store)
    passes = MaskedPasses(explainer, data)
    assert passes.effect(store, scale).differing == 0

    with torch.no_grad():
        explainer.network.model.head.weight.neg_()
        explainer.network.model.head.bias.neg_()

    with pytest.raises(DataError, match="answers otherwise than the run's for"):
        passes.effect(store, scale)
    for path in data.glob("*/*.png"):
        Image.new("RGB", (30, 30)).save(path)
    with pytest.raises(DataError, match="after preprocessing, in the run it was"):
        passes.effect(store, scale)
