# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""By the command lines: a teacher, a swap with alignment, rates, distillation and the teacher's boxes."""
import os
import shutil
import subprocess
import sys

import pytest
from support.paths import REPO
from support.tiny import TINY

from ppdet_ext.swap import rates, teacher, teacher_boxes

SWAP = """
pretrain_weights: old/tiny/model_final.pdparams
TimmBackbone: {arch: resnet10t}
swap_backbone:
  {align_steps: 3, align_batches: 2, images: pictures, distill: true, unlabelled: pictures, min_score: 0.0, lr: auto}
"""


def train(folder, config, *options, code=0):
    done = subprocess.run([sys.executable, str(REPO / "tools/train.py"), "-c", config, "-o", *options], cwd=folder,
                          text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
                          env={**os.environ, "PYTHONPATH": str(REPO)})
    assert done.returncode == code, done.stdout[-4000:]
    return done.stdout


@pytest.mark.slow
def test_a_swap_with_everything(tmp_path, small_digits):
    text = TINY.format(configs=REPO / "configs", data=small_digits, output="old").replace(
        "arch: tf_efficientnet_lite0", "arch: resnet14t")
    (tmp_path / "tiny.yml").write_text(text + "normalization: {mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5]}\n")
    train(tmp_path, "tiny.yml", "epoch=1")
    old = teacher.build(tmp_path / "old/tiny/model_final.pdparams")
    assert old.normalization == ((0.5,) * 3, (0.5,) * 3) and len(old.classes) == 10 and not old.net.training

    shutil.copytree(small_digits / "val", tmp_path / "pictures")
    shutil.copy(tmp_path / "tiny.yml", tmp_path / "base.yml")
    normal = "normalization: {mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}\n"
    (tmp_path / "new.yml").write_text("_BASE_: [base.yml]\nsave_dir: out\n" + normal + SWAP)
    log = train(tmp_path, "new.yml")
    for words in ("teacher: tiny from", "aligned in 3 steps", "fitted to the old detector's features",
                  "learning rates after the swap: backbone x3, projections x1, neck and decoder x1",
                  "unlabelled: 4 of 4 pictures join the training set", "loss_distill"):
        assert words in log, f"{words}\n{log[-6000:]}"
    output = tmp_path / "out" / "new"
    assert (output / rates.FILE).is_file() and (output / teacher_boxes.FILE).is_file()
    assert not list(output.glob("align_*"))
    again = train(tmp_path, "new.yml", "epoch=3", "-r", "out/new/model_final.pdparams")
    assert "loss_distill" in again and "aligned" not in again and "learning rates after the swap" in again


@pytest.mark.slow
def test_a_teacher_that_cannot_be_built_is_one_line(tmp_path, small_digits):
    text = TINY.format(configs=REPO / "configs", data=small_digits, output="old")
    (tmp_path / "tiny.yml").write_text(text)
    train(tmp_path, "tiny.yml", "epoch=1")
    (tmp_path / "other.yml").write_text(text.replace("tf_efficientnet_lite0", "no_such_net"))
    for config, words in (("other.yml", "no_such_net"), ("none.yml", "none.yml")):
        with pytest.raises(teacher.UserError, match=f"the teacher .* cannot be built: .*{words}"):
            teacher.build(tmp_path / "old/tiny/model_final.pdparams", tmp_path / config)
    (tmp_path / "old/tiny/tiny.yml").unlink()
    with pytest.raises(teacher.UserError, match="its config is not known"):
        teacher.build(tmp_path / "old/tiny/model_final.pdparams")
