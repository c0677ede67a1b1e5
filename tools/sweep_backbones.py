"""Check that every backbone of the zoo gives a map: `python tools/sweep_backbones.py`. Options: `--help`."""

from camtool.cli.start import run_alone

if __name__ == "__main__":
    run_alone("sweep")
