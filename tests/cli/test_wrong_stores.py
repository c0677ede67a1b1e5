"""Wrong input to the commands of a store: one line, exit code 2, nothing written, every store as it was."""

import hashlib
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from camtool.cli.main import app
from camtool.runs import run
from tests.runs import tiny

WRONG = """
run tiny.py --data pictures --out y --target-category nine
run tiny.py --data pictures --out y --method gradcan
run tiny.py --data empty --out y
run tiny.py --data bad.csv --out y
run tiny.py --data bytes.csv --out y
run tiny.py --data gone.csv --out y
run tiny.py --data list.txt --out y
run tiny.py --data labels.csv --out y --target-category label
run tiny.py --data pictures --out pictures
run tiny.py --data pictures --out tiny.py
run tiny.py --data pictures --out other --method layercam
run tiny.py --data config:val --out y
run tiny.py --data pictures --out y --batch-size 0
run tiny.py --data pictures --out y --amp fp8
run tiny.py --data pictures --out y --target-layers body.nine
run tiny.py --data pictures --out badrun
run tiny.py --data pictures --out y --device tpu
run tiny.py --data pictures --out y --max-failures -1
run tiny.py --data pictures --out y --launcher pytorch
analyze ranges empty
analyze ranges flip
analyze ranges nomani
analyze ranges noshard
analyze ranges badrun
analyze ranges store --percentiles 101 0
analyze ranges store --percentiles 10 90
analyze ranges store --scale-ratio 0
analyze ranges store --out store/in
analyze ranges store --rescale nrom
analyze importance store --layer body[9]
analyze importance store --method layercam
analyze select store
analyze select store --config tiny.py --mode index
analyze select store --config nothing.py
analyze select store --config tiny.py --all-samples --ratio 7
analyze select store --config tiny.py --all-samples --on empty
analyze consistency store --normaliser norm.json
analyze consistency store --masked basic
analyze consistency store --masked basix --config tiny.py
analyze clusters store --class nine
analyze clusters store --size 1
analyze clusters store --clusters 0
analyze clusters store --config nothing.py
show flip
show nomani
show noshard
show badrun
show store --query "label = "
show store --query "label = 1; DROP TABLE x"
show store --query "probability > 'abc'"
show store --query "nothing = 1"
show store --limit 0
show store -o sheet.xyz
show store --method layercam
show store --colormap jetty
show store --config nothing.py
export flip --format npy --out x
export noshard --format npy --out x
export store --format bmp --out x
export store --format npy --out pictures
export store --format npy --out store/x
export store --format npy --out tiny.py
export store --format png --out x --opacity 2
export store --format png --out x --colormap jetty
export store --format png --out x --config nothing.py
export store --format npy --out x --method layercam
export store --format hdf5 --out x --limit 0
export badrun --format fiftyone --out x
compare store
compare store empty
compare store flip
compare flip store
compare store noshard
compare badrun store
compare store other --method layercam
compare store other --other-layer nix
compare store other -o a.xyz
compare store other --csv store
compare store other --limit 0
compare store other --config nothing.py -o a.png
compare store other -o store/run.json
compare store other --csv store/x.csv
show store -o store/sheet.png
show store -o link/sheet.png
compare store other -o other/sheet.png
compare store other --csv store/run.json
""".strip().splitlines()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a config, pictures, two stores and damaged copies of one, and lists that are none."""
    folder = tmp_path_factory.mktemp("wrong")
    data = tiny.pictures(folder / "pictures", 12)
    for name, method in (("store", "gradcam"), ("other", "hirescam")):
        run(tiny.explainer(folder, method=[method]), data, folder / name, importances=True)
    for name in ("flip", "nomani", "noshard", "badrun"):
        shutil.copytree(folder / "store", folder / name)
    shard = bytearray((folder / "flip/maps-000000.parquet").read_bytes())
    shard[100] ^= 1
    (folder / "flip/maps-000000.parquet").write_bytes(bytes(shard))
    shutil.rmtree(folder / "nomani/_manifest")
    (folder / "noshard/maps-000000.parquet").unlink()
    (folder / "badrun/run.json").write_text("[]")
    (folder / "empty").mkdir()
    (folder / "link").symlink_to(folder / "store", target_is_directory=True)
    (folder / "bad.csv").write_text("a,b\n1,2\n")
    (folder / "gone.csv").write_text("path,label\nnothing.png,0\nneither.png,1\n")
    (folder / "labels.csv").write_text("path,label\npictures/first/00000.png,7\n")
    (folder / "bytes.csv").write_bytes(b"\xff\xfe\x00path\x00")
    (folder / "norm.json").write_text("{}")
    (folder / "list.txt").write_text("")
    return folder


def _content() -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in Path().rglob("*")}


@pytest.mark.parametrize("line", WRONG)
def test_it_is_one_line_and_nothing_is_touched(folder: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.chdir(folder)
    before = _content()

    finished = CliRunner().invoke(app, shlex.split(line))

    assert finished.exit_code == 2, finished.output
    assert len([text for text in finished.stderr.splitlines() if not text.startswith("Warning: ")]) == 1, finished.stderr
    assert _content() == before
