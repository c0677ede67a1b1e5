"""Draw class activation maps of images: `python tools/vis_cam.py IMG CONFIG [CHECKPOINT]`. Options: `--help`."""

from camtool.cli.main import run_alone
from camtool.cli.vis import vis

if __name__ == "__main__":
    run_alone(vis)
