"""Example of a network on volumes, without a checkpoint. See demo/brightness.py."""

model = dict(
    type="camtool.TorchModel",
    factory="demo/brightness.py:Brightness",
    kwargs=dict(axes=3, threshold=0.7),
    with_weights=True,
    preprocess=dict(orientation="RAS", spacing=4.0, window=(0.0, 1200.0)),
    classes=["bright", "dark"],
)
