"""Configs in the form of Awesome-Backbones with networks of a few thousand parameters, and checkpoints as its trainer saves them."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

NORMALIZE = "dict(type='Normalize', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)"
FORMATTING = "dict(type='ImageToTensor', keys=['img']), dict(type='Collect', keys=['img'])"
PIPELINE = f"""[
    dict(type='LoadImageFromFile'),
    dict(type='Resize', size=(256, -1), backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    {NORMALIZE}, {FORMATTING}]"""

MOBILENET = """dict(
    backbone=dict(type='MobileNetV3', arch='small'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='StackedLinearClsHead', num_classes=5, in_channels=576, mid_channels=[64], dropout_rate=0.2,
        act_cfg=dict(type='HSwish'), loss=dict(type='CrossEntropyLoss', loss_weight=1.0), topk=(1, 5),
        init_cfg=dict(type='Normal', layer='Linear', mean=0., std=0.01, bias=0.)))"""
SWIN = """dict(
    backbone=dict(
        type='SwinTransformer', arch=dict(embed_dims=12, depths=[1, 2, 1, 1], num_heads=[1, 2, 2, 3]), img_size=224, drop_path_rate=0.2),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', num_classes=5, in_channels=96, init_cfg=None, cal_acc=False,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),
    init_cfg=[dict(type='TruncNormal', layer='Linear', std=0.02, bias=0.)])"""
VIT = """dict(
    backbone=dict(
        type='VisionTransformer', arch=dict(embed_dims=24, num_layers=2, num_heads=2, feedforward_channels=48), img_size=224, patch_size=16,
        drop_rate=0.1, init_cfg=[dict(type='Kaiming', layer='Conv2d', mode='fan_in', nonlinearity='linear')]),
    neck=None,
    head=dict(
        type='VisionTransformerClsHead', num_classes=5, in_channels=24, hidden_dim=32,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='classy_vision')))"""
T2T = """dict(
    backbone=dict(
        type='T2T_ViT', img_size=224, in_channels=3, embed_dims=24, t2t_cfg=dict(token_dims=8, use_performer=False), num_layers=2,
        layer_cfgs=dict(num_heads=2, feedforward_channels=48), drop_path_rate=0.1,
        init_cfg=[dict(type='TruncNormal', layer='Linear', std=.02), dict(type='Constant', layer='LayerNorm', val=1., bias=0.)]),
    neck=None,
    head=dict(
        type='VisionTransformerClsHead', num_classes=5, in_channels=24, topk=(1, 5),
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=.02)))"""
FAMILIES = {"MobileNetV3": MOBILENET, "Swin": SWIN, "ViT": VIT, "T2T-ViT": T2T}


def text(model: str = MOBILENET, pipeline: str = PIPELINE, test: str = "ckpt=''") -> str:
    """Return a config; the settings of training are there, as in theirs, and mean nothing here."""
    return f"""
model_cfg = {model}
train_pipeline = [dict(type='LoadImageFromFile'), dict(type='RandomResizedCrop', size=224), {NORMALIZE}]
val_pipeline = {pipeline}
data_cfg = dict(batch_size=32, num_workers=4, train=dict(pretrained_flag=False, epoches=100), test=dict({test}, metrics=['accuracy']))
optimizer_cfg = dict(type='AdamW', lr=1e-3)
lr_config = dict(type='StepLrUpdater', step=[15])
"""


def trained(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return what their trainer saves: weights with torch's versions of modules, its log with numpy arrays, the optimizer."""
    weights = OrderedDict(state)
    weights._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    parameter = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    evaluated = {"accuracy_top-1": 91.5, "confusion": np.eye(5, dtype=np.int64), "recall": [90.0] * 5, "mean": np.float64(0.5)}
    meta = {"save_dir": "logs/x", "epoch": 3, "best_val_acc": 91.5, "train_info": {"train_loss": [0.1], "val_acc": [evaluated]}}
    return {"meta": meta, "state_dict": weights, "optimizer": optimizer.state_dict()}
