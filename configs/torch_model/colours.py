"""Example of your own network: a class in a file, two inputs, no checkpoint. See demo/colours.py."""

model = dict(
    type="camtool.TorchModel",
    factory="demo/colours.py:Colours",  # or package.module:name; `kwargs=dict(…)` are its arguments
    with_weights=True,  # the class sets its weights itself; else give `load_from`, or CHECKPOINT on the command line
    inputs=dict(picture="picture", prior=[[0.0, 0.0, 0.0]]),  # arguments of forward(); not needed for a single input
    preprocess=dict(resize=256, crop=224, mean=0, std=1),
    classes=["red", "green", "blue"],
)
