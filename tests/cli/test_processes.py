"""The scripts as users start them, in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.fixtures import CAT, LITE0, ROOT, pixels

SCRIPT = str(ROOT / "tools/vis_cam.py")


def _started(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_the_main_job_prints_results_to_standard_output_and_nothing_else(tmp_path: Path) -> None:
    finished = _started(SCRIPT, CAT, LITE0, "--json", folder=tmp_path)

    assert finished.returncode == 0, finished.stderr
    report = json.loads(finished.stdout)
    assert pixels(tmp_path / report["outputs"][0]).shape == (224, 224, 3)
    assert finished.stderr == ""


def test_an_error_is_one_line_on_standard_error_with_exit_code_2(tmp_path: Path) -> None:
    finished = _started(SCRIPT, "nothing.jpg", LITE0, folder=tmp_path)

    assert finished.returncode == 2
    assert finished.stdout == ""
    assert finished.stderr == "Error: No picture 'nothing.jpg'.\n"


def test_the_command_camtool_has_the_same_tools(tmp_path: Path) -> None:
    finished = _started("-c", "from camtool.cli.main import main; main()", "layers", LITE0, "--filter", "bn2", "--json", folder=tmp_path)

    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["default"] == "backbone.timm_model.bn2"


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys\nsys.argv = ['camtool', 'vis', '--help']\nfrom camtool.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'mmengine', 'mmpretrain', 'timm', 'cv2', 'numpy', 'PIL'} & sys.modules.keys()), file=sys.stderr)"
    )

    finished = _started("-c", program, folder=tmp_path)

    assert "IMG… CONFIG [CHECKPOINT] [OPTIONS] (positionals first, or --" in " ".join(finished.stdout.split())
    assert finished.stderr == "[]\n"


def test_browse_is_a_script_too(tmp_path: Path) -> None:
    finished = _started(str(ROOT / "tools/browse.py"), LITE0, folder=tmp_path)

    assert finished.returncode == 2
    assert finished.stderr == "Error: Give exactly one of --random N, --index I or --image PATH; got none.\n"
