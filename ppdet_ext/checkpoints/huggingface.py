# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""config.json and preprocessor_config.json of transformers for one of our networks, written without transformers.

Keys: transformers' configuration_rt_detr.py, configuration_rt_detr_resnet.py, configuration_rt_detr_v2.py.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..detector.attention import OFFSET_SCALE
from ..errors import UserError
from . import name_rules
from .models import Model

CLASSES = {False: ("RTDetrForObjectDetection", "rt_detr"), True: ("RTDetrV2ForObjectDetection", "rt_detr_v2")}
BLOCKS = 3  # RepVGG blocks of a CSP layer, a number that transformers does not let choose


def config(model: Model, class_names: Sequence[str]) -> dict[str, Any]:
    """The content of config.json.

    Args:
        model: a ``models.Model``.
        class_names: one name a class.

    Raises:
        UserError: the network has a setting that transformers' does not know.
    """
    require_expressible(model)
    kind, name = CLASSES[model.second_version]
    return {
        "architectures": [kind], "model_type": name, "torch_dtype": "float32",
        "backbone_config": _backbone(model), "freeze_backbone_batch_norms": model.frozen_backbone,
        "id2label": {str(number): label for number, label in enumerate(class_names)},
        "label2id": {label: number for number, label in enumerate(class_names)},
        **_encoder(model), **_decoder(model), **(_sampling(model) if model.second_version else {}),
    }


def processor(model: Model) -> dict[str, Any]:
    """The content of preprocessor_config.json: size, and the mean and std that the model's config names, if any."""
    height, width = model.size
    mean, std = (list(map(float, values)) for values in model.normalization)
    return {"image_processor_type": "RTDetrImageProcessor", "do_resize": True, "resample": 2,
            "size": {"height": height, "width": width}, "do_rescale": True, "rescale_factor": 1 / 255,
            "do_normalize": any(mean) or any(value != 1 for value in std), "image_mean": mean, "image_std": std,
            "do_pad": False}


def require_expressible(model: Model) -> None:
    """Raise UserError for a network that transformers has no settings for."""
    net = model.net
    encoder, decoder = net.neck, net.transformer
    for wrong, why in (
            (decoder.decoder.eval_idx != decoder.num_decoder_layers - 1,
             f"its boxes come from decoder layer {decoder.decoder.eval_idx + 1} of {decoder.num_decoder_layers}, "
             "theirs always from the last"),
            (len(encoder.fpn_blocks[0].bottlenecks) != BLOCKS, f"its CSP blocks do not have {BLOCKS} RepVGG blocks"),
            (decoder.query_pos_head_inv_sig, "query_pos_head_inv_sig is set"),
            (len(set(_points(decoder))) != 1, "its levels have different numbers of sampled points"),
            (_attention(decoder).sampling != "default" and not model.second_version,
             "discrete sampling is in their second version only")):
        if wrong:
            raise UserError(f"{name_rules.TITLES['hf']} has no {model.name}: {why}")


def _points(decoder):
    return _attention(decoder).points


def _backbone(model):
    """RTDetrResNetConfig, read off the shapes: which blocks a stage has, and how wide they are."""
    stages, shapes = {}, {}
    for name, shape in model.shapes.items():
        row = next((fields for row, leaf, fields in name_rules.rows_of(name)
                    if "{s}" in row.torch and ".branch2" in name and row.kind == "conv"), None)
        if row:
            stages[row["s"]] = max(stages.get(row["s"], 0), row["b"] + 1)
            shapes[row["s"]] = max(shapes.get(row["s"], (0, 0)), (row["c"], shape[0]))
    numbers = sorted(stages)
    levels = len(model.net.neck.in_channels)
    return {
        "model_type": "rt_detr_resnet", "embedding_size": model.shapes["backbone.conv1.conv1_3.conv.weight"][0],
        "depths": [stages[number] for number in numbers], "hidden_sizes": [shapes[number][1] for number in numbers],
        "layer_type": "bottleneck" if shapes[numbers[0]][0] == 2 else "basic",
        "out_features": [f"stage{number + 1}" for number in numbers[-levels:]],
    }


def _encoder(model):
    encoder, shapes = model.net.neck, model.shapes
    layer = encoder.encoder[0].layers[0]
    return {
        "encoder_in_channels": list(encoder.in_channels), "feat_strides": list(encoder.feat_strides),
        "encoder_hidden_dim": encoder.hidden_dim, "encoder_layers": encoder.num_encoder_layers,
        "encoder_ffn_dim": shapes["neck.encoder.0.layers.0.linear1.weight"][1],
        "encoder_attention_heads": layer.self_attn.num_heads, "encode_proj_layers": list(encoder.use_encoder_idx),
        "positional_encoding_temperature": encoder.pe_temperature, "normalize_before": layer.normalize_before,
        "encoder_activation_function": model.activations["encoder"], "activation_function": model.activations["neck"],
        "hidden_expansion": shapes["neck.fpn_blocks.0.conv1.conv.weight"][0] / encoder.hidden_dim, "eval_size": None,
    }


def _decoder(model):
    decoder, levels = model.net.transformer, model.net.neck.in_channels
    return {
        "d_model": decoder.hidden_dim, "num_queries": decoder.num_queries,
        "decoder_in_channels": [model.net.neck.hidden_dim] * len(levels), "num_feature_levels": decoder.num_levels,
        "decoder_ffn_dim": model.shapes["transformer.decoder.layers.0.linear1.weight"][1],
        "decoder_layers": decoder.num_decoder_layers, "decoder_attention_heads": decoder.nhead,
        "decoder_n_points": _points(decoder)[0], "decoder_activation_function": model.activations["decoder"],
        "num_denoising": decoder.num_denoising, "label_noise_ratio": decoder.label_noise_ratio,
        "box_noise_scale": decoder.box_noise_scale, "learn_initial_query": decoder.learnt_init_query,
        "anchor_image_size": None,
    }


def _sampling(model):
    decoder = model.net.transformer
    return {"decoder_n_levels": decoder.num_levels, "decoder_method": _attention(decoder).sampling,
            "decoder_offset_scale": OFFSET_SCALE}


def _attention(decoder):
    return decoder.decoder.layers[0].cross_attn
