"""Names of models in libraries: what follows `timm/` and `torchvision/`."""

from camtool.registry import MODEL_NAMES


def timm_names() -> list[str]:
    """Return timm's models, with and without a tag of weights behind a dot."""
    import timm

    return [*timm.list_models(), *timm.list_models(pretrained=True)]


def torchvision_names() -> list[str]:
    """Return torchvision's classifiers."""
    import torchvision

    return list(torchvision.models.list_models(module=torchvision.models))


MODEL_NAMES.register_module(name="timm", module=timm_names)
MODEL_NAMES.register_module(name="torchvision", module=torchvision_names)
