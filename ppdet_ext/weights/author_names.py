# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Networks' names in their authors' own releases, as tables of patterns: from there to timm's.

Facts: the state dicts of microsoft/Swin-Transformer, facebookresearch's ConvNeXt, ConvNeXt-V2, dinov2, mae and deit,
and transformers' modeling_resnet.py. A table is chosen by what fits the network, never by a file's name.
"""
from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Callable

import numpy as np

State = dict[str, np.ndarray]


@dataclass(frozen=True)
class AuthorNames:
    """One project's names.

    Attributes:
        rows: (pattern, replacement), applied to each name one after the other.
        dropped: pattern of names that the network does without: buffers that are computed, a decoder beside it.
        prepare: what must be computed before, of the state in the authors' names.
    """
    rows: tuple[tuple[str, str], ...] = ()
    dropped: str = ""
    prepare: Callable[[State], State] | None = None

    def names(self, given: Iterable[str]) -> dict[str, str]:
        """{authors' name: timm's name}, without those that are dropped."""
        found = {}
        for name in given:
            if self.dropped and re.search(self.dropped, name):
                continue
            new = name
            for pattern, replacement in self.rows:
                new = re.sub(pattern, replacement, new)
            found[name] = new
        return found

    def rename(self, state: State) -> State:
        """The state in timm's names."""
        state = self.prepare(state) if self.prepare else state
        return {new: state[name] for name, new in self.names(state).items()}


def _registers(state):
    """DINOv2 with registers: timm adds the class token's position to the token, and keeps the patches' alone."""
    if not {"register_tokens", "cls_token", "pos_embed"} <= set(state):
        return state
    positions = state["pos_embed"]
    state = {**state, "reg_token": state["register_tokens"], "cls_token": state["cls_token"] + positions[:, :1],
             "pos_embed": positions[:, 1:]}
    del state["register_tokens"]
    return state


TABLES = {
    "Swin's authors": AuthorNames(
        # they make a map smaller at a stage's end, timm at the next one's beginning; the last first, none twice
        (*((rf"^layers\.{stage}\.downsample\.", f"layers.{stage + 1}.downsample.") for stage in (2, 1, 0)),
         (r"^head\.(weight|bias)$", r"head.fc.\1")),
        r"\.(relative_position_index|relative_coords_table|attn_mask)$"),
    "ConvNeXt's authors": AuthorNames((
        (r"^downsample_layers\.0\.", "stem."),
        (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
        (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
        (r"\.dwconv\.", ".conv_dw."),
        (r"\.pwconv(\d)\.", r".mlp.fc\1."),
        (r"\.grn\.gamma$", ".mlp.grn.weight"),
        (r"\.grn\.beta$", ".mlp.grn.bias"),
        (r"^head\.(weight|bias)$", r"head.fc.\1"),
        (r"^norm\.", "head.norm."))),
    "DINOv2's authors": AuthorNames(((r"\.mlp\.w12\.", ".mlp.fc1."), (r"\.mlp\.w3\.", ".mlp.fc2.")), "^mask_token$",
                                    _registers),
    "MAE's authors": AuthorNames(dropped="^(mask_token$|decoder_)"),
    "DeiT III's authors": AuthorNames(((r"\.gamma_(\d)$", r".ls\1.gamma"),)),
    "transformers' ResNet": AuthorNames((
        (r"^resnet\.", ""),
        (r"^embedder\.embedder\.convolution\.", "conv1."),
        (r"^embedder\.embedder\.normalization\.", "bn1."),
        *((rf"^encoder\.stages\.{stage}\.layers\.", f"layer{stage + 1}.") for stage in range(4)),
        *((rf"\.layer\.{index}\.convolution\.", f".conv{index + 1}.") for index in range(3)),
        *((rf"\.layer\.{index}\.normalization\.", f".bn{index + 1}.") for index in range(3)),
        (r"\.shortcut\.convolution\.", ".downsample.0."),
        (r"\.shortcut\.normalization\.", ".downsample.1."),
        (r"^classifier\.1\.", "fc."))),
}


def fit(names: Collection[str], known: Collection[str]) -> tuple[int, int]:
    """How well names fit a network that knows ``known``: (how many do, minus how many do not); more is better."""
    fits = sum(name in known for name in names)
    return fits, fits - len(names)


def find(state: State, known: Collection[str]) -> str:
    """The table of ``TABLES`` with which the names fit best, '' where none is better than leaving them alone."""
    best, chosen = fit(state, known), ""
    for title, table in TABLES.items():
        renamed = table.rename(state)
        if fit(renamed, known) > best and len(renamed) == len(set(renamed)):
            best, chosen = fit(renamed, known), title
    return chosen


def in_shape(state: State, shapes: dict[str, tuple[int, ...]]) -> State:
    """``state`` with arrays that differ from ``shapes`` by axes of length 1 alone (a Linear, a 1x1 convolution)."""
    def adapted(name, value):
        wanted = shapes.get(name)
        same = wanted is not None and len(wanted) != value.ndim and \
            [n for n in wanted if n != 1] == [n for n in value.shape if n != 1]
        return value.reshape(wanted) if same else value
    return {name: adapted(name, value) for name, value in state.items()}
