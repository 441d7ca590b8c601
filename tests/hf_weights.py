# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Our detector's weights under the names of transformers' RTDetrForObjectDetection, for parity tests."""
import re

import numpy as np

# our name -> theirs; the first that matches counts
RULES = [
    (r"backbone\.conv1\.conv1_(\d)\.(conv|norm)\.", lambda m: f"model.backbone.model.embedder.embedder.{int(m[1]) - 1}."
                                                              f"{_UNIT[m[2]]}."),
    (r"backbone\.res(\d)\.res\d(\w)\.branch2(\w)\.(conv|norm)\.",
     lambda m: f"{_block(m)}.layer.{ord(m[3]) - ord('a')}.{_UNIT[m[4]]}."),
    (r"backbone\.res(\d)\.res\d(\w)\.short\.conv\.(conv|norm)\.", lambda m: f"{_block(m)}.shortcut.1.{_UNIT[m[3]]}."),
    (r"backbone\.res(\d)\.res\d(\w)\.short\.(conv|norm)\.", lambda m: f"{_block(m)}.shortcut.{_UNIT[m[3]]}."),
    (r"neck\.input_proj\.", "model.encoder_input_proj."),
    (r"neck\.encoder\.(\d)\.layers\.", r"model.encoder.aifi.\1.layers."),
    (r"neck\.", "model.encoder."),
    (r"transformer\.input_proj\.(\d)\.conv\.", r"model.decoder_input_proj.\1.0."),
    (r"transformer\.input_proj\.(\d)\.norm\.", r"model.decoder_input_proj.\1.1."),
    (r"transformer\.decoder\.layers\.", "model.decoder.layers."),
    (r"transformer\.query_pos_head\.", "model.decoder.query_pos_head."),
    (r"transformer\.dec_score_head\.", "model.decoder.class_embed."),
    (r"transformer\.dec_bbox_head\.", "model.decoder.bbox_embed."),
    (r"transformer\.", "model."),
]
# inside a layer, after the rules above
PARTS = [
    (r"(encoder\.aifi.*|decoder\.layers\.\d+)\.linear([12])\.", r"\1.mlp.fc\2."),
    (r"(encoder\.aifi.*)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"(encoder\.aifi.*)\.norm2\.", r"\1.final_layer_norm."),
    (r"(decoder\.layers\.\d+)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"(decoder\.layers\.\d+)\.norm2\.", r"\1.encoder_attn_layer_norm."),
    (r"(decoder\.layers\.\d+)\.norm3\.", r"\1.final_layer_norm."),
    (r"\.cross_attn\.", ".encoder_attn."),
    (r"self_attn\.out_proj\.", "self_attn.o_proj."),
    (r"\.bn\.", ".norm."),
    (r"\._mean$", ".running_mean"),
    (r"\._variance$", ".running_var"),
]
_UNIT = {"conv": "convolution", "norm": "normalization"}


def _block(match):
    return f"model.backbone.model.encoder.stages.{int(match[1]) - 2}.layers.{ord(match[2]) - ord('a')}"


def _renamed(name):
    for pattern, target in RULES:
        new, count = re.subn("^" + pattern, target, name)
        if count:
            name = new
            break
    for pattern, target in PARTS:
        name = re.sub(pattern, target, name)
    return name


def to_hf(state):
    """{our name: array} -> {their name: array}: linear weights transposed, query, key and value apart."""
    out = {}
    for name, array in state.items():
        name = _renamed(name)
        if "in_proj_" in name:
            kind = name.rpartition("_")[2]
            for part, piece in zip("qkv", np.split(array, 3, axis=-1)):
                out[name.replace(f"in_proj_{kind}", f"{part}_proj.{kind}")] = np.ascontiguousarray(piece.T)
        elif array.ndim == 2 and "denoising_class_embed" not in name:
            out[name] = np.ascontiguousarray(array.T)
        else:
            out[name] = array
    return out
