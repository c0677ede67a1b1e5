"""Measure the cost of maps in camtool and other packages: `python tools/benchmark.py --quick`. Options: `--help`."""

from camtool.cli.start import run_alone

if __name__ == "__main__":
    run_alone("benchmark")
