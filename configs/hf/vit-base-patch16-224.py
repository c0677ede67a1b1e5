"""An image classifier of the Hugging Face hub, or a directory that save_pretrained() wrote; needs `pip install -e ".[hf]"`."""

model = dict(type="camtool.HuggingFaceModel", name="google/vit-base-patch16-224")
