# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``load_pretrained``: what ``pretrained:`` in a config means, from finding the weights to the filled layer."""
from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from ..errors import UserError
from ..files import problem, sha256
from . import author_names, layout_rules, metadata, timm_renaming, verified_file
from .download import Unavailable, home
from .layout_rules import find_rename, known_names, linear_weights, rename_table, to_paddle, to_torch
from .load_report import LoadReport, load_into
from .readers import digest
from .resize_parameters import resize_to
from .source import Checkpoint, Location, locate_spec, read
from .writers import write_with_metadata

logger = logging.getLogger(__name__)

RANDOM = "random initialisation"
COUNTER = "num_batches_tracked"  # nothing uses it


def load_pretrained(layer: nn.Layer, cfg: Any, spec: str | Path | bool | None = True, in_chans: int = 3,
                    allow: Sequence[str] = (), rename: str = "") -> LoadReport:
    """Fill ``layer`` with the weights that ``spec`` asks for.

    Args:
        layer: the network; ``layer.unused_prefixes`` names parts of the checkpoint it knowingly does without.
        cfg: its PretrainedCfg (arch, tag, hf_hub_id, url, first_conv, mean, std, license, ...).
        spec: True: weights/<arch>.<tag>.pdparams, weights/<arch>.pdparams, the cache or the hub, an error where none
            can be had. 'auto': the same, else random initialisation with a loud warning. False: random initialisation.
            Otherwise a file, a URL or package:NAME, see ``source.read``.
        in_chans: input channels of ``layer``; the first convolution is adapted as timm does.
        allow: glob patterns of names that may be missing, unexpected or of another shape.
        rename: name of a table in ``layout_rules.RENAMES``; found by itself where the names are exactly a table's.

    Returns:
        LoadReport; its ``source`` and ``meta`` say where the weights came from and which mean and std belong to them.

    Raises:
        UserError: the weights cannot be had, read, or do not fit; the layer is then untouched.
    """
    location = find(cfg, spec)
    if location is None:
        return LoadReport(layer=cfg.arch, source=RANDOM, meta=metadata.from_cfg(cfg))
    converted = Converted(layer, cfg, location, rename)
    report = converted.load(layer, in_chans, allow)
    converted.keep()
    return report


def find(cfg: Any, spec: str | Path | bool | None) -> Location | None:
    """Location of the weight file that ``spec`` means, downloaded where need be; None for random initialisation."""
    if spec is None or spec is False or spec == "":
        return None
    if spec == "auto":
        try:
            return find(cfg, True)
        except Unavailable as error:
            logger.warning("NO PRETRAINED WEIGHTS, starting from RANDOM INITIALISATION (pretrained: auto): %s", error)
            return None
    return by_hand(cfg) or locate_spec("hub", cfg=cfg) if spec is True else locate_spec(spec, cfg=cfg)


def by_hand(cfg: Any) -> Location | None:
    """Location of what tools/convert_weights.py made for this arch and tag, or None. ``pretrained: true`` wants it."""
    tag = getattr(cfg, "tag", "")
    for name in dict.fromkeys([".".join(filter(None, [cfg.arch, tag])), cfg.arch]):
        path = converted_path(name)
        known = metadata.read(path) if path.exists() else {}
        if path.exists() and known.get("tag") in (None, "", tag):
            return Location(path, known.get("source", str(path)), known)
    return None


def converted_path(name: str) -> Path:
    """Where weights converted by hand for 'arch' or 'arch.tag' are looked for, and written by default."""
    return home() / f"{file_name(name)}.pdparams"


def file_name(name: str) -> str:
    """A model name as part of a file name ('torchvision/resnet50' has a slash)."""
    return name.replace("/", "--")


class Converted:
    """One file's weights in Paddle's layout and the source library's names, read once; ``meta`` is known of them.

    ``state`` maps names to arrays. ``source_state`` is the same in torch's layout; None where the file is Paddle's or
    the cache served.
    """

    def __init__(self, layer: nn.Layer, cfg: Any, location: Location, rename: str = "", part: str = "",
                 use_cache: bool = True):
        self.location, self.cfg = location, cfg
        rename = rename or location.rename
        self.sha256 = digest(location.path)
        self.cached = self._cache_path(layer, rename) if use_cache else None
        self.source_state: dict[str, np.ndarray] | None = None
        self.hint = ""  # what to try where the names do not fit
        self.from_cache = self.cached is not None and _is_intact(self.cached)
        if self.cached is not None and self.from_cache:
            self.state = read(Location(self.cached, str(self.cached))).state
        else:
            self._convert(layer, rename, part)
        self.meta = describe(cfg, location, self.sha256)
        if self.meta.get("arch") != cfg.arch:
            logger.warning("weights for %s go into %s: %s", self.meta["arch"], cfg.arch, location.source)

    def _convert(self, layer, rename, part):
        checkpoint = read(self.location, names=known_names(layer), part=part)
        state, rename = checkpoint.state, rename or find_rename(checkpoint.state)
        if rename:
            logger.info("names of %s carried over by rename table %s", self.location.source, rename)
            state = rename_table(rename).rename(state)
        elif checkpoint.framework == "torch":
            state = self._in_source_names(state, layer)
        self.source_state = state if checkpoint.framework == "torch" else None
        self.state = to_paddle(state, layer) if checkpoint.framework == "torch" else state

    def _in_source_names(self, state, layer):
        """``state`` in the source library's names, where it came in its authors'; by a table, else by timm itself."""
        known, who = known_names(layer), author_names.find(state, known_names(layer))
        if who:
            logger.info("names of %s are those of %s: carried over", self.location.source, who)
            return author_names.in_shape(author_names.TABLES[who].rename(state), _shapes(layer))
        heads = tuple(f"{path}." for path in layout_rules.classifiers(layer))
        lacking = [name for name in layout_rules.torch_names(layer) if name not in state and not name.startswith(heads)
                   and not name.endswith(COUNTER)]
        if not lacking or getattr(self.cfg, "source", "") != "timm":
            return state
        if not timm_renaming.at_hand():
            self.hint = ("; if these are its authors' names: timm, where it is installed, is asked to rename them "
                         "(pip install 'ppdet-ext[torch]')")
            return state
        renamed = timm_renaming.rename(state, self.cfg.arch, getattr(layer, "num_classes", None))
        if author_names.fit(renamed, known) <= author_names.fit(state, known):
            self.hint = ("; neither a table here nor timm knows these names: give timm's own file, hf-hub:timm/"
                         f"{self.cfg.arch}.TAG or 'hub'")
            return state
        logger.info("names of %s carried over by timm's own function for %s", self.location.source, self.cfg.arch)
        return renamed

    def torch_state(self, layer: nn.Layer) -> dict[str, np.ndarray]:
        """``{name: array}`` in torch's layout: the file's own, or what the inverse rules make of Paddle's."""
        return self.source_state or to_torch(self.state, layer)

    def _cache_path(self, layer, rename):
        """Named after all the conversion depends on: the file's bytes, our version, the names, the layer's Linears."""
        if self.location.path.suffix == ".pdparams":
            return None
        rules = "\n".join([metadata.version(), rename, *sorted(linear_weights(layer))])
        rules = hashlib.sha256(rules.encode()).hexdigest()
        return home() / "cache" / f"{file_name(self.cfg.arch)}-{self.sha256[:16]}-{rules[:8]}.pdparams"

    def load(self, layer: nn.Layer, in_chans: int = 3, allow: Sequence[str] = ()) -> LoadReport:
        """``load_into`` with the first convolution adapted to ``in_chans``, position parameters to the image size."""
        state = adapt_first_conv(self.state, getattr(self.cfg, "first_conv", ()), in_chans)
        state = resize_positions(state, layer, self.cfg.arch)
        try:
            return load_into(layer, state, allow, getattr(layer, "unused_prefixes", ()), self.cfg.arch,
                             source=self.location.source, sha256=self.sha256, meta=self.meta)
        except UserError as error:
            if self.hint:
                raise UserError(f"{error}{self.hint}") from None
            raise

    def keep(self) -> None:
        """Write the converted weights into the cache; a cache that is full or cannot be written is a warning."""
        if not self.cached or self.from_cache:
            return
        try:
            write_with_metadata(self.state, self.meta, self.cached)
            verified_file.note(self.cached, sha256(self.cached))
        except (OSError, UserError) as error:
            logger.warning("converted weights are not kept in '%s': %s", self.cached.parent, problem(error) or error)


def _shapes(layer):
    """``{torch name: shape}`` of all that is not a Linear's, whose weights torch keeps the other way round."""
    linears = linear_weights(layer)
    return {name: tuple(value.shape) for name, value in layer.state_dict().items() if name not in linears}


def _is_intact(path):
    """Whether converted weights lie in the cache as they were written there."""
    try:
        if not path.exists():
            return False
        if verified_file.is_noted(path):
            verified_file.digest_of(path)
            return True
        logger.info("the converted weights '%s' are made anew: nothing notes what they should be", path)
    except (OSError, verified_file.Changed):
        logger.warning("the converted weights '%s' are made anew: the file was changed after it was written", path)
    return False


def resize_positions(state: dict[str, np.ndarray], layer: nn.Layer, arch: str) -> dict[str, np.ndarray]:
    """``state`` with position parameters of another image size made to fit ``layer``, as timm does; logged."""
    grid, resized = getattr(layer, "position_grid", None), {}
    for name, parameter in layer.state_dict().items():
        if name in state and tuple(state[name].shape) != tuple(parameter.shape):
            value = resize_to(name, state[name], parameter.shape, grid, arch)
            if value is not None:
                resized[name] = value
    if resized:
        logger.info("%s: %d position parameters resized to the image size (%s, ...)", arch, len(resized),
                    next(iter(resized)))
    return {**state, **resized}


def describe(cfg: Any, location: Location | Checkpoint, digest: str) -> dict[str, Any]:
    """Metadata of the weights in ``location``: what their source knows, over what ``cfg`` says of its default ones."""
    return {**metadata.from_cfg(cfg), "tag": "", "license": "unknown", "source": location.source, "sha256": digest,
            "tool_version": metadata.version(), **location.meta}


def adapt_first_conv(state: dict[str, np.ndarray], names: str | Sequence[str] | None,
                     in_chans: int) -> dict[str, np.ndarray]:
    """``state`` with the weights [out, 3, kh, kw] of the convolutions ``names`` made for ``in_chans`` channels.

    As in timm (models/_manipulate.py): the sum over the three for one channel, else the three repeated in turn and
    scaled by 3 / in_chans.
    """
    names = [names] if isinstance(names, str) else names or ()
    adapted = {}
    for weight in (f"{name}.weight" for name in names):
        value = state.get(weight)
        if value is not None and value.ndim == 4 and value.shape[1] == 3 != in_chans:
            repeated = np.tile(value, (1, -(-in_chans // 3), 1, 1))[:, :in_chans] * np.float32(3 / in_chans)
            adapted[weight] = value.sum(1, keepdims=True) if in_chans == 1 else repeated
    return {**state, **adapted}
