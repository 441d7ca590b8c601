# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What is verified: a backbone made from a name, from a registered class, or from a config."""
from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import paddle
from paddle import nn

from ..backbones import find_entry, resolve, split_tag
from ..backbones.modules import NamedBackbone, TimmBackbone, TorchvisionBackbone
from ..errors import UserError
from ..graph.layer import GraphLayer
from ..registry import build, holder_of, user_class
from ..registry.weights_wanted import without_pretrained
from ..weights import pretrained_weights

logger = logging.getLogger("ppdet_ext")
NECK = "HybridEncoder"
SMALL = 256  # side of the images of checks that are about what is computed, not about its size


@dataclass
class Subject:
    """A backbone and what is known of where it stands.

    Attributes:
        name: what messages call it.
        make: gives another instance of the same settings.
        size: (height, width) of the image.
        cfg: the config that it stands in, before its readers are resolved; None without one.
        backbone: the instance.
        settings: of the class, as a config has them.
        refused: why its weights could not be loaded, where it is made without them; '' where they were.
        notes: what was chosen for the user.
    """

    name: str
    make: Callable[[], nn.Layer]
    size: tuple[int, int]
    cfg: dict[str, Any] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    refused: str = ""
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        try:
            self.backbone = self.make()
        except UserError as error:
            self.backbone = self._without_weights(error)
        self.backbone.eval()

    def _without_weights(self, error):
        """The backbone from random values, so that all else is verified; the first error where that fails too."""
        try:
            with without_pretrained():
                backbone = self.make()
        except UserError:
            raise error from None
        self.refused = str(error)
        return backbone

    @functools.cached_property
    def network(self) -> nn.Layer:
        """The network itself: of a backbone by name what stands before the adapter."""
        return self.backbone.model if isinstance(self.backbone, NamedBackbone) else self.backbone

    @property
    def is_named(self) -> bool:
        """Whether it is a network by name, TimmBackbone or TorchvisionBackbone."""
        return isinstance(self.backbone, NamedBackbone)

    @functools.cached_property
    def random(self) -> bool:
        """Whether a backbone by name starts from random values; of a class it is found out, see ``weights_origin``."""
        return getattr(self.backbone, "weights_source", "") == pretrained_weights.RANDOM

    @property
    def normalisation(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """(mean, std) that the weights want, of the file loaded, else of the arch; None where none is known."""
        loaded = getattr(self.backbone, "load_report", None)
        if loaded is not None and loaded.meta.get("mean"):
            return loaded.meta["mean"], loaded.meta["std"]
        known: Any = getattr(self.backbone, "pretrained_cfg", None)
        return (known.mean, known.std) if hasattr(known, "mean") else None

    def graphs(self) -> Iterator[GraphLayer]:
        """The traced networks inside."""
        return (layer for layer in self.backbone.sublayers(include_self=True) if isinstance(layer, GraphLayer))

    def bound_to_size(self) -> bool:
        """Whether a traced network inside is made for one size, or decides by it."""
        return any(layer.graph.info.get("fixed") or layer.graph.guards() for layer in self.graphs())

    @functools.cached_property
    def smaller(self) -> tuple[int, int]:
        """The size, or a quicker one of multiples of 32, where the network takes any."""
        if self.bound_to_size() or getattr(self.backbone, "to_size", None) is not None:
            return self.size
        height, width = (min(side, SMALL) for side in self.size)
        try:
            with paddle.no_grad():
                self.run_unchecked(paddle.zeros([1, 3, height, width]))
        except Exception:  # whatever a user's forward may raise; the check of the sizes tells
            return self.size
        return height, width

    def shrunk(self, image: paddle.Tensor) -> paddle.Tensor:
        """The picture at that smaller size: random weights that are settled on a picture explode on noise."""
        if tuple(image.shape[2:]) == self.smaller:
            return image.detach()
        return nn.functional.interpolate(image.detach(), size=list(self.smaller), mode="area")

    def neck(self, specs: Any) -> nn.Layer | None:
        """The neck of the config, or RT-DETR's own without a config; made for ``specs``.

        Raises:
            UserError: it cannot take features of these strides and channels.
        """
        wanted = NECK if self.cfg is None else (self.cfg.get(self.cfg["architecture"]) or {}).get("neck")
        neck = build(wanted, input_shape=specs) if wanted else None
        return neck.eval() if neck is not None else None

    def run(self, image: paddle.Tensor) -> Any:
        """Features as the detector gets them; UserError where they are not what the backbone promises."""
        return self.backbone({"image": image})

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Inside, gradients go to the image alone, which saves half of their cost."""
        parameters = [value for value in self.backbone.parameters() if not value.stop_gradient]
        for parameter in parameters:
            parameter.stop_gradient = True
        try:
            yield
        finally:
            for parameter in parameters:
                parameter.stop_gradient = False

    def run_unchecked(self, image: paddle.Tensor) -> list[paddle.Tensor]:
        """The tensors that forward gives, whatever their shapes."""
        wants = self.is_named or user_class.wants_batch(self.backbone)
        given = {"image": image} if wants else user_class.as_wanted(image, self.backbone)
        output = nn.Layer.__call__(self.backbone, given)
        output = list(output.values()) if isinstance(output, Mapping) else output
        output = list(output) if isinstance(output, (list, tuple)) else [output]
        return [value for value in output if isinstance(value, paddle.Tensor)]


def of_config(cfg: dict[str, Any], size: tuple[int, int]) -> Subject:
    """The backbone of a loaded config."""
    spec = (cfg.get(cfg["architecture"]) or {}).get("backbone")
    if not spec:
        raise UserError(f"the config's {cfg['architecture']} names no backbone")
    name = str(spec.get("name") if isinstance(spec, Mapping) else spec)
    section = {**(cfg.get(name) or {}), **(spec if isinstance(spec, Mapping) else {})}
    return Subject(str(section.get("arch") or name), lambda: build(spec), size, cfg, settings=section)


def of_name(name: str, settings: Mapping[str, Any], size: tuple[int, int]) -> Subject:
    """A registered class, or a network of timm ('resnet50') or torchvision ('torchvision/resnet50').

    A network by name gets the weights that lie here, where ``settings`` do not name any; nothing is downloaded. One
    without features at strides 8, 16 and 32 gets the adapter that fits.

    Raises:
        UserError: no such network, or it cannot be made.
    """
    if holder_of(name):
        return Subject(name, lambda: build({"name": name, **settings}), size, settings=dict(settings))
    cls: Any = TorchvisionBackbone if name.startswith(TorchvisionBackbone.PREFIX) else TimmBackbone
    given = {"name": cls.__name__, "arch": name[len(cls.PREFIX):], **settings}
    if "pretrained" not in given:
        given["pretrained"] = _weights_here(name)
    try:
        return Subject(name, lambda: build(given), size)
    except UserError as error:
        if "adapter" in given:
            raise
        try:
            return Subject(name, lambda: build({**given, "adapter": "auto"}), size,
                           notes=["no features at strides 8, 16 and 32: with adapter: auto"])
        except UserError:
            raise error from None


def _weights_here(name):
    location = pretrained_weights.by_hand(resolve(find_entry(name), split_tag(name)[1]))
    return str(location.path) if location else False
