# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The proof of a conversion: the source project's own network gives the same boxes and logits."""
from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ..detector.attention import sample_bilinearly
from ..errors import UserError
from ..weights import parity
from ..weights.load_report import load_into
from ..weights.readers import need
from . import checkpoint_files, huggingface, models
from .convert_detector import Conversion


def check_parity(conversion: Conversion) -> tuple[list[parity.StageParity], str]:
    """Run this project's network and transformers' on the converted weights.

    Returns:
        ``(parity rows, what was compared)``; no rows where nothing could be run, and then the reason.

    Raises:
        UserError: they differ, or transformers does not read what was written.
    """
    why_not = _not_runnable(conversion.model)
    if why_not:
        return [], f"no network was run: {why_not}"
    with tempfile.TemporaryDirectory() as folder:
        folder, whose = _reference(conversion, folder)
        net = models.build(conversion.model.path, len(conversion.classes)).net
        load_into(net, conversion.state, label=conversion.model.name, source=conversion.checkpoint.source)
        rows = compare(net, folder, conversion.model.size)
    parity.check(rows)
    return rows, f"this project's network against {whose}"


def _not_runnable(model):
    """Why transformers' network cannot be run for comparison; '' where it can."""
    try:
        huggingface.require_expressible(model)
        model.name_map("hf")
    except UserError as error:
        return str(error)
    return "" if installed() else "transformers is not installed (pip install transformers torch)"


def _reference(conversion, folder):
    """``(folder with transformers' network, what it is)``: the source itself where it is one, else written here."""
    source = Path(conversion.checkpoint.path).parent
    if conversion.origin == "hf" and (source / checkpoint_files.HF_CONFIG).is_file():
        return source, "the one that transformers reads from the source"
    checkpoint_files.write_hf(conversion.outgoing("hf"), folder, conversion.meta("hf"))
    whose = "transformers' with the converted weights"
    if "torch" in (conversion.origin, conversion.target):
        whose += "; lyuwenyu/RT-DETR is no installable package, so that its own code was not run"
    return folder, whose


def installed() -> bool:
    """Whether transformers' networks can be run here."""
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def compare(net: nn.Layer, folder: str | Path, size: Sequence[int], seed: int = 0) -> list[parity.StageParity]:
    """Our network against the one that transformers reads from ``folder``, on one random image.

    Both sample bilinearly: discrete sampling rounds, so that a last bit moves a query (measured with random weights:
    3 of 300, by 2e-4; the others agree to 5e-7).

    Args:
        net: the filled detector, of as many classes.
        folder: what ``from_pretrained`` takes.
        size: [height, width] of the image in pixels.

    Returns:
        parity.StageParity rows of boxes [1, Q, 4] and logits [1, Q, classes], each query beside its nearest.

    Raises:
        UserError: transformers does not find every parameter in the folder.
    """
    torch = need("torch", "--verify")
    theirs = load(folder, **({"decoder_method": "default"} if sample_bilinearly(net) else {}))
    image = np.random.RandomState(seed).rand(1, 3, *size).astype("float32")
    with torch.no_grad():
        reference = theirs(pixel_values=torch.from_numpy(image))
    ref_boxes, ref_logits = reference.pred_boxes.numpy(), reference.logits.numpy()
    boxes, logits = in_same_order(*raw_outputs(net, {"image": paddle.to_tensor(image)}), ref_boxes)
    return [parity.compare("boxes", boxes, ref_boxes), parity.compare("logits", logits, ref_logits)]


def load(folder: str | Path, **settings: Any) -> Any:
    """transformers' network in ``folder``, in eval mode; ``settings`` go over its config.json's.

    Raises:
        UserError: it lacks a parameter, or the folder holds one that it does not know.
    """
    transformers = need("transformers", "--verify")
    transformers.utils.logging.disable_progress_bar()
    net, found = transformers.AutoModelForObjectDetection.from_pretrained(
        str(folder), local_files_only=True, output_loading_info=True, **settings)
    missing, unexpected = (sorted(name for name in found[key] if not name.endswith("num_batches_tracked"))
                           for key in ("missing_keys", "unexpected_keys"))
    if missing or unexpected or found["mismatched_keys"]:
        raise UserError(f"transformers does not read '{folder}' whole: missing {missing[:3]}, unexpected "
                        f"{unexpected[:3]}, of another shape {list(found['mismatched_keys'])[:3]}")
    return net.eval()


def raw_outputs(net: nn.Layer, batch: dict[str, paddle.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes [B, Q, 4] (cx, cy, w, h in [0, 1]) and logits [B, Q, classes] before post-processing, as arrays."""
    net.eval()
    with paddle.no_grad():
        feats = net.backbone(batch)
        feats = net.neck(feats) if net.neck is not None else feats
        boxes, logits, _ = net.detr_head(net.transformer(feats), feats)
    return boxes.numpy(), logits.numpy()


def in_same_order(boxes: np.ndarray, logits: np.ndarray, ref_boxes: np.ndarray) -> tuple[np.ndarray, ...]:
    """Queries put into the reference's order, image by image.

    Tokens whose scores are equal to the last bit may be selected in either order, which moves queries but changes
    nothing else. Each reference query takes the nearest box, each box once.
    """
    from scipy.optimize import linear_sum_assignment

    order = [linear_sum_assignment(np.abs(ref[:, None] - out[None]).sum(-1))[1] for ref, out in zip(ref_boxes, boxes)]
    return tuple(np.stack([image[i] for image, i in zip(array, order)]) for array in (boxes, logits))
