"""A scheduler comes to its end whatever is passed over, and one that monitors nothing is an error that says so."""

from pathlib import Path

from camtool.train.config import training_config
from tests.cli.fixtures import Run
from tests.train.fixtures import CONFIG, read

(PLATEAU,) = [line for line in CONFIG.splitlines() if line.startswith("param_scheduler")]


def test_a_scheduler_that_counts_batches_counts_those_that_are_passed_over(config: Path, tmp_path: Path, run: Run) -> None:
    cosine = 'param_scheduler = dict(type="CosineAnnealingLR", T_max=1, by_epoch=True, convert_to_iter_based=True)'
    config.write_text(config.read_text().replace(PLATEAU, cosine))
    options = ("--cfg-options", "train_cfg.max_epochs=1", "train_dataloader.batch_size=1")

    ends = []
    for broken in ((), ("train/light/3.png", "train/dark/1.png")):
        for path in broken:
            (tmp_path / path).write_bytes(b"")
        finished = run("train", config, "--work-dir", tmp_path / f"without {len(broken)}", *options)
        assert finished.exit_code == 0, finished.stderr
        checkpoint = read(tmp_path / f"without {len(broken)}/epoch_1.pth")
        ends.append((checkpoint["param_schedulers"][0]["last_step"], checkpoint["optimizer"]["param_groups"][0]["lr"]))

    assert ends[0] == ends[1]
    assert ends[0][1] < 0.03 / 50, "the scheduler has counted no batches"


def test_a_metric_that_the_validation_does_not_give_is_an_error_that_names_those_it_gives(config: Path, tmp_path: Path, run: Run) -> None:
    config.write_text(config.read_text().replace('monitor="cross_entropy/mean", ', ""))  # mmengine's default is "loss"

    finished = run("train", config, "--work-dir", tmp_path / "work")

    assert finished.exit_code == 2
    assert finished.stderr.strip().splitlines()[-1] == (
        "Error: ReduceOnPlateauLR monitors 'loss', which the validation does not report; "
        "expected one of: accuracy/top1, cross_entropy/mean."
    )


def test_a_config_may_take_the_hook_away_and_name_no_default_hooks_at_all(config: Path) -> None:
    for written, types in (("dict(param_scheduler=None)", [None]), ("None", ["camtool.ParamSchedulerHook"])):
        config.write_text(f"{config.read_text()}\ndefault_hooks = {written}\n")
        hook = training_config(str(config)).default_hooks.param_scheduler
        assert [hook and hook.type] == types
