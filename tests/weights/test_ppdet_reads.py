# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What ppdet reads goes through our readers and stays what it was; a user's own paddle.load is untouched."""
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from paddle import nn
from ppdet.data.transform.operators import Decode, DecodeCache
from ppdet.modeling.backbones.convnext import ConvNeXt
from support.hostile_configs import write_pickle

from ppdet_ext.errors import UserError


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setitem(ConvNeXt.arch_settings, "tiny", {"depths": [1] * 4, "dims": [8] * 4})


def test_pretrained_of_ppdets_backbones(small, tmp_path):
    first = ConvNeXt()
    paddle.save(first.state_dict(), str(tmp_path / "a.pdparams"))
    second = ConvNeXt(pretrained=str(tmp_path / "a.pdparams"))
    for name, value in second.state_dict().items():
        np.testing.assert_array_equal(value, first.state_dict()[name])


def test_a_damaged_file_is_one_line(small, tmp_path):
    (tmp_path / "a.pdparams").write_bytes(b"\x80\x02}q")
    with pytest.raises(UserError, match=r"cannot read '.*a.pdparams': .*damaged"):
        ConvNeXt(pretrained=str(tmp_path / "a.pdparams"))


def test_a_users_own_load_is_paddles(tmp_path):
    made = nn.Linear(2, 2)
    paddle.save({"net": made.state_dict(), "note": [1, "x"]}, str(tmp_path / "a.pdparams"))
    found = paddle.load(str(tmp_path / "a.pdparams"))
    assert isinstance(found["net"]["weight"], paddle.Tensor) and found["note"] == [1, "x"]


def test_a_cache_of_pictures(tmp_path):
    path, cache = tmp_path / "1.png", tmp_path / "cache"
    cv2.imwrite(str(path), np.arange(4 * 5 * 3, dtype="uint8").reshape(4, 5, 3))
    cache.mkdir()
    wanted = Decode().apply({"im_file": str(path)})["image"]
    for _ in range(2):  # decoded and kept, then taken from there
        found = DecodeCache(str(cache)).apply({"im_file": str(path)})["image"]
        np.testing.assert_array_equal(found, wanted)
    kept = Path(DecodeCache.cache_path(str(cache), str(path)))
    assert kept.is_file() and kept.parent == cache
    write_pickle(kept, tmp_path / "it_ran")
    with pytest.raises(UserError, match="it holds .*mkdir"):
        DecodeCache(str(cache)).apply({"im_file": str(path)})
    assert not (tmp_path / "it_ran").exists()
