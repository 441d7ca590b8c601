# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The exported R18 detector with oneDNN, and as an ONNX file in ONNX Runtime: same detections as plain Paddle.

paddle2onnx wants a newer numpy than paddledet allows, so it has an environment of its own: the Python that
PPDET_EXT_ONNX_PYTHON names, or .venv-onnx in the repository, made on first use (about 250 MB of downloads).
"""
import subprocess
from pathlib import Path

import numpy as np
import pytest
from detections import of_predictor, spread_heads
from environments import REPO, other_python

from ppdet_ext import config
from ppdet_ext.deploy import Predictor, compare_all, media, preprocess
from ppdet_ext.engine import export
from ppdet_ext.engine.trainer import Trainer

WORKER = Path(__file__).with_name("onnx_worker.py")
ONNX_PACKAGES = ("paddlepaddle==3.3.1", "paddle2onnx==2.1.0", "onnxruntime")
R18 = """\
_BASE_: [{configs}/rtdetr/rtdetr_r18vd_6x_coco.yml, {configs}/datasets/digits_detection.yml]
TestDataset: {{dataset_dir: {data}}}
use_gpu: false
eval_size: [320, 320]
TestReader:
  inputs_def: {{image_shape: [3, 320, 320]}}
  sample_transforms:
  - Decode: {{}}
  - Resize: {{target_size: [320, 320], keep_ratio: false, interp: 2}}
  - NormalizeImage: {{mean: [0., 0., 0.], std: [1., 1., 1.], norm_type: none}}
  - Permute: {{}}
"""


@pytest.fixture
def images(small_digits):
    return sorted(str(path) for path in (small_digits / "val").iterdir())


@pytest.fixture
def exported(small_digits, tmp_path):
    path = tmp_path / "rtdetr_r18vd.yml"
    path.write_text(R18.format(configs=REPO / "configs", data=small_digits))
    trainer = Trainer(config.load(str(path)), "test")
    spread_heads(trainer.model)
    return export.export_model(trainer, tmp_path)


@pytest.fixture(scope="session")
def onnx_python():
    return other_python("onnx", ONNX_PACKAGES)


def run_onnx(python, folder, inputs, scratch):
    np.savez(scratch / "inputs.npz", **inputs)
    done = subprocess.run([python, WORKER, folder, scratch / "inputs.npz", scratch / "outputs.npz"],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = np.load(scratch / "outputs.npz")
    return np.split(found["bbox"], np.cumsum(found["bbox_num"])[:-1])


def test_onednn_and_onnx_give_the_same_detections(exported, images, onnx_python, tmp_path):
    plain = Predictor(exported, batch_size=4)
    wanted = of_predictor(plain.predict(images))
    assert len(wanted[0]) == 300 and np.ptp(wanted[0][:, 1]) > 0.05

    onednn = compare_all(wanted, of_predictor(Predictor(exported, enable_mkldnn=True, batch_size=4).predict(images)))
    print("oneDNN:", onednn)
    assert onednn.within(1e-3)

    ready = [preprocess.apply(plain.model.steps, media.read_image(path)) for path in images]
    inputs = {"image": np.stack([image for image, _ in ready]),
              **{key: np.stack([info[key] for _, info in ready]) for key in ("im_shape", "scale_factor")}}
    onnx = compare_all(wanted, run_onnx(onnx_python, exported, inputs, tmp_path))
    print("ONNX Runtime:", onnx)
    assert onnx.within(1e-3)
