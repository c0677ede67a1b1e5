"""Explain a data set into a store: `python tools/run_cam.py CONFIG [CHECKPOINT] --data DATA --out DIR`. Options: `--help`."""

from camtool.cli.start import run_alone

if __name__ == "__main__":
    run_alone("run")
