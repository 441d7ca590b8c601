# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""RT-DETR's parameters under the names of three projects, as one table: a row is a module, a column a project.

Columns: PaddleDetection (``paddledet``), lyuwenyu/RT-DETR's PyTorch code (``torch``), and Hugging Face transformers'
files (``hf``). Names and shapes were read off the models themselves (state dicts); no row guesses.
"""
from __future__ import annotations

import functools
import re
from typing import Any, Callable, NamedTuple

import numpy as np

from . import PROJECTS as PROJECTS
from . import TITLES as TITLES


class Layout(NamedTuple):
    """How one Paddle tensor lies in torch, both ways: ``out(array)`` -> tuple of arrays, ``back(*arrays)`` -> array."""
    out: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    back: Callable[..., np.ndarray]


def _split_heads(array):
    """Query, key and value lie side by side along the last axis."""
    return tuple(part.T for part in np.split(array, 3, axis=-1))


SAME = Layout(lambda array: (array,), lambda array: array)
TRANSPOSED = Layout(lambda array: (array.T,), lambda array: array.T)  # nn.Linear: [in, out] in Paddle
SEPARATE = Layout(_split_heads, lambda *parts: np.concatenate([part.T for part in parts], axis=-1))
# torch's embedding of labels has one row more, for queries that fill up a batch; it is zero and never trained
PADDED = Layout(lambda array: (np.concatenate([array, np.zeros_like(array[:1])]),), lambda array: array[:-1])


class Leaf(NamedTuple):
    """A tensor of a module: its last name in Paddle, in torch and (where different) in transformers."""
    paddle: str
    torch: tuple[str, ...]
    layout: Layout = SAME
    hf: tuple[str, ...] = ()
    hf_layout: Layout | None = None

    def seen_by(self, project: str) -> tuple[tuple[str, ...], Layout]:
        """``(last names, layout)`` in a project other than Paddle's."""
        if project == "hf" and self.hf:
            return self.hf, self.hf_layout or self.layout
        return self.torch, self.layout


_BIAS = Leaf("bias", ("bias",))
_QKV = ("q_proj", "k_proj", "v_proj")
KINDS = {
    "conv": [Leaf("weight", ("weight",))],
    "norm": [Leaf("weight", ("weight",)), _BIAS, Leaf("_mean", ("running_mean",)),
             Leaf("_variance", ("running_var",))],
    "layer_norm": [Leaf("weight", ("weight",)), _BIAS],
    "linear": [Leaf("weight", ("weight",), TRANSPOSED), _BIAS],
    "embedding": [Leaf("weight", ("weight",))],
    "labels": [Leaf("weight", ("weight",), PADDED)],
    "points": [Leaf("num_points_scale", ("num_points_scale",), SAME, ("n_points_scale",))],
    "attention": [
        Leaf("in_proj_weight", ("in_proj_weight",), TRANSPOSED, tuple(f"{part}.weight" for part in _QKV), SEPARATE),
        Leaf("in_proj_bias", ("in_proj_bias",), SAME, tuple(f"{part}.bias" for part in _QKV), SEPARATE)],
}
COUNTER = "num_batches_tracked"  # torch's BatchNorm counts batches; Paddle's does not, and nothing uses the number


class Row(NamedTuple):
    """A module. Fields: ``{i}`` a number, ``{i+2}`` one that is written 2 higher, ``{i:a}`` one written as a letter,
    ``{path:*}`` any path. None: the project has no such module."""
    kind: str
    paddledet: str
    torch: str | None
    hf: str | None


_STEM = ("backbone.conv1.conv1_{i+1}", "backbone.conv1.conv1_{i+1}", "model.backbone.model.embedder.embedder.{i}")
_HF_BLOCK = "model.backbone.model.encoder.stages.{s}.layers.{b}"
_TORCH_BLOCK = "backbone.res_layers.{s}.blocks.{b}"
# ResNet-101's third stage has more blocks than the alphabet has letters
_BLOCKS = ("backbone.res{s+2}.res{s+2}{b:a}", "backbone.res{s+2}.res{s+2}b{b}")


def _resnet_rows():
    yield Row("conv", f"{_STEM[0]}.conv", f"{_STEM[1]}.conv", f"{_STEM[2]}.convolution")
    yield Row("norm", f"{_STEM[0]}.norm", f"{_STEM[1]}.norm", f"{_STEM[2]}.normalization")
    for block in _BLOCKS:
        for kind, part, theirs in (("conv", "conv", "convolution"), ("norm", "norm", "normalization")):
            yield Row(kind, f"{block}.branch2{{c:a}}.{part}", f"{_TORCH_BLOCK}.branch2{{c:a}}.{part}",
                      f"{_HF_BLOCK}.layer.{{c}}.{theirs}")
            # with a pooling before it the shortcut is a sequence
            yield Row(kind, f"{block}.short.conv.{part}", f"{_TORCH_BLOCK}.short.conv.{part}",
                      f"{_HF_BLOCK}.shortcut.1.{theirs}")
            yield Row(kind, f"{block}.short.{part}", f"{_TORCH_BLOCK}.short.{part}", f"{_HF_BLOCK}.shortcut.{theirs}")


def _hgnet_rows():
    for kind, part in (("conv", "conv"), ("norm", "bn")):
        yield Row(kind, f"backbone.stages.{{path:*}}.{part}", f"backbone.stages.{{path:*}}.{part}", None)
        yield Row(kind, f"backbone.stem.stem{{i}}.{part}", f"backbone.stem.stem{{i}}.{part}", None)
    # torch puts a padding before these two
    yield Row("conv", "backbone.stem.stem2{h:a}.conv", "backbone.stem.stem2{h:a}.conv.1", None)
    yield Row("norm", "backbone.stem.stem2{h:a}.bn", "backbone.stem.stem2{h:a}.bn", None)


def _neck_rows():
    yield Row("conv", "neck.input_proj.{i}.0", "encoder.input_proj.{i}.0", "model.encoder_input_proj.{i}.0")
    yield Row("norm", "neck.input_proj.{i}.1", "encoder.input_proj.{i}.1", "model.encoder_input_proj.{i}.1")
    ours, torch, hf = (f"{part}.{{e}}.layers.{{l}}" for part in ("neck.encoder", "encoder.encoder",
                                                                "model.encoder.encoder"))
    yield Row("attention", f"{ours}.self_attn", f"{torch}.self_attn", f"{hf}.self_attn")
    yield Row("linear", f"{ours}.self_attn.out_proj", f"{torch}.self_attn.out_proj", f"{hf}.self_attn.out_proj")
    yield Row("linear", f"{ours}.linear{{n}}", f"{torch}.linear{{n}}", f"{hf}.fc{{n}}")
    yield Row("layer_norm", f"{ours}.norm1", f"{torch}.norm1", f"{hf}.self_attn_layer_norm")
    yield Row("layer_norm", f"{ours}.norm2", f"{torch}.norm2", f"{hf}.final_layer_norm")
    for path in ("lateral_convs.{i}", "downsample_convs.{i}", "fpn_blocks.{i}.conv{n}", "pan_blocks.{i}.conv{n}",
                 "fpn_blocks.{i}.bottlenecks.{b}.conv{n}", "pan_blocks.{i}.bottlenecks.{b}.conv{n}"):
        yield Row("conv", f"neck.{path}.conv", f"encoder.{path}.conv", f"model.encoder.{path}.conv")
        yield Row("norm", f"neck.{path}.bn", f"encoder.{path}.norm", f"model.encoder.{path}.norm")


def _decoder_rows():
    for kind, part, sequence in (("conv", "conv", 0), ("norm", "norm", 1)):
        yield Row(kind, f"transformer.input_proj.{{i}}.{part}", f"decoder.input_proj.{{i}}.{part}",
                  f"model.decoder_input_proj.{{i}}.{sequence}")
    ours, torch, hf = (f"{part}.layers.{{l}}" for part in ("transformer.decoder", "decoder.decoder", "model.decoder"))
    yield Row("attention", f"{ours}.self_attn", f"{torch}.self_attn", f"{hf}.self_attn")
    yield Row("linear", f"{ours}.self_attn.out_proj", f"{torch}.self_attn.out_proj", f"{hf}.self_attn.out_proj")
    for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
        yield Row("linear", f"{ours}.cross_attn.{part}", f"{torch}.cross_attn.{part}", f"{hf}.encoder_attn.{part}")
    yield Row("points", f"{ours}.cross_attn", f"{torch}.cross_attn", f"{hf}.encoder_attn")
    yield Row("linear", f"{ours}.linear{{n}}", f"{torch}.linear{{n}}", f"{hf}.fc{{n}}")
    for number, name in enumerate(("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"), start=1):
        yield Row("layer_norm", f"{ours}.norm{number}", f"{torch}.norm{number}", f"{hf}.{name}")


def _head_rows():
    yield Row("labels", "transformer.denoising_class_embed", "decoder.denoising_class_embed",
              "model.denoising_class_embed")
    yield Row("embedding", "transformer.tgt_embed", "decoder.tgt_embed", "model.weight_embedding")
    for kind, part in (("linear", "enc_output.0"), ("layer_norm", "enc_output.1"), ("linear", "enc_score_head"),
                       ("linear", "enc_bbox_head.layers.{i}")):
        yield Row(kind, f"transformer.{part}", f"decoder.{part}", f"model.{part}")
    for ours, hf in (("query_pos_head.layers.{i}", "query_pos_head.layers.{i}"),
                     ("dec_score_head.{l}", "class_embed.{l}"),
                     ("dec_bbox_head.{l}.layers.{i}", "bbox_embed.{l}.layers.{i}")):
        yield Row("linear", f"transformer.{ours}", f"decoder.{ours}", f"model.decoder.{hf}")


ROWS = (*_resnet_rows(), *_hgnet_rows(), *_neck_rows(), *_decoder_rows(), *_head_rows())

# modules that lyuwenyu's second version calls otherwise
TORCH_V2 = {
    "encoder.input_proj.{i}.0": "encoder.input_proj.{i}.conv",
    "encoder.input_proj.{i}.1": "encoder.input_proj.{i}.norm",
    "decoder.enc_output.0": "decoder.enc_output.proj",
    "decoder.enc_output.1": "decoder.enc_output.norm",
}
# a backbone that only it has: how its names begin, and what it is called
TORCH_V2_BACKBONE = ("backbone.stem.", "HGNetV2")
# buffers that only it saves; they are computed from the image size
TORCH_V2_ANCHORS = ("decoder.anchors", "decoder.valid_mask")

# other names of the same tensors: transformers 5 renames these when it loads a file, and the heads have two names
HF_ALIASES = (
    (r"^model\.encoder\.aifi\.", "model.encoder.encoder."),
    (r"\.self_attn\.o_proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.fc(\d)\.", r".fc\1."),
    (r"^(class|bbox)_embed\.", r"model.decoder.\1_embed."),
)
ALIASES = {"hf": HF_ALIASES}

# the tensors that depend on the classes -> their axis of classes, in Paddle's layout
CLASS_AXES = {
    "transformer.denoising_class_embed.weight": 0,
    "transformer.enc_score_head.weight": 1,
    "transformer.enc_score_head.bias": 0,
    "transformer.dec_score_head.{l}.weight": 1,
    "transformer.dec_score_head.{l}.bias": 0,
}
# a RepVGG block that was fused for deployment has one plain convolution in place of its two branches
FUSED = re.compile(r"\.bottlenecks\.\d+\.conv\.(weight|bias)$")

_FIELD = re.compile(r"\{(\w+)(?:\+(\d+)|:(\*|a))?\}")


class Template:
    """A name with fields, see :class:`Row`; reads a name and writes one."""

    def __init__(self, text: str):
        self.text = text
        self._fields = {name: (int(plus or 0), style) for name, plus, style in _FIELD.findall(text)}
        pattern, seen, last = "", set(), 0
        for match in _FIELD.finditer(text):
            pattern += re.escape(text[last:match.start()])
            pattern += f"(?P={match[1]})" if match[1] in seen else f"(?P<{match[1]}>{_PATTERNS[match[3]]})"
            seen.add(match[1])
            last = match.end()
        self._regex = re.compile(pattern + re.escape(text[last:]))

    def read(self, name: str) -> dict[str, Any] | None:
        """``{field: value}``, or None where ``name`` is another one."""
        match = self._regex.fullmatch(name)
        if match is None:
            return None
        return {field: _READ[style](match[field]) - plus if style != "*" else match[field]
                for field, (plus, style) in self._fields.items()}

    def write(self, values: dict[str, Any]) -> str:
        """The name for ``{field: value}``."""
        def text(match):
            value = values[match[1]]
            return chr(ord("a") + value) if match[3] == "a" else str(value + int(match[2])) if match[2] else str(value)
        return _FIELD.sub(text, self.text)


_PATTERNS = {None: r"\d+", "": r"\d+", "a": "[a-z]", "*": r"[\w.]+"}
_READ: dict[str, Callable[[str], int]] = {"": int, "a": lambda letter: ord(letter) - ord("a")}
_TEMPLATES = tuple((row, leaf, Template(f"{row.paddledet}.{leaf.paddle}")) for row in ROWS for leaf in KINDS[row.kind])
_CLASS_TEMPLATES = tuple((Template(text), axis) for text, axis in CLASS_AXES.items())


def rows_of(name: str) -> list[tuple[Row, Leaf, dict[str, Any]]]:
    """``[(Row, Leaf, fields)]`` of a Paddle name: one, as no two rows fit the same name; none for unknown ones."""
    found = ((row, leaf, template.read(name)) for row, leaf, template in _TEMPLATES)
    return [(row, leaf, fields) for row, leaf, fields in found if fields is not None]


@functools.cache
def _templates_of(project):
    """[(row, leaf, position among the leaf's tensors, Template of the project's name)]; second version's names, too."""
    modules = ((row, text) for row in ROWS if getattr(row, project)
               for text in dict.fromkeys((getattr(row, project), TORCH_V2.get(getattr(row, project)))) if text)
    return tuple((row, leaf, place, Template(f"{module}.{tail}")) for row, module in modules
                 for leaf in KINDS[row.kind] for place, tail in enumerate(leaf.seen_by(project)[0]))


def paddle_name(name: str, project: str) -> tuple[str, Leaf, int] | None:
    """Of a tensor in ``torch`` or ``hf``, whatever the network's depth.

    Returns:
        ``(Paddle name, Leaf, number)``: the tensor is that one of those that make the Paddle tensor; None for an
        unknown name.
    """
    for row, leaf, place, template in _templates_of(project):
        fields = template.read(name)
        if fields is not None:
            return Template(f"{row.paddledet}.{leaf.paddle}").write(fields), leaf, place
    return None


def class_axis(name: str) -> int | None:
    """Along which axis of a Paddle tensor the classes lie; None where it does not depend on them."""
    return next((axis for template, axis in _CLASS_TEMPLATES if template.read(name) is not None), None)


def module_in(row: Row, project: str, second_version: bool, fields: dict[str, Any]) -> str | None:
    """A row's module name in ``torch`` or ``hf``; None where the project has no such module."""
    text = getattr(row, project)
    if text is None:
        return None
    if project == "torch" and second_version:
        text = TORCH_V2.get(text, text)
    return Template(text).write(fields)


def canonical(name: str, project: str) -> str:
    """The name that the table uses for a tensor, where a project has several."""
    for pattern, replacement in ALIASES.get(project, ()):
        name = re.sub(pattern, replacement, name)
    return name
