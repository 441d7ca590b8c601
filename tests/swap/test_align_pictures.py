# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pictures for alignment: kept on disk where that is faster and fits, and gone at the end."""
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from support.two_networks import SAME, teacher

from ppdet_ext.errors import UserError
from ppdet_ext.swap import pictures


class Source:
    """A reader of four batches, each pass with other pictures; counts what it gave."""

    def __init__(self):
        self.given, self.dataset = 0, SimpleNamespace(set_epoch=lambda epoch: None)

    def __len__(self):
        return 4

    def __iter__(self):
        for _ in range(4):
            self.given += 1
            yield {"image": paddle.full([2, 3, 16, 16], self.given / 4)}


def taken(tmp_path, count, needed=12, **settings):
    """(batches, the source, files that were there before the end)"""
    source = Source()
    with pictures.Batches(source, teacher(), SAME, needed, tmp_path, **settings) as batches:
        found = [next(batches) for _ in range(count)]
        there = list(tmp_path.rglob("*.npz"))
    assert not list(tmp_path.iterdir())
    return found, source, there


def test_a_pass_is_kept_and_shown_again(tmp_path):
    found, source, there = taken(tmp_path, 12, cache=True)
    assert source.given == 4 and len(there) == 4
    first = {float(image.mean()) for image, _ in found[:4]}
    assert {float(image.mean()) for image, _ in found[4:8]} == first == {0.25, 0.5, 0.75, 1.0}
    for image, theirs in found[4:]:
        original = next(own for picture, own in found[:4] if np.array_equal(picture.numpy(), image.numpy()))
        for mine, kept in zip(original, theirs):
            assert kept.dtype == paddle.float32
            assert np.abs(mine.numpy() - kept.numpy()).max() <= np.abs(mine.numpy()).max() * 2 ** -11


@pytest.mark.parametrize("settings", [{"cache": False}, {"cache": True, "needed": 4}, {"cache": True, "most": 1000}],
                         ids=["not asked for", "one pass is enough", "no room"])
def test_nothing_is_kept(tmp_path, settings, log):
    with log.at_level("INFO", "ppdet.engine"):
        found, source, there = taken(tmp_path, 9, **settings)
    assert source.given == 9 and not there and len(found) == 9
    assert ("more than the 0.0 GB" in log.text) == ("most" in settings)


@pytest.mark.parametrize("disk, kept", [(0.5, 4), (2.0, 0)])
def test_the_faster_way_is_taken(tmp_path, monkeypatch, log, disk, kept):
    """Reading and the teacher take a second of a clock that only moves when it is told."""
    clock = [0.0]
    monkeypatch.setattr(pictures, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    load, features = pictures.Batches._load, pictures.Teacher.features

    def moved(function, seconds):
        def slow(*given):
            clock[0] += seconds
            return function(*given)
        return slow
    monkeypatch.setattr(pictures.Batches, "_load", moved(load, disk))
    monkeypatch.setattr(pictures.Teacher, "features", moved(features, 1.0))
    with log.at_level("INFO", "ppdet.engine"):
        _, source, there = taken(tmp_path, 8)
    assert len(there) == kept and source.given == (4 if kept else 8)
    assert f"takes 1.000 s to read and show the teacher, {disk:.3f} s to take from disk" in log.text


def test_a_folder_without_pictures_is_one_line(tmp_path):
    for folder, message in ((tmp_path, "no image"), (tmp_path / "none", "there is no folder")):
        with pytest.raises(UserError, match=f"swap_backbone.images: {message}"):
            pictures.in_folder(folder)


def test_pictures_have_no_objects_and_need_no_files():
    record, = pictures.Pictures([str(Path("a.jpg"))]).roidbs
    assert record["gt_bbox"].shape == (0, 4) and record["gt_class"].shape == (0, 1) and record["im_file"] == "a.jpg"
