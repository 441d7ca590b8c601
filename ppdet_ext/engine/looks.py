# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a detector looked at, read by forward hooks, which change nothing of the result."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn

from ..detector.attention import PPMSDeformableAttention
from ..detector.hybrid_encoder import HybridEncoder
from ..detector.postprocess import DETRPostProcess
from ..detector.self_attention import MultiHeadAttention
from ..errors import UserError
from . import look_pictures
from .look_pictures import Detection, Heat, Points

#: detections that are looked into, and layers of them that are shown: the last ones
MOST_DETECTIONS, MOST_LAYERS = 4, 8


class Looks:
    """While it is entered, notes what each forward pass of a detector looks at.

    Args:
        model: a detector in evaluation mode.
        kinds: keys of KINDS.
    Raises:
        UserError: the detector has nothing of one of the kinds.
    """

    def __init__(self, model: nn.Layer, kinds: Sequence[str]) -> None:
        self.kinds = {kind: KINDS[kind](model) for kind in kinds}
        self._model = model
        self._handles: list[Any] = []
        self._size = (0, 0)  # of the network's input

    def __enter__(self) -> Looks:
        if self.kinds:
            self._listen([self._model], "pre", self._begin)
        for kind in self.kinds.values():
            for layers, when, note in kind.points():
                self._listen(layers, when, note)
        return self

    def __exit__(self, *exception: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _listen(self, layers, when, note):
        for layer in layers:
            register = {"pre": layer.register_forward_pre_hook, "post": layer.register_forward_post_hook}[when]
            self._handles.append(register(_silent(note)))

    def _begin(self, layer, inputs):
        self._size = tuple(inputs[0]["image"].shape[2:])
        for kind in self.kinds.values():
            kind.forget()

    @paddle.no_grad()
    def sheet(self, kind: str, number: int, picture: np.ndarray, scale_factor: np.ndarray,
              detections: Sequence[Detection]) -> np.ndarray:
        """A picture of what was looked at in picture ``number`` of the last batch.

        Args:
            kind: one of the kinds.
            picture: the original [H, W, 3], RGB.
            scale_factor: [2], what its height and width were multiplied by for the network.
            detections: its best ones, see ``chosen``.
        """
        height, width = (float(size / scale) for size, scale in zip(self._size, scale_factor))
        return self.kinds[kind].sheet(number, picture, (width, height), detections)


def chosen(boxes: np.ndarray, names: dict[int, str], threshold: float) -> list[Detection]:
    """The best MOST_DETECTIONS of boxes [N, 6] (class, score, x1, y1, x2, y2; best first) that reach the threshold; the
    best one alone where none does."""
    kept = [place for place, row in enumerate(boxes) if row[1] >= threshold][:MOST_DETECTIONS] or [0][:len(boxes)]
    return [Detection(place, f"{names.get(int(boxes[place, 0]), int(boxes[place, 0]))} {boxes[place, 1]:.2f}",
                      *map(float, boxes[place, 2:])) for place in kept]


class _Kind:
    """One thing to look at, made for a detector."""

    def __init__(self, model: nn.Layer) -> None:
        self.forget()

    def forget(self) -> None:
        """What earlier passes noted."""

    def points(self) -> list[tuple[Iterable[nn.Layer], str, Callable]]:
        """(layers, 'pre' or 'post', the hook that notes something)."""
        raise NotImplementedError

    def sheet(self, number: int, picture: np.ndarray, extent: tuple[float, float],
              detections: Sequence[Detection]) -> np.ndarray:
        """See ``Looks.sheet``; ``extent`` is that of ``look_pictures``."""
        raise NotImplementedError


class _Features(_Kind):
    """Each map of backbone and neck: the mean over channels of the absolute values."""

    def __init__(self, model):
        self._parts = [(name, getattr(model, name)) for name in ("backbone", "neck")
                       if isinstance(getattr(model, name, None), nn.Layer)]
        if not self._parts:
            raise UserError(f"--visualize features: {type(model).__name__} has no backbone whose maps could be shown")
        super().__init__(model)

    def forget(self):
        self._maps: list[tuple[str, np.ndarray]] = []

    def points(self):
        return [([part], "post", lambda layer, inputs, outputs, name=name: self._note(name, outputs))
                for name, part in self._parts]

    def _note(self, name, outputs):
        with paddle.no_grad():
            self._maps += [(name, each.abs().mean(1).astype("float32").numpy()) for each in _maps_in(outputs)]

    def sheet(self, number, picture, extent, detections):
        rows = [[Heat(f"{name} {heats.shape[1]}x{heats.shape[2]}", heats[number]) for part, heats in self._maps
                 if part == name] for name, _ in self._parts]
        return look_pictures.features(picture, extent, rows)


class _OfQueries(_Kind):
    """What needs to know which query became which detection."""

    def __init__(self, model):
        self._head, self._best = model.detr_head, model.post_process.best
        super().__init__(model)

    def forget(self):
        self._queries: Any = None

    def points(self):
        return [([self._head], "post", self._note_queries)]

    def _note_queries(self, layer, inputs, outputs):
        self._queries = self._best(outputs[1].astype("float32"))[2].numpy()


class _Sampling(_OfQueries):
    """Where the queries of the best detections read, decoder layer by decoder layer."""

    def __init__(self, model):
        transformer = getattr(model, "transformer", None)
        layers = getattr(getattr(transformer, "decoder", None), "layers", ())
        self._layers = [layer.cross_attn for layer in layers
                        if isinstance(getattr(layer, "cross_attn", None), PPMSDeformableAttention)]
        if not self._layers or not isinstance(model.post_process, DETRPostProcess):
            raise UserError("--visualize sampling shows the deformable attention of RT-DETR's decoder (transformer: "
                            f"RTDETRTransformer or RTDETRTransformerv2); {_said(model, 'transformer')} has none; "
                            "--visualize features serves every detector")
        super().__init__(model)

    def forget(self):
        super().forget()
        self._calls: list[tuple] = []

    def points(self):
        return [*super().points(), (self._layers, "pre", lambda layer, inputs: self._calls.append((layer, inputs)))]

    def sheet(self, number, picture, extent, detections):
        rows = [self._queries[number, detection.place] for detection in detections]
        calls = list(enumerate(self._calls))[-MOST_LAYERS:]
        layers = [self._points(f"layer {i + 1}", layer, number, rows, inputs) for i, (layer, inputs) in calls]
        shapes = calls[0][1][1][3]
        return look_pictures.sampling(picture, extent, detections, list(zip(*layers)),
                                      [f"{height}x{width}" for height, width in shapes])

    def _points(self, title, layer, number, rows, inputs):
        """What one layer read for some queries of one picture."""
        query, boxes, _, shapes = inputs
        index = paddle.to_tensor(np.array(rows, "int64"))
        query, boxes = (tensor[number].index_select(index).unsqueeze(0) for tensor in (query, boxes))
        places, weights = (tensor[0].numpy() for tensor in layer.sampled(query, boxes, shapes))
        level = np.repeat(np.arange(len(layer.points)), layer.points)
        return [Points(title, *each, level) for each in zip(boxes[0, :, 0].numpy(), places, weights)]


class _Attention(_Kind):
    """Where the encoder's cell in the middle of a detection draws from: a row of AIFI's self-attention."""

    def __init__(self, model):
        self._neck = getattr(model, "neck", None)
        if not isinstance(self._neck, HybridEncoder):
            raise UserError("--visualize attention shows the self-attention of RT-DETR's neck (neck: HybridEncoder); "
                            f"{_said(model, 'neck')} has none; --visualize features serves every detector")
        # title, level, layer
        self._layers = [(f"map {level}" + (f" layer {i + 1}" if len(encoder.layers) > 1 else ""), level, found)
                        for level, encoder in zip(self._neck.use_encoder_idx, self._neck.encoder)
                        for i, layer in enumerate(encoder.layers) for found in layer.sublayers()
                        if isinstance(found, MultiHeadAttention)][-MOST_LAYERS:]
        if not self._layers or not self._neck.num_encoder_layers:
            raise UserError("--visualize attention: this HybridEncoder has no self-attention; set num_encoder_layers "
                            "and use_encoder_idx")
        super().__init__(model)

    def forget(self):
        self._sizes: list[tuple[int, int]] = []
        self._inputs: dict[int, tuple] = {}

    def points(self):
        return [([self._neck], "pre", self._note_sizes),
                *(([layer], "pre", self._note) for _, _, layer in self._layers)]

    def _note_sizes(self, layer, inputs):
        self._sizes = [tuple(feat.shape[2:]) for feat in inputs[0]]

    def _note(self, layer, inputs):
        self._inputs[id(layer)] = inputs

    def sheet(self, number, picture, extent, detections):
        rows = [[self._heat(title, self._sizes[level], layer, number, detection, extent)
                 for title, level, layer in self._layers] for detection in detections]
        return look_pictures.attention(picture, extent, detections, rows)

    def _heat(self, title, size, layer, number, detection, extent):
        (height, width), (row, column) = size, detection.cell(size, extent)
        query, key = (tensor[number:number + 1] for tensor in self._inputs[id(layer)][:2])
        cell = row * width + column
        shares = layer.shares(query[:, cell:cell + 1], key)[0, :, 0].mean(0).numpy()
        title = f"{title} {height}x{width}: most {shares.max() * height * width:.1f} x even"
        return Heat(title, shares.reshape(height, width), (row, column))


def _silent(note):
    """As a hook: one that returned something would change the pass."""
    def hook(*args):
        note(*args)
    return hook


def _maps_in(outputs):
    """The tensors [B, C, h, w] in what a backbone or a neck gives."""
    if isinstance(outputs, dict):
        outputs = list(outputs.values())
    if isinstance(outputs, (list, tuple)):
        return [found for each in outputs for found in _maps_in(each)]
    return [outputs] if isinstance(outputs, paddle.Tensor) and outputs.ndim == 4 else []


def _said(model, part):
    layer = getattr(model, part, None)
    return type(model).__name__ if layer is None else f"{type(model).__name__} with {part} {type(layer).__name__}"


KINDS: dict[str, type[_Kind]] = {"features": _Features, "sampling": _Sampling, "attention": _Attention}
