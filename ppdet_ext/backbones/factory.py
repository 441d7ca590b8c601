# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""create_model: a name in, a network out."""
import inspect

from ..errors import UserError, nearest
from . import manifest
from .model_registry import find_entry, split_tag
from .traced import bridged_entry


def create_model(name, pretrained=False, features_only=False, out_indices=None, in_chans=3, num_classes=None,
                 drop_path_rate=0.0, checkpoint_path="", img_size=None, **kwargs):
    """Build a network by timm's name ('cspresnet50', 'resnet50.a1_in1k') or 'torchvision/resnet50'.

    A native port where there is one, else a traced graph: of the package, of an earlier trace, or traced now, for which
    torch is needed.

    Args:
        pretrained: True for the published weights of the tag (must be had), or what bridge.load_pretrained takes
            (a path or URL).
        features_only: forward gives the list of features at out_indices instead of logits, and no head is built.
        out_indices: None for all, n for the last n, or a sequence; negative ones count from the end.
        in_chans: channels of the input; pretrained first convolutions are summed or tiled to fit.
        num_classes: None for the weights' own number; another number leaves the classifier random, 0 builds none.
        drop_path_rate: stochastic depth at the last block, rising linearly from 0 at the first.
        checkpoint_path: local weights, in place of ``pretrained``.
        img_size: side or (height, width) of the images, for networks that are made for one size; position parameters
            are resized to it as timm does. Native networks take any size and ignore it.
        kwargs: further settings of the family (drop_rate, pool, zero_init_last).

    Returns:
        nn.Layer with feature_info, pretrained_cfg and, where weights were loaded, load_report.

    Raises:
        UserError: unknown name, tag or setting; weights that cannot be had or do not fit.
    """
    entry = any_entry(name, img_size)
    cfg = manifest.resolve(entry, split_tag(name)[1])
    num_classes = cfg.num_classes if num_classes is None else num_classes
    settings = dict(features_only=features_only, out_indices=out_indices, in_chans=in_chans, num_classes=num_classes,
                    drop_path_rate=drop_path_rate, **kwargs)
    _check_settings(entry, settings)
    net = entry.build(**settings)
    net.pretrained_cfg = cfg
    if checkpoint_path or pretrained:
        net.load_report = _load(net, checkpoint_path or pretrained, in_chans, num_classes)
    return net


def any_entry(name, img_size=None):
    """The ModelEntry of a native network, or else of a bridged one.

    Raises:
        UserError: neither, or an unknown tag.
    """
    return find_entry(name) or bridged_entry(name, img_size)


def _load(net, spec, in_chans, num_classes):
    from ..weights.pretrained_weights import load_pretrained  # only where weights are wanted
    cfg = net.pretrained_cfg
    classifiers = (cfg.classifier,) if isinstance(cfg.classifier, str) else cfg.classifier
    allow = tuple(f"{path}.*" for path in classifiers) if num_classes != cfg.num_classes else ()
    return load_pretrained(net, cfg, spec, in_chans=in_chans, allow=allow)


def _check_settings(entry, settings):
    parameters = inspect.signature(entry.build).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in settings:
        if key not in parameters:
            raise UserError(f"'{entry.name}' has no setting '{key}'{nearest(key, parameters)}")
