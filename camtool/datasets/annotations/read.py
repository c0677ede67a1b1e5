"""read_annotations: boxes and masks of a data set, from the files of any of the known kinds."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from camtool.datasets.annotations.annotation import Annotations
from camtool.datasets.annotations.coco import read_coco
from camtool.datasets.annotations.cub import read_cub
from camtool.datasets.annotations.mask_files import read_masks, read_volumes
from camtool.datasets.annotations.voc import read_voc
from camtool.errors import DataError, closest

KINDS: Mapping[str, Callable[[Path], Annotations]] = {
    "coco": read_coco,
    "voc": read_voc,
    "imagenet": partial(read_voc, first=0),
    "cub": read_cub,
    "masks": read_masks,
    "volumes": read_volumes,
}
"""By name how annotations are read: a JSON file, a folder of XML files, a folder of CUB, of pictures, of volumes."""


def read_annotations(path: str | Path, kind: str) -> Annotations:
    """Return the annotations of a data set by sample; what is large in them is read when it is asked for.

    Nothing of a file is executed, and no XML with a document type is read.

    Args:
        path: a file of COCO; a file or a folder of VOC's or ImageNet's XML; the folder of CUB-200-2011; a folder of masks, called as the
            samples are.
        kind: a name of KINDS.

    Raises:
        DataError: if there is no such kind or file, or it cannot be read; file and line, or key, are named.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from camtool.datasets.annotations import read_annotations
        >>> from camtool.io.images import encode
        >>> mask = np.zeros((4, 6, 3), np.uint8)
        >>> mask[1:3, 2:6] = 255
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = (Path(folder) / "cat.png").write_bytes(encode(mask, ".png"))
        ...     (found,) = read_annotations(folder, "masks")["pictures/cat.jpg"]
        >>> found.boxes.tolist(), found.label
        ([[[1, 3], [2, 6]]], None)
    """
    if kind not in KINDS:
        raise DataError(f"No annotations of the kind '{kind}'{closest(kind, KINDS)}; expected {', '.join(KINDS)}.")
    return KINDS[kind](Path(os.path.expanduser(path)))
