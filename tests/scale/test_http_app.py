# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What is asked and answered over HTTP, with a model that finds the same in every picture, and without Ray."""
import io

import numpy as np
import pytest
from PIL import Image
from support.asgi import asked

from ppdet_ext.deploy import DeployError
from ppdet_ext.deploy.image_files import decode_image
from ppdet_ext.scale.request_guard import Guard
from ppdet_ext.scale.served_model import Facts, Found

WANTED = 'pip install "ppdet-ext[serve]"'
pytest.importorskip("python_multipart", reason=WANTED)
http_app = pytest.importorskip("ppdet_ext.scale.http_app", reason=WANTED)
serve_metrics = pytest.importorskip("ppdet_ext.scale.serve_metrics", reason=WANTED)

BOXES = np.array([[1, 0.3, 1, 2, 3, 4], [0, 0.90123456, 1.1, 2, 3, 4], [7, 0.95, 0, 0, 1, 1]], np.float32)
PNG = [("content-type", "image/png")]
FORM = [("content-type", "multipart/form-data; boundary=b")]


class Models:
    facts = {name: Facts(name, "DETR", ["red", "green"], "onnxruntime", "model.onnx") for name in ("a", "b")}
    counts = {"a": 1, "b": 1}

    async def detect(self, model, data, name):
        if data == b"breaks the engine":
            raise DeployError("the engine cannot run it")
        try:
            pixels = decode_image(data, name)
        except DeployError as error:
            return Found(error=str(error))
        return Found(BOXES, pixels.shape[1::-1], "", {"decode": 2.0, "inference": 6.0}, 2)

    async def running(self):
        return self.counts


@pytest.fixture
def ask():
    """Ask a server of two models; ``ask.metrics`` is its counters."""
    metrics = serve_metrics.Metrics(lambda: guard.running)
    guard = Guard(http_app.build(Models(), 0.5, metrics, lambda: guard.ending), None, (), 8, metrics.done)

    def one(body=b"", headers=PNG, **settings):
        return asked(guard, [body], headers, **settings)

    one.metrics = metrics
    return one


@pytest.fixture(scope="module")
def png():
    file = io.BytesIO()
    Image.new("RGB", (30, 20)).save(file, "png")
    return file.getvalue()


def form(*files):
    parts = [b'--b\r\nContent-Disposition: form-data; name="p"; filename="%b"\r\n\r\n%b\r\n' % (name.encode(), data)
             for name, data in files]
    return b"".join(parts) + b"--b--\r\n"


def test_boxes_as_the_model_gave_them_the_best_first(ask, png):
    one = ask(png)
    assert one.code == 200
    answer = one.answer
    assert (answer["model"], answer["threshold"]) == ("a", 0.5) and answer["milliseconds"] >= 0
    picture, = answer["pictures"]
    assert (picture["width"], picture["height"], picture["batch"]) == (30, 20, 2)
    assert picture["milliseconds"] == {"decode": 2.0, "inference": 6.0}
    assert [(box["class_id"], box["class"]) for box in picture["boxes"]] == [(7, "7"), (0, "red")]
    values = [[box[key] for key in ("class_id", "score", "x1", "y1", "x2", "y2")] for box in picture["boxes"]]
    np.testing.assert_array_equal(np.array(values, np.float32), BOXES[[2, 1]])  # to the last bit
    assert len(ask(png, query="threshold=0.2&model=b").answer["pictures"][0]["boxes"]) == 3


def test_pictures_of_a_form_keep_their_names_and_order(ask, png):
    one = ask(form(("a.png", png), ("杯.png", png)), FORM)
    assert [picture["name"] for picture in one.answer["pictures"]] == ["a.png", "杯.png"]


@pytest.mark.parametrize("code, reason, body, settings", [
    (404, "no model 'c'; there are a, b", b"x", {"query": "model=c"}),
    (422, "threshold: ", b"x", {"query": "threshold=x"}), (422, "threshold: ", b"x", {"query": "threshold=-0.1"}),
    (400, "the body is empty", b"", {}), (422, "cannot read 'picture' (broken, or not an image)", b"x", {}),
    (415, "'text/html'", b"x", {"headers": [("content-type", "text/html")]}),
    (422, "cannot read 'b.png'", form(("b.png", b"x")), {"headers": FORM}),
    (400, "the form holds no file", form(), {"headers": FORM}),
    (413, "more than 16 pictures", form(*[("a.png", b"x")] * 17), {"headers": FORM}),
    (413, "Too many files", form(*[("a.png", b"x")] * 40), {"headers": FORM}),
    (400, "", b"--b\r\nrubbish", {"headers": FORM}), (400, "boundary", b"x", {"headers": [("content-type",
                                                                                        "multipart/form-data")]}),
    (404, "Not Found", b"", {"path": "/none"}), (405, "Method Not Allowed", b"", {"method": "GET"}),
    (500, "the engine cannot run it", b"breaks the engine", {})])
def test_every_refusal_has_its_code_and_reason(ask, code, reason, body, settings):
    one = ask(body, **settings)
    assert (one.code, reason in one.reason) == (code, True), one.answer


def test_health_and_models(ask, monkeypatch):
    assert ask(path="/health", method="GET").answer == {"status": "ok", "replicas": {"a": 1, "b": 1}}
    monkeypatch.setattr(Models, "counts", {"a": 1, "b": 0})
    one = ask(path="/health", method="GET")
    assert (one.code, one.answer["status"]) == (503, "starting")
    assert [model["name"] for model in ask(path="/models", method="GET").answer] == ["a", "b"]


def test_metrics(ask, png):
    ask(png)
    ask(b"x")
    ask(png, query="model=none")
    ask(path="/health", method="GET")
    text = ask.metrics.text().decode()
    for line in ('ppdet_ext_requests_total{code="200",model="a"} 1.0',
                 'ppdet_ext_requests_total{code="422",model="a"} 1.0',
                 'ppdet_ext_requests_total{code="404",model=""} 1.0', 'ppdet_ext_pictures_total{model="a"} 1.0',
                 'ppdet_ext_unreadable_pictures_total{model="a"} 1.0', "ppdet_ext_requests_running 0.0",
                 'ppdet_ext_stage_seconds_total{model="a",stage="inference"} 0.003'):
        assert line in text.splitlines()
