"""An image classifier of the Hugging Face hub, or of a directory written by save_pretrained(); needs `pip install -e ".[hf]"`."""

model = dict(type="camtool.HuggingFaceModel", name="google/vit-base-patch16-224")
