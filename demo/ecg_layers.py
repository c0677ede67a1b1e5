"""A trained network on signals: waves, kinds of beats and rhythm of one ECG lead, with the weights of the package openecg.

Used by `configs/openecg/codec-v6_ecg.py`. Weights and architecture are those of openecg's layered codec (Apache-2.0): a convolution
makes a token of 20 ms, four convolutions see what is near, four layers of a transformer the whole, and three linear heads read each sample.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TOKEN = 10
"""Samples of a token, at 500 a second."""

QRS = 2
"""Class of "frame"."""


class LayeredEcg(nn.Module):
    """Scores at each sample for one lead (n, 1, t) at 500 Hz, ranks from -1 to 1 within the 10 s that it was trained on.

    They are a dict: "frame" (n, 4, t) of nothing, P, QRS and T; "beat" (n, 6, t) of no beat, a sinus beat, a ventricular premature one,
    a paced, a fusion and an unknown one, which are where "frame" says QRS, as openecg reads them: elsewhere "no beat" is highest;
    "rhythm" (n, 6, t). t is a multiple of 10, up to 5120.
    """

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.register_buffer("pos_enc", torch.zeros(1, 512, width))
        self.conv_tok = nn.Conv1d(1, width, 2 * TOKEN, stride=TOKEN, padding=TOKEN // 2)
        self.lower_convs = nn.ModuleList(nn.Conv1d(width, width, 7, padding=3) for _ in range(4))
        self.lower_norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        block = nn.TransformerEncoderLayer(width, 4, 2 * width, activation="gelu", batch_first=True, norm_first=True)
        self.upper_transformer = nn.TransformerEncoder(block, 4, enable_nested_tensor=False)
        self.refine = nn.Sequential(nn.Conv1d(width, width, 5, padding=2), nn.GELU(), nn.Conv1d(width, width, 5, padding=2))
        self.head = nn.Linear(width, 4)  # of tokens; in the file, and used by none of the layers
        self.head_sample, self.beat_sample, self.rhythm_sample = nn.Linear(width, 4), nn.Linear(width, 6), nn.Linear(width, 6)

    def forward(self, lead: Tensor) -> dict[str, Tensor]:
        tokens = self.conv_tok(lead).mT
        tokens = tokens + self.pos_enc[:, : tokens.shape[1]]
        for convolution, norm in zip(self.lower_convs, self.lower_norms, strict=True):
            tokens = norm(F.gelu(convolution(tokens.mT).mT) + tokens)
        coarse = F.interpolate(self.upper_transformer(tokens).mT, scale_factor=TOKEN, mode="nearest")
        features = (coarse + self.refine(coarse)).mT
        frame, beat, rhythm = (head(features).mT for head in (self.head_sample, self.beat_sample, self.rhythm_sample))
        best = beat.amax(dim=1).detach() + 1
        none = torch.where(frame.argmax(dim=1) == QRS, beat[:, 0], best)
        return {"frame": frame, "beat": torch.cat([none[:, None], beat[:, 1:]], dim=1), "rhythm": rhythm}
