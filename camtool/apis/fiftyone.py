"""FiftyOne's JSON of a data set, with heat maps, as `fiftyone.types.FiftyOneDataset` imports it."""

import base64
import io
import json
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from camtool.apis.stored_pictures import class_names
from camtool.functional import resize
from camtool.store import MapRow, Store

_LONGEST_SIDE = 224  # of a heat map, which FiftyOne stretches over the picture
_TAKEN = {"id", "filepath", "tags", "metadata", "ground_truth", "prediction", "created_at", "last_modified_at"}


class FiftyOneSamples:
    """Writes `samples.json`, one sample after the other, and `metadata.json`.

    Without a version in `metadata.json` FiftyOne takes its first format, whose samples are plain: no field needs to be declared. Heat
    maps are in the samples themselves, so that the folder can be moved. Pictures stay where they are.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self._folder = folder
        self._root = Path(str(store.run.get("root") or ".")).absolute()
        self._names = class_names(store)
        self._id: int | None = None
        self._sample: dict[str, Any] = {}
        self._fields: dict[tuple[Any, ...], str] = {}
        self._file = (folder / "samples.json").open("w", encoding="utf-8")
        self._file.write('{"samples": [')

    def add(self, row: MapRow, saliency: Float[np.ndarray, "h w"]) -> None:
        """Add a row's heat map to its sample; rows of a sample come one after the other.

        Args:
            saliency: on the whole picture, in [0, 1]; NaN where the network saw nothing.
        """
        if row["id"] != self._id:
            self._write()
            self._id = row["id"]
            self._sample = {"filepath": str(self._root / row["path"]), "tags": []}
            if row["label"] is not None:
                self._sample["ground_truth"] = self._classification(row["label"])
        if row["predicted"] is not None:
            # The probability is that of the row's target: of several rows one has the predicted class's.
            confident = row["probability"] is not None and row["target"] in (None, row["predicted"])
            if confident or "prediction" not in self._sample:
                self._sample["prediction"] = self._classification(row["predicted"], row["probability"] if confident else None)
        self._sample[self._field(row)] = {"_cls": "Heatmap", "tags": [], "map": _packed(saliency), "range": [0, 255]}

    def close(self) -> None:
        """Write the last sample and the metadata."""
        self._write(last=True)
        self._file.write("]}\n")
        self._file.close()
        metadata = {"media_type": "image", "info": {"classes": self._names or []}}
        (self._folder / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")

    def _write(self, *, last: bool = False) -> None:
        if self._sample:
            self._file.write(f"{json.dumps(self._sample)}{'' if last else ', '}")
            self._sample = {}

    def _classification(self, index: int, confidence: float | None = None) -> dict[str, Any]:
        name = self._names[index] if self._names and 0 <= index < len(self._names) else str(index)
        return {"_cls": "Classification", "tags": [], "label": name, "confidence": confidence, "logits": None}

    def _field(self, row: MapRow) -> str:
        """Return the field of a method, layer and kind of target: letters only, the same for every sample."""
        targets = None if row["target"] == row["predicted"] else row["target"]
        key = (row["method"], row["layer"], targets)
        if key not in self._fields:
            words = row["method"] if targets is None else f"{row['method']}_{targets}"
            plain = f"map_{re.sub(r'[^0-9a-z]+', '_', words.casefold()).strip('_')}"
            taken = _TAKEN | set(self._fields.values())
            numbered = (f"{plain}_{number}" for number in range(2, len(taken) + 3))
            self._fields[key] = plain if plain not in taken else next(name for name in numbered if name not in taken)
        return self._fields[key]


def _packed(saliency: Float[np.ndarray, "h w"]) -> dict[str, Any]:
    """Return a heat map of 8 bits as FiftyOne stores arrays: numpy's format, compressed, in MongoDB's extended JSON."""
    maps = torch.from_numpy(np.nan_to_num(saliency).astype(np.float32))[None]
    factor = _LONGEST_SIDE / max(maps.shape[1:])
    if factor < 1:
        maps = resize(maps, [max(round(length * factor), 1) for length in maps.shape[1:]])
    levels = (maps[0].clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    buffer = io.BytesIO()
    np.save(buffer, levels, allow_pickle=False)
    return {"$binary": {"base64": base64.b64encode(zlib.compress(buffer.getvalue())).decode(), "subType": "00"}}
