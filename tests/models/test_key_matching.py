"""Where a network's weights stand in a file: one rule for containers and prefixes."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from camtool.config.loading import LoadedConfig, load_config
from camtool.errors import CamtoolWarning, CheckpointError
from camtool.models import load_network
from camtool.models.key_matching import Match, containers_of, find_weights

Save = Callable[..., str]
State = dict[str, Tensor]


class Small(nn.Module):
    """A network of two parts, with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)


OWN = Small().state_dict()


def weights(number: float = 0) -> State:
    return {name: value + number for name, value in OWN.items()}


def under(prefix: str, state: State) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def found_in(content: Any, own: State = OWN, **settings: Any) -> Match:
    return find_weights(own, containers_of(content), **settings)


def is_number(match: Match, number: float) -> bool:
    return match.whole and all(torch.equal(match.state[name], value + number) for name, value in OWN.items())


FORMS = {
    "": weights(1),
    "_orig_mod": under("_orig_mod.", weights(1)),
    "model.module._orig_mod": {"model": under("module._orig_mod.", weights(1)), "epoch": 3},
    "_orig_mod.module": under("_orig_mod.module.", weights(1)),
    "state_dict_ema.module": {"epoch": 1, "state_dict_ema": under("module.", weights(1))},
    "net": {"net": weights(1), "acc": 9.1, "epoch": 3},
    "state_dict.net": {"state_dict": under("net.", weights(1))},
    "state_dict.encoder": {"state_dict": under("encoder.", weights(1))},
    "weights": {"weights": weights(1)},
    "model_state": {"model_state": weights(1), "optimizer": {"state": {0: {"exp_avg": torch.ones(4, 3, 3, 3)}}}},
    "params_ema": {"params_ema": weights(1)},
    "a.b.c": {"a": {"b": under("c.", weights(1))}},
}


@pytest.mark.parametrize("wrapper", FORMS)
def test_every_wrapper_that_leads_to_a_full_match_is_taken_and_named(wrapper: str) -> None:
    match = found_in(FORMS[wrapper])
    assert is_number(match, 1)
    assert (match.wrapper, match.others) == (wrapper, ())
    assert match.state.keys() == OWN.keys()


def test_any_nesting_is_found() -> None:
    draw = random.Random(0)
    names = ["state_dict", "net", "encoder", "module", "_orig_mod", "weights", "my_network", "head", "body", "0"]
    for _ in range(60):
        outer, inner = ([draw.choice(names) for _ in range(draw.randint(0, 3))] for _ in range(2))
        content: Any = under("".join(f"{name}." for name in inner), weights(1))
        for name in reversed(outer):
            content = {name: content, "epoch": 3, "step": torch.tensor(7)}
        match = found_in(content)
        assert is_number(match, 1)
        assert match.wrapper == ".".join([*outer, *inner])


def test_wrappers_of_parts_are_none_on_either_side() -> None:
    parts = {name.replace("body.", "body._orig_mod.module."): value for name, value in weights(1).items()}
    assert is_number(found_in(parts), 1)
    assert is_number(found_in({"model": under("module.", parts)}), 1)
    own = {name.replace("head.", "head._orig_mod."): value for name, value in OWN.items()}
    assert found_in(parts, own).state.keys() == own.keys()


def test_a_network_inside_another_module_takes_the_weights_of_the_inner_one() -> None:
    own = under("inner.model.", OWN)
    for content in (weights(1), under("model.", weights(1)), under("net.", weights(1))):
        match = found_in(content, own)
        assert match.whole
        assert torch.equal(match.state["inner.model.head.bias"], OWN["head.bias"] + 1)


def test_parts_in_dicts_of_their_own_are_one_network() -> None:
    parts = {
        part: {name.removeprefix(f"{part}."): value for name, value in weights(1).items() if name.startswith(part)}
        for part in ("body", "head")
    }
    match = found_in({**parts, "epoch": 3})
    assert is_number(match, 1)
    assert match.wrapper == ""


@pytest.mark.parametrize(
    ("content", "wrapper", "other"),
    [
        ({"state_dict": weights(2), "state_dict_ema": weights(1)}, "state_dict_ema", "state_dict"),
        ({"model": weights(2), "model_ema": under("module.", weights(1))}, "model_ema.module", "model"),
        ({"params": weights(2), "params_ema": weights(1)}, "params_ema", "params"),
        ({"state_dict": weights(1), "ema_state_dict": weights(2)}, "state_dict", "ema_state_dict"),  # mmengine's: averaged first
        ({**under("module.encoder_q.", weights(1)), **under("module.encoder_k.", weights(2))}, "module.encoder_q", "module.encoder_k"),
        ({**weights(1), **under("model.", weights(2))}, "", "model"),
    ],
)
def test_of_several_the_usual_comes_first_and_the_others_are_named(content: Any, wrapper: str, other: str) -> None:
    match = found_in(content)
    assert is_number(match, 1)
    assert (match.wrapper, match.others) == (wrapper, (other,))
    chosen = found_in(content, key=other)
    assert is_number(chosen, 2)
    assert chosen.wrapper == other


def test_averages_of_parameters_alone_do_not_go_before_a_whole_network() -> None:
    parameters = {name: value + 2 for name, value in OWN.items() if "running" not in name and "num_batches" not in name}
    match = found_in({"state_dict": weights(1), "state_dict_ema": parameters})
    assert is_number(match, 1)
    assert match.others == ("state_dict_ema",)


def test_the_same_weights_twice_are_one() -> None:
    match = found_in({"state_dict": weights(1), "best": weights(1)})
    assert (match.wrapper, match.others) == ("state_dict", ())


@pytest.mark.parametrize(
    "content",
    [{"student": weights(1), "teacher": weights(2)}, {**under("net_a.", weights(1)), **under("net_b.", weights(2))}],
    ids=["dicts", "prefixes"],
)
def test_weights_of_equal_standing_are_not_guessed(content: Any) -> None:
    with pytest.raises(
        CheckpointError, match=r"got several: '(student|net_a)', '(teacher|net_b)'\. Choose by --checkpoint-key (teacher|net_b)"
    ):
        found_in(content)
    for number, key in enumerate(("student", "teacher") if "student" in content else ("net_a", "net_b"), 1):
        assert is_number(found_in(content, key=key), number)


def test_a_key_may_be_a_part_of_the_wrapper() -> None:
    content = {"state_dict": under("module.a.", weights(1)), "old": under("module.a.", weights(2))}
    for key in ("state_dict", "state_dict.module", "state_dict.module.a"):
        assert is_number(found_in(content, key=key), 1)
    assert is_number(found_in(content, key="old.module"), 2)
    assert is_number(found_in({"model": weights(1), "ema": {"model": weights(2)}}, key="model"), 1)  # the one of that name alone


def test_a_key_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(CheckpointError, match="No weights under 'emma', of --checkpoint-key; expected one of: 'model', 'ema'"):
        found_in({"model": weights(1), "ema": weights(2)}, key="emma")


def test_weights_that_do_not_fit_are_not_taken_for_any() -> None:
    wide = {name: torch.ones(5, *value.shape[1:]) if name.startswith("head") else value for name, value in weights(2).items()}
    assert is_number(found_in({"state_dict_ema": wide, "state_dict": weights(1)}), 1)
    match = found_in({"net": under("a.", wide)})
    assert not match.whole
    assert found_in({"best": under("module.", wide)}).state.keys() == OWN.keys()  # whose shapes the refusal names


def test_rules_of_a_config_apply_behind_any_wrapper() -> None:
    foreign = {name.replace("head.", "fc."): value for name, value in weights(1).items()}
    for content in (foreign, {"net": under("_orig_mod.", foreign)}, {"net": weights(1)}):
        assert is_number(found_in(content, rules=[(r"^fc\.", "head.")]), 1)


@pytest.fixture
def own(tmp_path: Any) -> LoadedConfig:
    """The config of a network in a file."""
    (tmp_path / "small_net.py").write_text(
        "from torch import nn\n\n\ndef build():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))\n"
    )
    (tmp_path / "config.py").write_text(
        f"model = dict(type='camtool.TorchModel', factory='{tmp_path}/small_net.py:build', preprocess=dict(resize=8, crop=8))\n"
    )
    return load_config(str(tmp_path / "config.py"))


def test_a_network_says_under_which_name_its_weights_were(own: LoadedConfig, saved: Save) -> None:
    state = load_network(own, random_weights=True).model.state_dict()
    network = load_network(own, saved({"net": under("_orig_mod.", {name: value + 1 for name, value in state.items()})}))
    assert network.wrapper == "net._orig_mod"
    assert str(network.keys) == "4 of 4 keys loaded, 0 missing, 0 unexpected"
    assert torch.equal(network.model.get_parameter("0.bias"), state["0.bias"] + 1)


def test_other_weights_of_the_network_in_the_file_are_remarked_on(own: LoadedConfig, saved: Save) -> None:
    state = load_network(own, random_weights=True).model.state_dict()
    path = saved({"state_dict": state, "state_dict_ema": {name: value + 1 for name, value in state.items()}})
    with pytest.warns(
        CamtoolWarning, match=r"weights are those of 'state_dict_ema'; other weights .* in 'state_dict': --checkpoint-key NAME"
    ):
        network = load_network(own, path)
    assert torch.equal(network.model.get_parameter("0.bias"), state["0.bias"] + 1)

    own.config.merge_from_dict({"cam.checkpoint_key": "state_dict"})
    network = load_network(own, path)
    assert torch.equal(network.model.get_parameter("0.bias"), state["0.bias"])
    with pytest.raises(CheckpointError, match=r"Checkpoint '.*checkpoint\.pth': No weights under 'state_dict'"):
        load_network(own, saved({"model": state}))
