"""Data sets: splits of a config read as they lie there, class names, built-in sets, synthetic scenes."""
