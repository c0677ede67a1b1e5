"""LinkNet3d on T1-weighted heads, brain or not at each voxel; weights from the package deepbet (no download). See demo/linknet3d.py.

What speaks for the brain, where the network sees it: `camtool vis HEAD linknet3d_t1-head --target region --target-category brain`.
"""

model = dict(
    type="camtool.TorchModel",
    factory="demo/linknet3d.py:LinkNet3d",
    preprocess=dict(orientation="RAS", size=128, percentiles=(0.5, 99.5), mean="volume", std="volume"),
    classes=["background", "brain"],
)

# What deepbet listed as its own when it was installed. The other of its two networks sees the brain's box, this one the whole head.
load_from = "package://deepbet/data/models/bbox_model.pt"
