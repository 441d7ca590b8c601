# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One Predictor in many threads: every picture has its own boxes, as in a loop."""
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support import known_network
from support.detections import of_predictor

from ppdet_ext.deploy import Predictor
from ppdet_ext.engine import to_onnx

for package in ("paddle2onnx", "onnxruntime", "openvino"):
    pytest.importorskip(package, reason='pip install "ppdet-ext[onnx,openvino]"')

THREADS = 8
ENGINES = {"paddle": {"engine": "paddle"}, "onednn": {"engine": "paddle", "enable_mkldnn": True},
           "onnxruntime": {"engine": "onnxruntime"}, "openvino": {"engine": "openvino"}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = known_network.save(tmp_path_factory.mktemp("model") / "known")
    to_onnx.convert(folder)
    return folder


def pictures(count):
    """Flat pictures of different colours and sizes."""
    rng = np.random.default_rng(0)
    return [np.full((*rng.integers(20, 60, 2), 3), rng.integers(0, 256, 3), np.uint8) for _ in range(count)]


def wrong(predictor, images):
    """How many of the images have other boxes in threads than in a loop."""
    serial = of_predictor(predictor.predict(images))
    with ThreadPoolExecutor(THREADS) as pool:
        found = of_predictor([result for result, in pool.map(lambda image: predictor.predict([image]), images)])
    return sum(not np.array_equal(one, two) for one, two in zip(serial, found))


@pytest.mark.parametrize("count", [200, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("engine", ENGINES)
def test_threads_do_not_mix_pictures(model, engine, count):
    predictor = Predictor(model, cpu_threads=1, **ENGINES[engine])
    assert wrong(predictor, pictures(count)) == 0
    assert predictor.timings.summary()["images"] == 2 * count


@pytest.mark.parametrize("engine", ENGINES)
def test_the_engine_runs_in_one_thread(model, engine, monkeypatch):
    """Also an engine that heeds threads itself: each further one would cost memory."""
    predictor, threads = Predictor(model, cpu_threads=1, **ENGINES[engine]), set()
    run = predictor._runtime.run

    def noting(inputs):
        threads.add(threading.get_ident())
        return run(inputs)

    monkeypatch.setattr(predictor._runtime, "run", noting)
    assert wrong(predictor, pictures(16)) == 0
    assert len(threads) == 1 and threading.get_ident() not in threads


def test_an_engines_error_reaches_the_thread_that_asked(model):
    predictor = Predictor(model, engine="onnxruntime")
    with pytest.raises(Exception, match="(?i)rank|shape|dimension"):
        predictor.run({"image": np.zeros((1, 3), np.float32), "im_shape": np.zeros((1, 2), np.float32),
                       "scale_factor": np.ones((1, 2), np.float32)})
