import pytest

from camtool.cli.command import expand_lists

LISTS = ("--target-layers", "--method", "--cfg-options")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("a.jpg c.py --method x y", "a.jpg c.py --method x --method y"),
        ("a.jpg c.py --method x --method y", "a.jpg c.py --method x --method y"),
        ("a.jpg c.py --method x y -o out.jpg", "a.jpg c.py --method x --method y -o out.jpg"),
        ("-o out.jpg --method x y", "-o out.jpg --method x --method y"),
        ("--method x y -- a.jpg c.py", "--method x --method y a.jpg c.py"),
        ("--method=x y --json", "--method=x --method y --json"),
        ("--target_layers m[-1].ln1 n --aug_smooth", "--target-layers m[-1].ln1 --target-layers n --aug-smooth"),
        ("a.jpg --save-path my_out --opacity 0.5", "a.jpg --save-path my_out --opacity 0.5"),
        ("--json a.jpg c.py", "--json a.jpg c.py"),
        ("--json -- -odd.jpg c.py --method", "--json -- -odd.jpg c.py --method"),
        ("--cfg-options a.b_c=1 d=2 --device cpu x", "--cfg-options a.b_c=1 --cfg-options d=2 --device cpu x"),
    ],
)
def test_lists_behind_an_option_are_taken_until_the_next_option(typed: str, meant: str) -> None:
    assert expand_lists(typed.split(), LISTS, {"-o"}) == meant.split()
