# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What each setting's value may be: one table, and for what it does not name, annotations and types of defaults.

``epoch`` is a key at the top of a config, ``Resize.interp`` a setting of that class wherever it is named, ``*.prob`` a
setting of every class of ppdet, Paddle and this package. Limits keep a small file from asking for endless work.
"""
from __future__ import annotations

import argparse
from typing import Any

from .. import limits
from ..errors import UserError
from . import flags
from .rules import (
    ANYTHING,
    FLAG,
    GROUP,
    LIST,
    NONE,
    OFF,
    PATTERN,
    SWITCH,
    TEXT,
    Rule,
    each,
    number,
    of_parameter,
    one_of,
    shown,
    table,
    whole,
)

FROM_WEIGHTS = "from_weights"  # readers: take the number that the backbone's weights were trained with
MAX_SIDE = limits.LIMITS["SIDE"].default
MAX_EPOCHS, MAX_STEPS, MAX_WORKERS, MAX_WIDTH, MAX_LAYERS = 100_000, 1_000_000, 256, 65_536, 1_000


def _is_side(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= limits.limit("SIDE")


def memory_bytes(value: Any) -> int:
    """Bytes of '2GB', '500MB'; 0 where it is no such text."""
    try:
        return int(_amount(value)) if isinstance(value, str) and len(value) < 40 else 0
    except argparse.ArgumentTypeError:
        return 0


_amount = flags.amount_of_memory({"mb": 2 ** 20, "mib": 2 ** 20, "gb": 2 ** 30, "gib": 2 ** 30})
SIDE = Rule(f"a number of pixels from 1 to {MAX_SIDE} (more with {limits.variable('SIDE')})", _is_side, "640")
FREE = Rule("-1 (any size)", lambda value: value == -1 or value is None, "-1")
SIDES = each(SIDE, [2])
SIZE = SIDE | SIDES
ACTIVATION = one_of("relu", "gelu", "silu", "swish", "hardswish", "leaky_relu", "elu", "mish", "relu6", "celu", "selu",
                    "tanh", "sigmoid", "softplus", "softsign", "tanhshrink", "hardtanh", "log_sigmoid", "hardsigmoid")
# ppdet's networks have names of their own beside Paddle's
ACT = ACTIVATION | one_of("hard_swish", "hard_sigmoid") | NONE
ACT_GROUP = Rule("{name: NAME, its arguments}", lambda value: isinstance(value, dict)
                 and ACTIVATION.fits(value.get("name")), "{name: leaky_relu}")
SHARE, OPEN_SHARE = number(0, 1), number(0, below=1)
FACTOR = number(0, 10, example=0.1)
POSITIVE, NOT_NEGATIVE = number(above=0), number(0)
WIDTH, LAYERS, COUNT = whole(1, MAX_WIDTH, 256), whole(1, MAX_LAYERS, 6), whole(1, 10 ** 6, 300)
PAIR = each(number(), [2], example="[0.5, 2.0]")
WEIGHTS = one_of(FROM_WEIGHTS)
COLOUR = number(0, 255, example=127.5) | each(number(0, 255, example=127.5), [3]) | WEIGHTS
TEXTS = each(TEXT, least=0)
RATES = NOT_NEGATIVE | each(NOT_NEGATIVE) | NONE
IMAGE_FIT = one_of("error", "pad", "resize")
INDICES = each(whole(0, 1000), example="[1, 2, 3]")
# the names that a loss or a matcher has weights for
LOSS_WEIGHT = number(0, 1e6, example=1.0)
BOX_WEIGHTS = table(LOSS_WEIGHT, ("class", "bbox", "giou"), "{class: 1, bbox: 5, giou: 2}")
GROUPS = each(Rule("{params: [PATTERN], learning_rate: FACTOR, weight_decay: 0.}", lambda value: isinstance(value, dict)
                   and each(PATTERN).fits(value.get("params")) and NOT_NEGATIVE.fits(value.get("learning_rate", 1)),
                   "{params: ['backbone'], learning_rate: 0.1}"), least=0)
REGULARIZER = Rule("{type: L2, factor: 0.0001}", lambda value: isinstance(value, dict) and set(value) == {
    "type", "factor"} and value["type"] in ("L1", "L2") and FACTOR.fits(value["factor"]),
                   "{type: L2, factor: 0.0001}")
EPOCHS_OF_A_TRANSFORM = each(Rule("{NAME: {start_epoch: 0, stop_epoch: 10}}", lambda value: isinstance(value, dict)
                                  and bool(value), "{RandomCrop: {stop_epoch: 71}}"), least=0)
DISTORTION = Rule("[LOW, HIGH, CHANCE]", lambda value: each(number(), [3]).fits(value) and value[0] <= value[1]
                  and SHARE.fits(value[2]), "[0.5, 1.5, 0.5]")
MIXING = Rule("{NAME: SHARE} of Mosaic, Mixup, Cutmix, together at most 1", lambda value: isinstance(value, dict)
              and set(value) <= {"Mosaic", "Mixup", "Cutmix"} and all(map(SHARE.fits, value.values()))
              and sum(value.values()) <= 1, "{Mosaic: 0.4, Mixup: 0.1}")
FIELDS = each(one_of("image", "gt_bbox", "gt_class", "is_crowd", "difficult", "gt_score", "gt_poly", "gt_track_id",
                     "gt_ide", "gt_keypoint", "keypoint_ignore", "semantic"),
              example="[image, gt_bbox, gt_class, is_crowd]")
MEMORY = Rule("an amount of memory such as 2GB or 500MB", lambda value: memory_bytes(value) > 0, "2GB")
NORMALIZATION = Rule("{mean: [r, g, b], std: [r, g, b]} in 0..1", lambda value: isinstance(value, dict) and set(
    value) == {"mean", "std"} and each(number(), [3]).fits(value["mean"]) and each(POSITIVE, [3]).fits(value["std"]),
                     "{mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}")

AUGMENT_PRESETS = ("none", "light", "medium", "strong")  # data/augment.py says what each is
# the twelve numbers of pycocotools' summary, in its order; VOC has one, at IoU 0.5
COCO_METRICS = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
                "AR1", "AR10", "AR100", "AR_small", "AR_medium", "AR_large")
VOC_METRICS = ("AP50",)
EARLY_STOPPING = {"patience": whole(1, MAX_EPOCHS, 10) | NONE, "metric": one_of(*COCO_METRICS) | NONE}
AUGMENT = {"preset": one_of(*AUGMENT_PRESETS), "flip": SWITCH | NONE, "stop_epochs": whole(0, MAX_EPOCHS, 5) | NONE}
ALL = "all"

EXPORT = ("post_process", "nms", "benchmark", "fuse_conv_bn")  # see engine.export.ExportOptions

TOP_LEVEL = {
    "architecture": TEXT, "metric": one_of("COCO", "VOC"), "map_type": one_of("11point", "integral"),
    "IouType": one_of("bbox"), "num_classes": whole(1, MAX_WIDTH, 80), "save_dir": TEXT,
    "epoch": whole(1, MAX_EPOCHS, 12), "snapshot_epoch": whole(1), "log_iter": whole(1, MAX_STEPS, 20),
    "worker_num": whole(0, MAX_WORKERS, 2), "seed": whole(0, 2 ** 31 - 1) | NONE,
    "data": TEXT | NONE, "weights": TEXT | NONE, "pretrain_weights": TEXT | NONE | OFF, "output_eval": TEXT | NONE,
    "early_stopping": Rule(f"{{patience: EVALUATIONS, metric: NAME}} or one of the two ({', '.join(COCO_METRICS)})",
                           lambda value: isinstance(value, dict) and set(value) <= set(EARLY_STOPPING) and all(
                               rule.fits(value.get(key)) for key, rule in EARLY_STOPPING.items()),
                           "{patience: 10, metric: AP}") | NONE,
    "augment": one_of(*AUGMENT_PRESETS) | NONE | Rule(
        "{preset: NAME, flip: true or false, stop_epochs: EPOCHS}", lambda value: isinstance(value, dict) and set(
            value) <= set(AUGMENT) and all(rule.fits(value.get(key)) for key, rule in AUGMENT.items()),
        "{preset: strong, flip: false}"),
    "keep_checkpoints": whole(0, MAX_EPOCHS, 2) | one_of(ALL),
    "tensorboard_log_dir": TEXT | NONE, "mlflow": GROUP | NONE,
    "vdl_log_dir": TEXT | NONE, "allow_missing": TEXTS | NONE, "class_map": GROUP | NONE,
    "swap_backbone": FLAG | GROUP | NONE,
    "export": table(FLAG, example="{post_process: true}", only=EXPORT) | NONE,
    "normalization": NORMALIZATION | NONE, "normalization_mismatch": one_of("error", "warn") | NONE,
    "class_mismatch": one_of("error", "warn") | NONE,
    "ema_decay": number(above=0, below=1, example=0.9999),
    "ema_decay_type": one_of("threshold", "normal", "exponential"), "cycle_epoch": whole(1) | whole(-1, -1),
    "ema_black_list": TEXTS | NONE, "init_loss_scaling": POSITIVE,
    "custom_white_list": TEXTS | NONE, "custom_black_list": TEXTS | NONE, "profiler_options": TEXT | NONE,
    "progress": one_of(*flags.PROGRESS) | NONE,
    "norm_type": one_of("bn", "sync_bn", "gn", "ln") | NONE, "wandb": GROUP | NONE,
    **dict.fromkeys(("amp", "bias", "classwise", "enable_ce", "ema_filter_no_grad", "find_unused_parameters", "fleet",
                     "print_flops", "print_params", "report", "save_prediction_only", "to_static", "use_ema",
                     "use_focal_loss", "use_fused_allreduce_gradients", "use_gpu", "use_mlflow", "use_mlu", "use_npu",
                     "use_tensorboard", "use_vdl", "use_wandb", "use_xpu", "validate", "watch"), FLAG | NONE),
}

CLASSES = {
    # readers and data sets
    "*.batch_size": whole(1, MAX_STEPS, 4), "TrainReader.batch_size": whole(1, MAX_STEPS, 4) | one_of("auto"),
    "*.shuffle": SWITCH, "*.drop_last": SWITCH,
    "*.sample_transforms": each(ANYTHING, example="[Decode: {}]"), "*.batch_transforms": LIST,
    "*.transform_schedulers": EPOCHS_OF_A_TRANSFORM, "*.inputs_def": GROUP,
    "*.memory_cache": MEMORY | NONE, "*.mixing": MIXING | NONE,
    "*.collate_batch": FLAG, "*.use_shared_memory": FLAG, "*.fuse_normalize": FLAG, "*.use_process": FLAG,
    **dict.fromkeys(("*.mixup_epoch", "*.cutmix_epoch", "*.mosaic_epoch", "*.pre_img_epoch"), whole(-1, MAX_EPOCHS)),
    "*.dataset_dir": TEXT | NONE, "*.anno_path": TEXT | NONE, "*.image_dir": TEXT | NONE,
    "ImageFolder.image_dir": TEXT | TEXTS | NONE,
    "*.label_list": TEXT | NONE, "*.data_fields": FIELDS,
    "*.sample_num": whole(-1, example=-1), "*.repeat": whole(1, MAX_STEPS), "*.empty_ratio": number(example=1.0),
    "*.use_default_label": FLAG | NONE,
    # transforms
    "*.target_size": SIZE, "BatchRandomResize.target_size": SIDE | each(SIZE), "*.interp": whole(0, 4, 1) | WEIGHTS,
    "RandomResize.target_size": SIDE | each(SIZE), "MultiscaleTestResize.target_size": LIST,
    "CropWithDataAchorSampling.target_size": SIZE | NONE, "RandomScaledCrop.target_dim": SIDE,
    "RandomScaledCrop.scale_range": each(number(above=0, most=100, example=0.5), [2], example="[0.5, 1.5]"),
    "*.keep_ratio": FLAG, "*.prob": SHARE,
    "RandomFlip.prob": Rule("a number from 0.0 to 1.0 with a decimal point (ppdet wants one)", lambda value: isinstance(
        value, float) and 0 <= value <= 1, "0.5"), "*.p": SHARE, "*.sampling_prob": SHARE, "*.mixup_prob": SHARE,
    "NormalizeImage.mean": each(number(-1000, 1000), [3], example="[0.485, 0.456, 0.406]") | WEIGHTS,
    "NormalizeImage.std": each(number(1e-6, 1000), [3], example="[0.229, 0.224, 0.225]") | WEIGHTS,
    "NormalizeImage.norm_type": one_of("mean_std", "none"),
    "*.fill_value": COLOUR, "RandomExpand.ratio": number(above=1.01, example=4.0),
    "RandomCrop.aspect_ratio": each(POSITIVE, [2], example="[0.5, 2.0]") | NONE,
    "RandomCrop.scaling": each(number(above=0, example=1.0), [2], example="[0.3, 1.0]") | NONE,
    "RandomCrop.thresholds": each(SHARE), "*.num_attempts": whole(1, MAX_STEPS, 50),
    **dict.fromkeys(("RandomDistort.hue", "RandomDistort.saturation", "RandomDistort.contrast",
                     "RandomDistort.brightness"), DISTORTION),
    "RandomDistort.count": whole(0, 4, 4), "PadBatch.pad_to_stride": whole(0, MAX_SIDE, 32),
    "PadMaskBatch.pad_to_stride": whole(0, MAX_SIDE, 32), "PadBox.num_max_boxes": COUNT,
    "Pad.size": SIZE | NONE, "Pad.size_divisor": whole(1, MAX_SIDE, 32), "Pad.pad_mode": whole(-1, 2),
    "Mosaic.input_dim": SIDES, "Mosaic.degrees": PAIR, "Mosaic.translate": PAIR, "Mosaic.scale": PAIR,
    "Mosaic.shear": PAIR, "Mosaic.mixup_scale": PAIR, "*.alpha": NOT_NEGATIVE, "Mixup.alpha": POSITIVE,
    "Mixup.beta": POSITIVE, "Cutmix.alpha": POSITIVE, "Cutmix.beta": POSITIVE, "RandomErasing.value": number() | LIST,
    **dict.fromkeys(("RandomColorJitter.brightness", "RandomColorJitter.contrast", "RandomColorJitter.saturation",
                     "RandomColorJitter.hue"), NOT_NEGATIVE | PAIR),
    # schedule and optimizer
    "LearningRate.base_lr": number(above=0, most=100, example=0.0001), "LearningRate.schedulers": LIST,
    "PiecewiseDecay.milestones": each(whole(0, MAX_EPOCHS), example="[8, 11]"),
    "PiecewiseDecay.gamma": FACTOR | each(FACTOR), "PiecewiseDecay.values": each(NOT_NEGATIVE) | NONE,
    "CosineDecay.max_epochs": whole(1, MAX_EPOCHS, 12), "CosineDecay.min_lr_ratio": SHARE,
    "CosineDecay.last_plateau_epochs": whole(0, MAX_EPOCHS), "*.use_warmup": FLAG,
    "LinearWarmup.steps": whole(0, MAX_STEPS, 500), "ExpWarmup.steps": whole(0, MAX_STEPS, 500),
    "LinearWarmup.epochs": whole(0, MAX_EPOCHS) | NONE, "ExpWarmup.epochs": whole(0, MAX_EPOCHS) | NONE,
    "LinearWarmup.start_factor": FACTOR, "ExpWarmup.power": POSITIVE,
    "OptimizerBuilder.clip_grad_by_norm": POSITIVE | NONE, "OptimizerBuilder.clip_grad_by_value": POSITIVE | NONE,
    "OptimizerBuilder.regularizer": REGULARIZER | OFF | NONE | one_of("None"), "OptimizerBuilder.optimizer": GROUP,
    "*.beta1": OPEN_SHARE, "*.beta2": OPEN_SHARE, "*.epsilon": POSITIVE, "*.momentum": OPEN_SHARE,
    "*.weight_decay": FACTOR | NONE, "AdamW.weight_decay": FACTOR, "*.param_groups": GROUPS, "*.rho": OPEN_SHARE,
    "*.initial_accumulator_value": NOT_NEGATIVE, "*.momentum_decay": NOT_NEGATIVE,
    # RT-DETR
    "*.num_classes": whole(1, MAX_WIDTH, 80), "*.hidden_dim": WIDTH, "*.d_model": WIDTH, "*.dim_feedforward": WIDTH,
    "*.nhead": whole(1, 1024, 8), "*.num_queries": whole(1, 100_000, 300), "*.num_top_queries": whole(1, 100_000, 300),
    "*.num_decoder_layers": LAYERS, "*.num_encoder_layers": whole(0, MAX_LAYERS, 1), "*.num_layers": LAYERS,
    "RTDETRTransformer.num_levels": whole(1, 8, 3), "RTDETRTransformerv2.num_levels": whole(1, 8, 3),
    "*.num_decoder_points": whole(1, 100, 4) | each(whole(1, 100, 4)), "*.num_denoising": whole(0, 100_000, 100),
    "*.dropout": OPEN_SHARE, "*.attn_dropout": OPEN_SHARE | NONE, "*.act_dropout": OPEN_SHARE | NONE,
    "*.label_noise_ratio": SHARE, "*.box_noise_scale": number(0, 100, example=1.0),
    "*.eps": number(above=0, below=0.5, example=0.01),
    "*.expansion": number(above=0, most=16, example=1.0), "*.depth_mult": number(above=0, most=16, example=1.0),
    "*.width_mult": number(above=0, most=16, example=1.0), "*.pe_temperature": POSITIVE, "*.eval_size": SIDES | NONE,
    "*.use_encoder_idx": each(whole(0, 100), least=0, example="[2]"), "*.act": ACT | ACT_GROUP,
    "*.activation": ACTIVATION, "*.norm_type": one_of("bn", "sync_bn", "gn", "ln") | NONE,
    "DINOLoss.loss_coeff": BOX_WEIGHTS, "HungarianMatcher.matcher_coeff": BOX_WEIGHTS,
    "*.loss_coeff": table(LOSS_WEIGHT), "*.matcher_coeff": table(LOSS_WEIGHT), "*.gamma": NOT_NEGATIVE,
    "*.uni_match_ind": whole(0), "*.dual_groups": whole(0),
    # backbones
    "*.depth": whole(1, 10_000, 50), "*.out_indices": INDICES | whole(0, 1000) | NONE,
    "*.return_idx": INDICES | whole(0, 1000) | NONE, "*.feature_maps": INDICES | whole(0, 1000),
    "*.freeze_at": whole(-1, 1000, -1), "*.frozen_stages": whole(-1, 1000, -1), "*.norm_decay": NOT_NEGATIVE,
    "*.lr_mult_list": RATES, "*.drop_path_rate": OPEN_SHARE, "*.in_chans": whole(1, 64, 3),
    "FocalNet.drop_path_rate": OPEN_SHARE | NONE, "*.adapter_channels": WIDTH | NONE, "*.img_size": SIZE | NONE,
    "*.allow": TEXTS | NONE, "TimmBackbone.size": IMAGE_FIT, "TorchvisionBackbone.size": IMAGE_FIT,
    "*.dcn_v2_stages": each(whole(-1, 1000, -1)), "*.num_stages": whole(1, 100, 4), "*.scale": ANYTHING,
    # other heads
    "*.score_threshold": SHARE, "*.nms_threshold": SHARE, "*.post_threshold": SHARE, "*.conf_thresh": SHARE,
    "*.score_thresh": SHARE, "*.nms_thresh": SHARE, "*.nms_top_k": whole(-1), "*.keep_top_k": whole(1, example=100)
    | whole(-1, -1), "*.nms_eta": number(above=0, most=1, example=1.0), "*.prior_prob": number(above=0, below=1),
    "*.loss_weight": NOT_NEGATIVE | table(NOT_NEGATIVE), "*.nms_pre": whole(-1), "*.down_ratio": whole(1),
}
# what TestReader.inputs_def and a transform's entry in transform_schedulers hold
INPUTS = {"image_shape": each(SIDE | FREE, [3, 4], example="[3, 640, 640]") | NONE, "num_max_boxes": COUNT,
          "fields": TEXTS}
EPOCH_LIMIT = whole(0)
# classes whose parameters the table's stars are about; a user's own class may mean something else by a name
KNOWN_MODULES = ("ppdet", "ppdet_ext", "paddle")


def rule_for(owner: str, key: str, module: str = "", annotation: Any = None, default: Any = None) -> Rule:
    """The rule of a class's setting.

    Args:
        owner, module: the class's name and module.
        annotation, default: what its signature says of the parameter.
    """
    if module.split(".")[0] in KNOWN_MODULES:
        found = CLASSES.get(f"{owner}.{key}") or CLASSES.get(f"*.{key}")
        if found:
            return found
    return of_parameter(annotation, default)


def top_level_rule(key: str, shared: Any = None) -> Rule:
    """The rule of a key at the top of a config; ``shared`` is the default of parameters that share it."""
    return TOP_LEVEL.get(key) or CLASSES.get(f"*.{key}") or of_parameter(None, shared)


def check(where: str, value: Any, rule: Rule) -> None:
    """Hold a value to its rule.

    Raises:
        UserError: it breaks it; names ``where``, the value, what is allowed and an example.
    """
    if not rule.fits(value):
        key = where.rpartition(".")[2].rpartition(": ")[2]
        raise UserError(f"{where} is {shown(value)}, not {rule.allowed}; write for example '{key}: {rule.example}'")
