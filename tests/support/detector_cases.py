# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the detector's tests share: a model from a config, golden inputs, and comparing outputs of equal queries."""
import paddle
from ppdet.core.workspace import create
from support.golden import golden_image, golden_state, golden_targets
from support.paths import CONFIGS

from ppdet_ext.checkpoints import name_maps, name_rules
from ppdet_ext.checkpoints.verify_detector import in_same_order, raw_outputs
from ppdet_ext.config import config_file
from ppdet_ext.data import normalization

__all__ = ["CONFIGS", "build_detector", "eval_batch", "frozen_norm_train", "golden_image", "golden_state",
           "golden_targets", "in_same_order", "raw_outputs", "train_batch"]



def build_detector(path="rtdetr/rtdetr_r18vd_6x_coco.yml", **sections):
    """A detector from a config with golden weights; ``sections`` are merged over it."""
    cfg = config_file.load(CONFIGS / path)
    config_file.merge(cfg, sections)
    model = create(cfg.architecture)
    model.set_state_dict({name: paddle.to_tensor(a) for name, a in golden_state(model.state_dict()).items()})
    return model


def under_names_of(theirs, arrays):
    """Our {name: array} of all parameters under the names of this version's transformers model."""
    renamed = {name_rules.canonical(name, "hf"): name for name in theirs.state_dict()}
    files_names = name_maps.name_map({name: array.shape for name, array in arrays.items()}, "hf").from_paddle(arrays)
    return {renamed.get(name, name): array for name, array in files_names.items()}


def frozen_norm_train(model):
    """Train mode with the BatchNorm layers in eval mode, so that losses do not depend on the batch's statistics."""
    model.train()
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.BatchNorm2D):
            layer.eval()
    return model


def eval_batch(height, width, batch=1):
    """A batch as the EvalReader gives it, not resized."""
    return {
        "image": paddle.to_tensor(golden_image(height, width, batch)),
        "im_shape": paddle.to_tensor([[float(height), float(width)]] * batch),
        "scale_factor": paddle.ones([batch, 2]),
    }


def train_batch(height, width, batch, num_classes=80, targets=None):
    """A batch as the TrainReader gives it; ``targets`` as golden_targets gives them."""
    boxes, classes = targets or golden_targets(num_classes, batch)
    return {
        "image": paddle.to_tensor(golden_image(height, width, batch)),
        "gt_bbox": [paddle.to_tensor(b) for b in boxes],
        "gt_class": [paddle.to_tensor(c) for c in classes],
    }


def load_on_cpu(path, *options):
    """A config as the tools load it, for the CPU; options as after -o."""
    cfg = config_file.load(str(path), list(options))
    normalization.resolve(cfg)
    cfg["use_gpu"] = False
    return cfg
