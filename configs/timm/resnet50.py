"""ResNet-50 of timm; the part of the name after the dot selects the weights."""

model = dict(type="camtool.TimmModel", name="resnet50.a1_in1k")
