"""A training that begins with weights of a file."""

from pathlib import Path

import torch

from tests.cli.fixtures import Run
from tests.train.fixtures import assert_same, read


def test_a_training_begins_with_weights_of_other_names_that_the_config_maps(config: Path, tmp_path: Path, run: Run) -> None:
    assert run("train", config, "--work-dir", tmp_path / "one", "--cfg-options", "train_cfg.max_epochs=1").exit_code == 0
    state = read(tmp_path / "one/final.pth")["state_dict"]
    theirs = {name.removeprefix("backbone.").replace("head.fc.", "fc."): value for name, value in state.items()}
    torch.save(theirs, tmp_path / "theirs.pth")
    rules = [(r"^fc\.", "head.fc."), (r"^(?=(conv1|bn1|layer[1-4])\.)", "backbone.")]
    frozen = "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.0))"
    more = (f"cam = dict(checkpoint_keys={rules!r})", f"load_from = {str(tmp_path / 'theirs.pth')!r}", frozen)
    config.write_text("\n".join((config.read_text(), *more)))

    finished = run("train", config, "--work-dir", tmp_path / "other", "--cfg-options", "train_cfg.max_epochs=1")

    assert finished.exit_code == 0, finished.stderr
    assert f"Loaded {len(state)} of {len(state)} weights from '{tmp_path / 'theirs.pth'}'; 0 weights in it do not fit." in finished.stderr
    trained = read(tmp_path / "other/final.pth")["state_dict"]
    for name in ("backbone.layer2.0.conv1.weight", "head.fc.weight"):
        assert_same(trained[name], state[name], name)
