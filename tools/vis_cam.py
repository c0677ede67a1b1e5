"""Where did this network look? `python tools/vis_cam.py IMG CONFIG [CHECKPOINT]`; `--help` says the rest."""

from camtool.cli.main import run_alone
from camtool.cli.vis import vis

if __name__ == "__main__":
    run_alone(vis)
