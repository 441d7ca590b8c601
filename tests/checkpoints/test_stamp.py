# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A checkpoint's files name their run, epoch and step: mixed sets are refused, and every reader still reads them."""
import os
import shutil

import numpy as np
import paddle
import pytest
from paddle import nn
from ppdet.utils import checkpoint

from ppdet_ext.checkpoints import checkpoint_files, stamp
from ppdet_ext.engine import checkpointer, load_weights
from ppdet_ext.errors import UserError


def layer_of(value=0.0):
    layer = nn.Linear(2, 2)
    layer.weight.set_value(paddle.full([2, 2], value))
    return layer


def optimizer_of(layer):
    return paddle.optimizer.AdamW(paddle.optimizer.lr.CosineAnnealingDecay(0.1, 9), parameters=layer.parameters())


def save(prefix, epochs, run="aa", ema=True):
    layer = layer_of(epochs)
    checkpointer.save(prefix, layer.state_dict(), optimizer_of(layer), epochs,
                      layer.state_dict() if ema else None, run=run, step=10 * epochs)
    return layer


def test_paddledetection_reads_files_with_a_stamp(tmp_path):
    layer = save(tmp_path / "m", 3, ema=False)
    other = layer_of()
    assert checkpoint.load_weight(other, str(tmp_path / "m"), optimizer_of(other)) == 3
    np.testing.assert_array_equal(other.weight, layer.weight)
    assert set(paddle.load(str(tmp_path / "m.pdparams"))) == {"weight", "bias"}
    assert set(checkpoint_files.read(tmp_path / "m.pdparams").state) == {"weight", "bias"}


def test_all_files_of_a_set_have_one_stamp(tmp_path):
    save(tmp_path / "m", 3)
    found = [stamp.read(tmp_path / f"m{suffix}") for suffix in stamp.SUFFIXES]
    assert found == [stamp.Stamp("aa", 3, 30, (".pdparams", ".pdema", ".pdopt"))] * 3
    assert stamp.check(tmp_path / "m.pdparams", stamp.SUFFIXES) == found[0]


@pytest.mark.parametrize("suffix", [".pdopt", ".pdema", ".pdparams"])
@pytest.mark.parametrize("other", [(4, "aa"), (3, "bb")], ids=["epoch", "run"])
def test_a_mixed_set_is_refused_and_a_whole_one_named(tmp_path, suffix, other):
    for prefix, epochs, run in (("best_model", 3, "aa"), ("other", *other), ("1", 2, "aa")):
        save(tmp_path / prefix, epochs, run)
    shutil.copy(tmp_path / f"other{suffix}", tmp_path / f"best_model{suffix}")
    (tmp_path / "other.pdopt").unlink()
    words = r"best_model\.pd.*is of epoch .*best_model\.pdparams' of epoch .*whole: '.*/1' \(epoch 1\)$"
    with pytest.raises(UserError, match=words) as caught:
        load_weights.load_exact(layer_of(), tmp_path / "best_model.pdparams")
    assert "\n" not in str(caught.value)


def test_a_stamp_that_was_cut_off_is_none(tmp_path):
    save(tmp_path / "m", 3)
    os.truncate(tmp_path / "m.pdopt", (tmp_path / "m.pdopt").stat().st_size - 5)
    with pytest.raises(UserError, match="'.*m.pdopt' is of an unknown epoch.*no whole checkpoint"):
        load_weights.load_exact(layer_of(), tmp_path / "m.pdparams")


def test_weights_alone_and_a_file_of_another_run_are_no_mixture(tmp_path):
    save(tmp_path / "m", 3, "aa")
    save(tmp_path / "m", 1, "bb", ema=False)  # leaves m.pdema, which its stamp does not name
    load_weights.load_exact(layer_of(), tmp_path / "m.pdparams")
    with pytest.raises(UserError, match=r"written without a \.pdema"):
        stamp.check(tmp_path / "m.pdparams", stamp.SUFFIXES)
    (tmp_path / "m.pdopt").unlink()
    load_weights.load_exact(layer_of(), tmp_path / "m.pdparams")


def test_files_of_older_versions_load_with_a_line(tmp_path, log):
    layer = layer_of(2.0)
    paddle.save(layer.state_dict(), str(tmp_path / "m.pdparams"))
    load_weights.load_exact(layer_of(), tmp_path / "m.pdparams")
    assert "has no stamp" not in log.text  # it stands alone
    paddle.save({"last_epoch": 1}, str(tmp_path / "m.pdopt"))
    load_weights.load_exact(layer_of(), tmp_path / "m.pdparams")
    assert "m.pdparams' has no stamp" in log.text


@pytest.mark.parametrize("line", [b"\nppdet_ext {}\n", b"\nppdet_ext {\n", b"\nppdet_ext [1]\n",
                                  b'\nppdet_ext {"run": 1, "epochs": "x", "step": 1, "files": []}\n'])
def test_what_is_no_stamp_is_none(tmp_path, line):
    (tmp_path / "m").write_bytes(line)
    assert stamp.read(tmp_path / "m") is None
