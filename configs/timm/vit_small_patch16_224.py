"""Vision transformer of timm, as `timm/vit_small_patch16_224` on the command line; further keys go to timm.create_model."""

model = dict(type="camtool.TimmModel", name="vit_small_patch16_224")
