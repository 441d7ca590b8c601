# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The proof of a conversion: the source project's own network gives the same boxes and logits."""
import importlib.util

import numpy as np
import paddle

from ..errors import UserError
from ..weights import parity
from ..weights.readers import need


def installed():
    """Whether transformers' networks can be run here."""
    return all(importlib.util.find_spec(name) for name in ("torch", "transformers"))


def compare(net, folder, size, seed=0):
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
    theirs = load(folder, **sample_bilinearly(net))
    image = np.random.RandomState(seed).rand(1, 3, *size).astype("float32")
    with torch.no_grad():
        reference = theirs(pixel_values=torch.from_numpy(image))
    ref_boxes, ref_logits = reference.pred_boxes.numpy(), reference.logits.numpy()
    boxes, logits = in_same_order(*raw_outputs(net, {"image": paddle.to_tensor(image)}), ref_boxes)
    return [parity.compare("boxes", boxes, ref_boxes), parity.compare("logits", logits, ref_logits)]


def sample_bilinearly(net):
    """Turn off ``net``'s discrete sampling. Returns the setting that does it in transformers; {} where it was off."""
    attentions = [layer.cross_attn for layer in net.transformer.decoder.layers]
    discrete = any(attention.sampling != "default" for attention in attentions)
    for attention in attentions:
        attention.sampling = "default"
    return {"decoder_method": "default"} if discrete else {}


def load(folder, **settings):
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


def raw_outputs(net, batch):
    """Boxes [B, Q, 4] (cx, cy, w, h in [0, 1]) and logits [B, Q, classes] before post-processing, as arrays."""
    net.eval()
    with paddle.no_grad():
        feats = net.backbone(batch)
        feats = net.neck(feats) if net.neck is not None else feats
        boxes, logits, _ = net.detr_head(net.transformer(feats), feats)
    return boxes.numpy(), logits.numpy()


def in_same_order(boxes, logits, ref_boxes):
    """Queries put into the reference's order, image by image.

    Tokens whose scores are equal to the last bit may be selected in either order, which moves queries but changes
    nothing else. Each reference query takes the nearest box, each box once.
    """
    from scipy.optimize import linear_sum_assignment

    order = [linear_sum_assignment(np.abs(ref[:, None] - out[None]).sum(-1))[1] for ref, out in zip(ref_boxes, boxes)]
    return tuple(np.stack([image[i] for image, i in zip(array, order)]) for array in (boxes, logits))
