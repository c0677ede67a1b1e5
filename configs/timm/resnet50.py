"""A ResNet-50 of timm; the name's second part chooses among its weights."""

model = dict(type="camtool.TimmModel", name="resnet50.a1_in1k")
