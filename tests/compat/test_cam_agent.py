"""The analysis framework's own call: its README's steps, in one, two and three dimensions."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from camtool.compat import CAMAgent
from camtool.errors import CamtoolError, DataError, MethodError
from camtool.placement import placed

CONVOLUTIONS = {"1D": nn.Conv1d, "2D": nn.Conv2d, "3D": nn.Conv3d}
POOLS = {"1D": nn.AdaptiveAvgPool1d, "2D": nn.AdaptiveAvgPool2d, "3D": nn.AdaptiveAvgPool3d}
CHANNELS, CLASSES, SIDE = 6, 3, 8


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def network(cam_type: str, seed: int = 0) -> nn.Sequential:
    """Return a network with global average pooling and a linear head."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = nn.Sequential(CONVOLUTIONS[cam_type](1, CHANNELS, 3, padding=1, stride=2), nn.ReLU())
        return nn.Sequential(*body, POOLS[cam_type](1), nn.Flatten(), nn.Linear(CHANNELS, CLASSES)).eval()


def data(cam_type: str, model: nn.Module, count: int = 10, wrong: int = 2) -> list[tuple[Tensor, int]]:
    """Return inputs, most of them with the predicted class as label."""
    generator = torch.Generator().manual_seed(5)
    inputs = [torch.randn(1, *[SIDE] * int(cam_type[0]), generator=generator) * (1 + number % 3) for number in range(count)]
    with torch.no_grad():
        labels = [int(model(x[None]).argmax()) for x in inputs]
    return [(x, (label + 1) % CLASSES if number < wrong else label) for number, (x, label) in enumerate(zip(inputs, labels, strict=True))]


def replica(model: nn.Sequential, x: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """Return the raw map and the channels' contributions of one input, by the formula for a pooled, linear head."""
    with torch.no_grad():
        activations = model[1](model[0](x[None]))[0]
    positions = activations[0].numel()
    weights = model[4].weight.detach()[target] / positions
    contributions = weights.view(-1, *[1] * (activations.ndim - 1)) * activations
    return contributions.sum(dim=0), contributions


@pytest.mark.parametrize("cam_type", CONVOLUTIONS)
def test_the_steps_of_the_frameworks_readme(cam_type: str, folder: Path) -> None:
    model = network(cam_type)
    dataset = data(cam_type, model)
    agent = CAMAgent(
        model,
        [model[1]],
        dataset,
        groups=1,
        ram=False,
        cam_method="fullcam",
        name_str="task",
        batch_size=4,
        select_category=1,
        rescale="norm",
        remove_minus_flag=False,
        scale_ratio=1,
        feature_selection="all",
        feature_selection_ratio=1.0,
        cam_type=cam_type,
    )
    raws = [replica(model, x, 1)[0] for x, _ in dataset]
    vmax = np.percentile([float(raw.max()) for raw in raws], 90)
    vmin = np.percentile([float(raw.min()) for raw in raws], 50)
    position = 0
    for x, _ in DataLoader(dataset, batch_size=4):
        maps = agent.indiv_return(x, 1)
        assert maps.shape == (len(x), 1, 1, *[SIDE] * int(cam_type[0]))
        for one in maps[:, 0, 0]:
            expected = placed(((raws[position] - vmin) / (vmax - vmin))[None].float(), tuple(one.shape))[0]
            torch.testing.assert_close(one, expected, rtol=1e-4, atol=1e-5)
            position += 1
    found = agent.creator_main(dataset, [0, 1, 2], eval_act="corr_logit", cam_save=True, cluster=None, use_origin=False, max_iter=None)
    assert [found[f"class {k}: r"] for k in range(CLASSES)] == pytest.approx([1.0] * CLASSES, abs=1e-4)  # by identity
    assert found["all: samples"] == 3 * len(dataset)
    assert np.load(folder / "output/task/cam/sample_9.npy").shape == (1, 3, *[SIDE] * int(cam_type[0]))
    assert (folder / "output/task/cam/sample_9_group_0_category_2.png").exists() == (cam_type == "2D")
    names = sorted(path.name for path in (folder / "output/task/im").iterdir())
    assert [name.partition("_")[0] for name in names[:3]] == ["All", "Diff", "Target"]
    assert names[3].endswith("_maxmin.csv")
    assert (folder / "output/task/figs/corr_logit.png").stat().st_size > 1000
    assert not any(parameter.grad is not None for parameter in model.parameters())


def test_the_importance_is_that_of_the_correct_samples(folder: Path) -> None:
    model = network("2D")
    dataset = data("2D", model)
    CAMAgent(model, "[1]", dataset, name_str="task", batch_size=3, select_category=None).creator_main(eval_act=None, cam_save=False)
    (path,) = (folder / "output/task/im").glob("Target_*.csv")
    rows = list(csv.DictReader(path.open()))
    for row in rows:
        label = int(row["class"])
        own = [replica(model, x, label)[1].flatten(1).sum(dim=1) for x, true in dataset[2:] if true == label]
        assert int(row["samples"]) == len(own)
        written = torch.tensor([float(row[str(channel)]) for channel in range(CHANNELS)])
        if own:
            torch.testing.assert_close(written, torch.stack(own).mean(dim=0), rtol=1e-4, atol=1e-6)
        else:
            assert written.isnan().all()
            assert row["reason"]


def test_groups_are_blocks_of_channels_and_sum_to_the_whole() -> None:
    model = network("2D")
    dataset = data("2D", model)
    x = torch.stack([dataset[0][0], dataset[5][0]])
    raw = {"rescale": "norm", "batch_size": 4, "select_category": [0, 2]}
    whole = CAMAgent(model, "[1]", dataset, **raw).indiv_return(x)
    agent = CAMAgent(model, "[1]", dataset, groups=3, **raw)
    maps = agent.indiv_return(x)
    assert maps.shape == (2, 3, 2, SIDE, SIDE)
    # (x - vmin) / range of each block: the three of them have two vmin too many
    (normaliser,) = agent._fit().normalisers.values()
    shift = 2 * normaliser.vmin / (normaliser.vmax - normaliser.vmin)
    torch.testing.assert_close(maps.sum(dim=1) + shift, whole[:, 0], rtol=1e-3, atol=1e-4)
    contributions = replica(model, x[1], 2)[1]
    expected = (contributions[2:4].sum(dim=0) - normaliser.vmin) / (normaliser.vmax - normaliser.vmin)
    torch.testing.assert_close(maps[1, 1, 1], placed(expected[None].float(), (SIDE, SIDE))[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["top", "diff_top", "reverse_diff_top", "max", "freq", "index"])
def test_a_selection_keeps_the_channels_of_the_explained_class(mode: str) -> None:
    model = network("2D")
    dataset = data("2D", model, count=24, wrong=0)
    present = sorted({label for _, label in dataset})[:2]
    extra = {"feature_index": [1, 4]} if mode == "index" else {}
    ratio = 0.01 if mode == "freq" else 0.5
    settings: dict[str, Any] = {"batch_size": 5, "select_category": present, "feature_selection": mode, "feature_selection_ratio": ratio}
    agent = CAMAgent(model, "[1]", dataset, **settings, **extra)
    x = torch.stack([dataset[3][0], dataset[7][0]])
    maps = agent.indiv_return(x)
    (normaliser,) = agent._fit().normalisers.values()
    vectors = {k: [replica(model, y, k)[1].flatten(1).sum(dim=1) for y, true in dataset if true == k] for k in {t for _, t in dataset}}
    every = torch.stack([vector for k in vectors for vector in vectors[k]]).mean(dim=0)
    for column, k in enumerate(present):
        target = torch.stack(vectors[k]).mean(dim=0)
        ranked = {"top": target, "diff_top": (target - every).abs(), "reverse_diff_top": -(target - every).abs()}
        kept = {
            "max": [int(target.argmax())],
            "freq": (target > ratio).nonzero().flatten().tolist(),
            "index": [1, 4],
            **{name: values.argsort(descending=True)[: CHANNELS // 2].tolist() for name, values in ranked.items()},
        }[mode]
        for sample in range(2):
            expected = replica(model, x[sample], k)[1][kept].sum(dim=0)
            expected = (expected - normaliser.vmin) / (normaliser.vmax - normaliser.vmin)
            torch.testing.assert_close(maps[sample, 0, column], placed(expected[None].float(), (SIDE, SIDE))[0], rtol=1e-3, atol=1e-4)


def test_the_range_is_measured_again_when_weights_or_data_change(folder: Path) -> None:
    model = network("2D")
    dataset = data("2D", model)
    agent = CAMAgent(model, "[1]", dataset, name_str="task", batch_size=4, select_category=0)
    x = dataset[0][0][None]
    first = agent.indiv_return(x)
    assert torch.equal(agent.indiv_return(x), first)
    model[4].weight.data *= 2
    torch.testing.assert_close(agent.indiv_return(x), first)  # maps and range are twice as large
    model[4].weight.data[0, 0] += 1
    fresh = CAMAgent(model, "[1]", dataset, name_str="task", batch_size=4, select_category=0).indiv_return(x)
    assert torch.equal(agent.indiv_return(x), fresh)
    agent.dataset = dataset[:4]
    fewer = CAMAgent(model, "[1]", dataset[:4], name_str="task", batch_size=4, select_category=0).indiv_return(x)
    assert torch.equal(agent.indiv_return(x), fewer)
    assert not torch.equal(fewer, fresh)


def test_clusters_of_classes_are_sums_and_must_add_up(folder: Path) -> None:
    model = network("2D")
    dataset = data("2D", model)
    agent = CAMAgent(model, "[1]", dataset, name_str="task", batch_size=4, select_category=[0, 1, 2])
    agent.creator_main(eval_act=None, cluster=[2, 1], max_iter=1, use_origin=True)
    maps = agent.indiv_return(dataset[0][0][None])[0]
    clustered = np.load(folder / "output/task/cam/sample_0.npy")
    np.testing.assert_allclose(clustered, np.stack([maps[:, :2].sum(dim=1), maps[:, 2]], axis=1), rtol=1e-5, atol=1e-6)
    assert len(list((folder / "output/task/cam").glob("*.npy"))) == 4  # of one batch
    with pytest.raises(DataError, match="add up to 3 classes"):
        agent.creator_main(eval_act=None, cluster=[2, 2])


def test_regression_explains_an_output_of_every_sample(folder: Path) -> None:
    model = network("2D")
    dataset = [(x, 0.5) for x, _ in data("2D", model)]
    agent = CAMAgent(model, "[1]", dataset, ram=True, name_str="task", batch_size=4, select_category=2)
    raws = [replica(model, x, 2)[0] for x, _ in dataset]
    (normaliser,) = agent._fit().normalisers.values()
    assert normaliser.vmax == pytest.approx(np.percentile([float(raw.max()) for raw in raws], 90), rel=1e-5)
    found = agent.creator_main(eval_act="corr")
    assert found["all: r"] == pytest.approx(1, abs=1e-4)
    assert len(list((folder / "output/task/im").glob("All_*.csv"))) == 1


@pytest.mark.parametrize("kind", ["basic", "logit"])
def test_masked_inputs_are_compared_with_whole_ones(kind: str) -> None:
    model = network("2D")
    dataset = data("2D", model, wrong=3)
    agent = CAMAgent(model, "[1]", dataset, batch_size=4, select_category=1)
    found = agent.creator_main(eval_act=kind, cam_save=False)
    drops, right = [], []
    for x, label in dataset:
        mask = agent.indiv_return(x[None], 1)[0].clamp(0, 1)
        with torch.no_grad():
            before, after = model(x[None])[0].double(), model(x[None] * mask)[0].double()
        right.append((int(before.argmax()) == label, int(after.argmax()) == label))
        p, q = (float(scores[label]) if kind == "logit" else float(scores.softmax(0)[1]) for scores in (before, after))
        drops.append((max(p - q, 0) / (p + 1e-7), p < q))
    assert found["drop"] == pytest.approx(np.mean([drop for drop, _ in drops]), rel=1e-4)
    assert found["increase"] == pytest.approx(np.mean([rose for _, rose in drops]))
    assert found["accuracy before"] == pytest.approx(0.7)
    assert found["accuracy after"] == pytest.approx(np.mean([still for _, still in right]))


WRONG: dict[str, tuple[dict[str, Any], type[CamtoolError], str]] = {
    "a type": ({"cam_type": "4D"}, MethodError, "No cam_type '4D'"),
    "a method": ({"cam_method": "gradcan"}, MethodError, "gradcam"),
    "groups": ({"groups": 4}, MethodError, "divides the layer's 6 channels"),
    "no groups": ({"groups": 0}, MethodError, "at least one group"),
    "a rescaling": ({"rescale": "norn"}, DataError, "closest: 'norm'"),
    "a selection": ({"feature_selection": "best"}, DataError, "No selection 'best'"),
    "axes": ({"cam_type": "3D"}, DataError, "3 spatial axes"),
    "no sum over channels": ({"cam_method": "reciprocam", "feature_selection": "top"}, DataError, "no sum over channels"),
    "a class": ({"select_category": 7}, CamtoolError, "7"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_setting_is_one_readable_error(what: str) -> None:
    settings, kind, message = WRONG[what]
    model = network("2D")
    dataset = data("2D", model)
    with pytest.raises(kind, match=message):
        CAMAgent(model, "[1]", dataset, **{"batch_size": 4, **settings}).indiv_return(dataset[0][0][None])


def test_a_constant_map_has_no_range() -> None:
    model = network("2D")
    dataset = data("2D", model)
    model[4].weight.data.zero_()
    with pytest.raises(CamtoolError):
        CAMAgent(model, "[1]", dataset, batch_size=4).indiv_return(dataset[0][0][None])


@pytest.mark.parametrize("cam_type", CONVOLUTIONS)
def test_randomization_compares_with_modules_that_are_initialised_anew(cam_type: str) -> None:
    model = network(cam_type)
    dataset = data(cam_type, model)
    agent = CAMAgent(model, [model[1]], dataset, batch_size=5, select_category=[0, 2], cam_type=cam_type)
    x = torch.stack([one for one, _ in dataset[:4]])
    before, state = model.state_dict()["4.weight"].clone(), torch.get_rng_state()

    same, head, whole = (agent.randomization(x, fraction, seed=7) for fraction in (0.0, 0.5, 1.0))

    assert same.shape == head.shape == (4, 1, 2)
    torch.testing.assert_close(same, torch.ones(4, 1, 2).double())
    assert torch.equal(model[4].weight, before)
    assert torch.equal(torch.get_rng_state(), state)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        other = network(cam_type)
        other[4].reset_parameters()
    for sample in range(4):
        for place, k in enumerate((0, 2)):
            maps = [placed(replica(net, x[sample], k)[0][None].float(), tuple(x.shape[2:]))[0].flatten() for net in (model, other)]
            ranks = [values.argsort().argsort().double() for values in maps]
            assert float(head[sample, 0, place]) == pytest.approx(float(np.corrcoef(*map(np.asarray, ranks))[0, 1]), abs=0.02)
    assert not torch.allclose(head, whole)
    for fraction, words in ((1.5, "between 0 and 1"), (0.1, "is that of none; try at least 0.5")):
        with pytest.raises(DataError, match=words):
            agent.randomization(x, fraction)
