"""`python -m camtool`: the command `camtool`."""

from camtool.cli.start import main

if __name__ == "__main__":
    main()
