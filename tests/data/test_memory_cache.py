# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""memory_cache: the same pixels as without, read once in a run, by workers too, up to the limit."""
import functools
import logging
import types

import numpy as np
import pytest
from ppdet.data.reader import EvalReader
from ppdet.data.source import COCODataSet

from ppdet_ext.data import memory_cache, reading, worker_threads
from ppdet_ext.measure import memory_estimate

TRANSFORMS = [{"Decode": {}}, {"RandomFlip": {}}, {"Resize": {"target_size": [32, 32], "keep_ratio": False}},
              {"Permute": {}}]


def record(file, width=4, height=2):
    return {"im_file": file, "w": width, "h": height}


def picture(value, height=2, width=4):
    return np.full((height, width, 3), value, np.uint8)


def test_a_picture_is_decoded_once_and_its_copy_is_ones_own():
    cache, calls = memory_cache.MemoryCache([record("a"), record("b"), record("a")], 1000), []

    def decode():
        calls.append(1)
        return picture(len(calls))
    assert (len(cache.places), cache.files, cache.bytes) == (2, 2, 48)
    for epoch in (0, 0, 1, 2):  # within the epoch it may be half written by another process
        got = cache.get("a", epoch, decode)
        assert (got == (2 if (epoch, len(calls)) == (0, 2) else 1)).all()
        got[:] = 9
    assert len(calls) == 2 and (cache.get("b", 2, decode) == 3).all() and (cache.get("c", 3, decode) == 4).all()


def test_what_does_not_fit_is_decoded_each_time():
    records = [record("a"), record("large", 100, 100), record("b", 2, 4), {"im_file": "no size"}]
    cache = memory_cache.MemoryCache(records, 60)
    assert list(cache.places) == ["a", "b"] and cache.files == 4
    for epoch in range(2):
        assert cache.get("large", epoch, functools.partial(picture, epoch)).max() == epoch
        assert cache.get("a", epoch, functools.partial(picture, epoch, height=3)).max() == epoch  # not as annotated
        assert cache.get("b", epoch, functools.partial(picture, 5)).shape == (2, 4, 3)  # annotated lying on its side


def read(folder, workers, epochs, **settings):
    """(pixels of these epochs, the reader) of the training pictures, in order."""
    np.random.seed(3)
    dataset = COCODataSet(dataset_dir=str(folder), image_dir="train", anno_path="annotations/train.json")
    reader = EvalReader(sample_transforms=TRANSFORMS, batch_size=2, **settings)
    reader(dataset, workers, return_list=True)
    pixels = []
    for _ in range(epochs):
        pixels += [np.asarray(batch["image"]) for batch in reader]
    worker_threads.stop(reader.loader)
    return np.concatenate(pixels), reader


@pytest.mark.parametrize("workers", [0, 2])
def test_readers_give_the_same_pixels(small_digits, monkeypatch, log, workers):
    log.set_level(logging.INFO)
    plain, _ = read(small_digits, workers, 2)
    limit = "0.1MB"
    if not workers:
        opened, real = [], reading.read_image
        monkeypatch.setattr(reading, "read_image", lambda path: opened.append(path) or real(path))
    cached, reader = read(small_digits, workers, 2, memory_cache=limit)
    assert (plain == cached).all() and len(plain) == 16
    kept = len(reader.memory_cache.places)
    assert 3 < kept < 8 and f"EvalReader.memory_cache: {kept} of 8 pictures fit into 0.1MB" in log.text
    assert reader.memory_cache.written.tolist() == [1] * kept  # by whichever process
    if not workers:
        assert {opened.count(path) for path in reader.memory_cache.places} == {1}
        assert all(opened.count(path) > 1 for path in {*opened} - {*reader.memory_cache.places})


def test_the_estimate_counts_it():
    assert memory_cache.planned({"memory_cache": "1MB"}, [record("a"), record("b")]) == 48
    assert memory_cache.planned({}, [record("a")]) == 0
    run = memory_estimate.RunMemory(types.SimpleNamespace(weights=0, trained=0, peak=lambda *_: 0, height=1, width=1),
                                    "SGD", pictures=500)
    assert run.parts(1)["memory_cache"] == 500
