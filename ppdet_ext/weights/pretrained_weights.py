# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``load_pretrained``: what ``pretrained:`` in a config means, from finding the weights to the filled layer."""
import hashlib
import logging
import pickle

import numpy as np

from ..errors import UserError
from ..files import atomic_path, sha256
from . import metadata
from .download import Unavailable, home
from .layout_rules import find_rename, known_names, linear_weights, rename_table, to_paddle
from .load_report import LoadReport, load_into
from .mapped import release
from .readers import read_file
from .resize_parameters import resize_to
from .source import Location, locate_spec, unwrap

logger = logging.getLogger(__name__)

RANDOM = "random initialisation"
PICKLE_PROTOCOL = 4  # as paddle.save


def load_pretrained(layer, cfg, spec=True, in_chans=3, allow=(), rename=""):
    """Fill ``layer`` with the weights that ``spec`` asks for.

    Args:
        layer: the network; ``layer.unused_prefixes`` names parts of the checkpoint it knowingly does without.
        cfg: its PretrainedCfg (arch, tag, hf_hub_id, url, first_conv, mean, std, license, ...).
        spec: True: weights/<arch>.<tag>.pdparams, weights/<arch>.pdparams, the cache or the hub, an error where none
            can be had. 'auto': the same, else random initialisation with a loud warning. False: random initialisation.
            Otherwise a file, a URL or package:NAME, see ``bridge.source.read``.
        in_chans: input channels of ``layer``; the first convolution is adapted as timm does.
        allow: glob patterns of names that may be missing, unexpected or of another shape.
        rename: name of a table in ``bridge.rules.RENAMES``; found by itself where the names are exactly a table's.

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


def find(cfg, spec):
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


def by_hand(cfg):
    """Location of what tools/convert_weights.py made for this arch and tag, or None. ``pretrained: true`` wants it."""
    tag = getattr(cfg, "tag", "")
    for name in dict.fromkeys([".".join(filter(None, [cfg.arch, tag])), cfg.arch]):
        path = converted_path(name)
        known = metadata.read(path) if path.exists() else {}
        if path.exists() and known.get("tag") in (None, "", tag):
            return Location(path, known.get("source", str(path)), known)
    return None


def converted_path(name):
    """Where weights converted by hand for 'arch' or 'arch.tag' are looked for, and written by default."""
    return home() / f"{file_name(name)}.pdparams"


def file_name(name):
    """A model name as part of a file name ('torchvision/resnet50' has a slash)."""
    return name.replace("/", "--")


class Converted:
    """One file's weights in Paddle's layout and the source library's names, read once; ``info`` is their metadata."""

    def __init__(self, layer, cfg, location, rename="", use_cache=True):
        self.location, self.cfg = location, cfg
        self.sha256 = sha256(location.path)
        self.cached = self._cache_path(layer, rename or location.rename) if use_cache else None
        self.source_tensors = None  # torch layout; None where the file is Paddle's or the cache served
        if self.cached and self.cached.exists():
            self.tensors = unwrap(read_file(self.cached)[0], self.cached)
        else:
            self._convert(layer, rename or location.rename)
        self.info = describe(cfg, location, self.sha256)
        if self.info.get("arch") != cfg.arch:
            logger.warning("weights for %s go into %s: %s", self.info["arch"], cfg.arch, location.source)

    def _convert(self, layer, rename):
        content, framework = read_file(self.location.path)
        tensors = unwrap(content, self.location.path, known_names(layer), self.location.part)
        rename = rename or find_rename(tensors)
        if rename:
            logger.info("names of %s carried over by rename table %s", self.location.source, rename)
            tensors = rename_table(rename).rename(tensors)
        self.source_tensors = tensors if framework == "torch" else None
        self.tensors = to_paddle(tensors, layer) if framework == "torch" else tensors

    def _cache_path(self, layer, rename):
        """Named after all the conversion depends on: the file's bytes, our version, the names, the layer's Linears."""
        if self.location.path.suffix == ".pdparams":
            return None
        rules = "\n".join([metadata.version(), rename, *sorted(linear_weights(layer))])
        rules = hashlib.sha256(rules.encode()).hexdigest()
        return home() / "cache" / f"{file_name(self.cfg.arch)}-{self.sha256[:16]}-{rules[:8]}.pdparams"

    def load(self, layer, in_chans=3, allow=()):
        """``load_into`` with the first convolution adapted to ``in_chans``, position parameters to the image size."""
        tensors = adapt_first_conv(self.tensors, getattr(self.cfg, "first_conv", ()), in_chans)
        tensors = resize_positions(tensors, layer, self.cfg.arch)
        return load_into(layer, tensors, allow, getattr(layer, "unused_prefixes", ()), self.cfg.arch,
                         source=self.location.source, sha256=self.sha256, meta=self.info)

    def keep(self):
        """Write the converted weights into the cache; a cache that cannot be written is a warning."""
        if not self.cached or self.cached.exists():
            return
        try:
            save(self.tensors, self.info, self.cached)
        except UserError as error:
            logger.warning("converted weights are not kept: %s", error)


def resize_positions(tensors, layer, arch):
    """``tensors`` with position parameters of another image size made to fit ``layer``, as timm does; logged."""
    grid, resized = getattr(layer, "position_grid", None), {}
    for name, parameter in layer.state_dict().items():
        if name in tensors and tuple(tensors[name].shape) != tuple(parameter.shape):
            value = resize_to(name, tensors[name], parameter.shape, grid, arch)
            if value is not None:
                resized[name] = value
    if resized:
        logger.info("%s: %d position parameters resized to the image size (%s, ...)", arch, len(resized),
                    next(iter(resized)))
    return {**tensors, **resized}


def describe(cfg, location, digest):
    """Metadata of the weights in ``location``: what their source knows, over what ``cfg`` says of its default ones."""
    return {**metadata.from_cfg(cfg), "tag": "", "license": "unknown", "source": location.source, "sha256": digest,
            "tool_version": metadata.version(), **location.meta}


def save(tensors, info, path):
    """Write ``tensors`` as .pdparams and ``info`` beside it: both, or on an error neither."""
    with atomic_path(path) as weights, atomic_path(metadata.sidecar(path)) as about:
        write_tensors(tensors, weights)
        about.write_text(metadata.dump(info), encoding="utf-8")


def write_tensors(tensors, path):
    """Write ``{name: array}`` one by one as a file of ``paddle.save``, which itself holds copies of all to the end."""
    def reduce(array):
        reduced = np.require(array, requirements=["C", "A"]).__reduce__()
        release(array)
        return reduced

    with open(path, "wb") as file:
        pickler = pickle.Pickler(file, protocol=PICKLE_PROTOCOL)
        pickler.fast = True  # remembers nothing that it has written
        pickler.dispatch_table = {np.ndarray: reduce}
        pickler.dump(dict(tensors))


def adapt_first_conv(tensors, names, in_chans):
    """``tensors`` with the weights [out, 3, kh, kw] of the convolutions ``names`` made for ``in_chans`` channels.

    As in timm (models/_manipulate.py): the sum over the three for one channel, else the three repeated in turn and
    scaled by 3 / in_chans.
    """
    names = [names] if isinstance(names, str) else names or ()
    adapted = {}
    for weight in (f"{name}.weight" for name in names):
        value = tensors.get(weight)
        if value is not None and value.ndim == 4 and value.shape[1] == 3 != in_chans:
            repeated = np.tile(value, (1, -(-in_chans // 3), 1, 1))[:, :in_chans] * np.float32(3 / in_chans)
            adapted[weight] = value.sum(1, keepdims=True) if in_chans == 1 else repeated
    return {**tensors, **adapted}
