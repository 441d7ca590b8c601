# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The tutorial's blocks: the same in both languages, flags that exist, and all of them run in their order (slow)."""
import importlib
import os
import shlex
import subprocess
import sys

import pytest
from support.doc_blocks import blocks, commands
from support.paths import REPO

from ppdet_ext.cli.commands import COMMANDS

PAGES = {"tutorial": ["suggest", "config", "verify", "quick", "compare", "train", "watch", "see", "export"],
         "lower_after_swap": ["verify", "quick", "train"]}
# what makes my.yml a matter of seconds: an epoch of a small detector on small pictures
SMALL = """
_BASE_: ['page.yml']
epoch: 1
snapshot_epoch: 1
log_iter: 1
worker_num: 0
hidden_dim: 32
eval_size: &size [64, 64]
HybridEncoder: {hidden_dim: 32, encoder_layer: {d_model: 32, nhead: 2, dim_feedforward: 32}}
RTDETRTransformer: {num_queries: 20, num_decoder_layers: 1, nhead: 2, dim_feedforward: 32, num_denoising: 5}
DETRPostProcess: {num_top_queries: 20}
LearningRate:
  base_lr: 0.0005
  schedulers: [!PiecewiseDecay {gamma: 0.1, milestones: [1], use_warmup: true}, !LinearWarmup {steps: 1}]
TrainReader:
  batch_size: 4
  batch_transforms:
  - BatchRandomResize: {target_size: [64], random_size: true, random_interp: true, keep_ratio: false}
  - NormalizeImage: {mean: from_weights, std: from_weights}
  - NormalizeBox: {}
  - BboxXYXY2XYWH: {}
  - Permute: {}
EvalReader:
  sample_transforms: &transforms
  - Decode: {}
  - Resize: {target_size: *size, keep_ratio: false, interp: 2}
  - NormalizeImage: {mean: from_weights, std: from_weights}
  - Permute: {}
TestReader: {inputs_def: {image_shape: [3, 64, 64]}, sample_transforms: *transforms}
"""
# block -> flags that go behind its command, and the exit codes that are well: 5 steps teach nothing
SHORT = {"quick": ("--quick 5", {0, 1}), "compare": ("--size 64 --rounds 1 --fp32-only", {0})}
TOOLS = {f"tools/{command.tool}.py": command.module for command in COMMANDS}


@pytest.mark.parametrize("page", PAGES)
def test_both_languages_have_the_same_blocks(page):
    english = blocks(f"{page}.md", "tutorial")
    assert english == blocks(f"{page}_cn.md", "tutorial") and list(english) == PAGES[page]


@pytest.mark.parametrize("page", PAGES)
def test_each_command_has_flags_that_its_tool_knows(page):
    for name, text in blocks(f"{page}.md", "tutorial").items():
        for program, *words in [] if name == "config" else map(shlex.split, commands(text)):
            if program == "python":
                importlib.import_module(f"ppdet_ext.{TOOLS[words[0]]}").parse_args(words[1:])
            else:
                assert program == "tail"


@pytest.mark.slow
def test_all_commands_run(tmp_path, small_digits):
    """In a folder with the repository's tools and configs, and the sample data set of 12 pictures."""
    for name in ("tools", "configs"):
        (tmp_path / name).symlink_to(REPO / name)
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "digits").symlink_to(small_digits)
    for name, text in blocks("tutorial.md", "tutorial").items():
        if name == "config":
            (tmp_path / "page.yml").write_text(text)
            (tmp_path / "my.yml").write_text(SMALL)
            continue
        flags, codes = SHORT.get(name, ("", {0}))
        for command in commands(text):
            words = [*shlex.split(command), *shlex.split(flags)]
            words[0] = sys.executable if words[0] == "python" else words[0]
            done = subprocess.run(words, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=600, env={**os.environ, "PYTHONPATH": str(REPO)})
            assert done.returncode in codes, f"{command}\n{done.stdout[-4000:]}"
    assert (tmp_path / "output_inference/my/infer_cfg.yml").is_file()
    assert len(list((tmp_path / "output").glob("*_sampling.png"))) == 4
