"""Data sets: samples of a config's splits, class names, built-in data sets, synthetic scenes."""
