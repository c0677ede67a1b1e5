"""A package, so that `tests.networks` is this one and not a folder `tests` that a library left in site-packages."""
