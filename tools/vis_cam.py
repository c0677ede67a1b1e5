"""Draw class activation maps of images: `python tools/vis_cam.py IMG CONFIG [CHECKPOINT]`. Options: `--help`."""

from camtool.cli.start import run_alone

if __name__ == "__main__":
    run_alone("vis")
