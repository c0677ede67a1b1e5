"""Show an image in a window: `python -m camtool.visualization.window FILE`. A process of its own, since a failing GUI aborts it."""

import sys

import cv2


def main() -> None:
    """Show the file of the first argument until a key is pressed or the window is closed."""
    title = "camtool"
    cv2.imshow(title, cv2.imread(sys.argv[1]))
    while cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1 and cv2.waitKey(100) < 0:
        pass


if __name__ == "__main__":
    main()
