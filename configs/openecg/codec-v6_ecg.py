"""Beats of a single-lead ECG, at each sample; weights from the package openecg (no download). See demo/ecg_layers.py.

A beat is explained where the network sees it: `camtool vis ECG codec-v6_ecg --target-category "ventricular beat"`.
"""

model = dict(
    type="camtool.TorchModel",
    factory="demo/ecg_layers.py:LayeredEcg",
    preprocess=dict(rate=500, length=5000, normalise="rank"),
    classes=["no beat", "sinus beat", "ventricular beat", "paced beat", "fusion beat", "unknown beat"],
)

load_from = "package://openecg/models/codec_v6.pt"

cam = dict(
    output="beat",
    target="region",
    # What the transformer reads. A beat is a few of 5000 samples: the gradients' mean over all of them, as Grad-CAM takes it, says little.
    target_layers=["lower_norms[-1]"],
    method="hirescam",
)
