# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Which native networks stand for their family in the default suite; the registry says, so a new family is in it."""
import pytest

from ppdet_ext.backbones import list_families, list_models, model_entry

# what a family's first variant does not show: -d stems, torchvision's names, no squeeze-excite, response norm, Swin V2
MORE = ("resnet18d", "torchvision/resnet18", "tf_efficientnet_lite0", "convnextv2_atto", "swinv2_tiny_window8_256")

COSTLY = ("swin", "repvit", "cspresnet", "regnet")  # families


def representatives(source=None):
    """The first variant that each family registers, and MORE."""
    first = [archs[0] for archs in list_families().values()]
    return [arch for arch in dict.fromkeys([*first, *MORE]) if source in (None, model_entry(arch).source)]


def cheaper(names):
    """Cases of a test that costs seconds a network: of COSTLY and MORE they run with ``-m slow``."""
    return [pytest.param(name, marks=[pytest.mark.slow] * (name.startswith(COSTLY) or name in MORE)) for name in names]


def others(source=None):
    """All other native networks: they share their family's code, and long tests run them."""
    return [arch for arch in list_models(source=source) if arch not in representatives()]
