"""Example of a network on signals, without a checkpoint. See demo/brightness.py."""

model = dict(
    type="camtool.TorchModel",
    factory="demo/brightness.py:Brightness",
    kwargs=dict(axes=1, threshold=1.5),
    with_weights=True,
    preprocess=dict(rate=100, normalise="zscore"),
    classes=["bright", "dark"],
)
