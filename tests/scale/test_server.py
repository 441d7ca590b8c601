# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A whole server as its users have it: asked everything, its replica killed, ended while it answers."""
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from types import SimpleNamespace

import cv2
import numpy as np
import psutil
import pytest
from support import known_onnx
from support.paths import REPO

from ppdet_ext.cli import deploy_infer
from ppdet_ext.deploy import Predictor

for package in ("ray", "fastapi", "python_multipart", "prometheus_client", "onnx", "onnxruntime"):
    pytest.importorskip(package, reason='pip install "ppdet-ext[serve,onnx]"')
pytest.importorskip("ray.serve", reason='pip install "ppdet-ext[serve]"')
pytestmark = [pytest.mark.slow, pytest.mark.net]

SECRET = "a-token-of-this-test-alone"
LIMIT = 100_000  # bytes of a request
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Two models by name, a token, a batch that waits two seconds for more."""
    root = tmp_path_factory.mktemp("serve")
    model, token, log = known_onnx.save(root / "known"), root / "token", root / "log"
    token.write_text(SECRET)
    picture = np.full((60, 40, 3), (10, 200, 90), np.uint8)
    cv2.imwrite(str(root / "a.png"), picture[..., ::-1])
    command = [sys.executable, "tools/serve.py", "--model_dir", f"{model}", f"second={model}", "--cpu_threads", "1",
               "--port", "0", "--batch_size", "4", "--batch_wait", "2000", "--threshold", "0", "--token_file",
               f"{token}", "--log_file", f"{root / 'ray.log'}"]
    environment = {**os.environ, "PPDET_EXT_MAX_REQUEST_BYTES": str(LIMIT), "PYTHONPATH": str(REPO)}
    with open(log, "wb") as out:
        process = psutil.Popen(command, cwd=REPO, stdout=out, stderr=subprocess.STDOUT, env=environment)
    try:
        end = time.monotonic() + 600
        while "serving at" not in log.read_text() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.2)
        said = log.read_text()
        assert "serving at http://127.0.0.1:" in said, said
        yield SimpleNamespace(address=said.split("serving at ")[1].split()[0], process=process, log=log, model=model,
                              root=root, data=(root / "a.png").read_bytes())
    finally:
        end_all(process)


def end_all(process):
    """End what is still there of a server, where a test failed before the last one."""
    family = process.children(recursive=True) if process.is_running() else []
    if process.is_running():
        process.terminate()
        process.wait(120)
    _, left = psutil.wait_procs(family, 60)
    for one in left:
        one.kill()


def ask(server, path, data=None, headers=(), token=SECRET):
    """(code, JSON or text) of one request."""
    headers = {**dict(headers), **({"Authorization": f"Bearer {token}"} if token else {})}
    request = urllib.request.Request(server.address + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            code, text = answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        code, text = error.code, error.read().decode()
    try:
        return code, json.loads(text)
    except ValueError:
        return code, text


def form(*files):
    """(body, headers) of a form with these (name, bytes)."""
    parts = [f'--boundary\r\nContent-Disposition: form-data; name="picture"; filename="{name}"\r\n\r\n'.encode() + data
             + b"\r\n" for name, data in files]
    return b"".join(parts) + b"--boundary--\r\n", {"Content-Type": "multipart/form-data; boundary=boundary"}


def test_the_numbers_are_deploy_infers_own(server):
    code, answer = ask(server, "/predict", server.data, PNG)
    assert code == 200 and answer["model"] == "known"
    picture, = answer["pictures"]
    assert (picture["width"], picture["height"], picture["batch"]) == (40, 60, 1)
    assert set(picture["milliseconds"]) == {"decode", "preprocess", "inference", "postprocess"}
    rows = [[box["class_id"], box["score"], box["x1"], box["y1"], box["x2"], box["y2"]] for box in picture["boxes"]]
    boxes = Predictor(server.model, cpu_threads=1).predict([server.root / "a.png"])[0]["boxes"]
    assert rows == sorted(boxes.tolist(), key=lambda row: -row[1])
    assert [box["class"] for box in picture["boxes"]] == ["green", "blue", "red"]
    deploy_infer.main(["--model_dir", str(server.model), "--image_file", str(server.root / "a.png"), "--output_dir",
                       str(server.root / "out"), "--save_results", "--cpu_threads", "1"])
    saved = json.loads((server.root / "out" / "bbox.json").read_text())
    assert sorted((row["category_id"], row["score"]) for row in saved) == sorted((row[0], row[1]) for row in rows)


def test_several_pictures_and_several_models(server):
    files = [(f"{number}.png", server.data) for number in range(4)]
    code, answer = ask(server, "/predict?model=second&threshold=0.5", *form(*files))
    assert code == 200 and answer["model"] == "second"
    assert [picture["name"] for picture in answer["pictures"]] == ["0.png", "1.png", "2.png", "3.png"]
    assert {picture["batch"] for picture in answer["pictures"]} == {4}  # they have become one batch
    assert {tuple(box["class"] for box in picture["boxes"]) for picture in answer["pictures"]} == {("green",)}
    assert [model["name"] for model in ask(server, "/models")[1]] == ["known", "second"]


def test_what_is_refused_has_a_reason(server):
    huge = [PNG, {"Content-Type": "image/png", "Transfer-Encoding": "chunked"}]
    cases = [
        (401, "carries another token", ask(server, "/predict", server.data, PNG, token=None)),
        (401, "carries another token", ask(server, "/metrics", token="another-token-of-a-stranger")),
        (404, "there are known, second", ask(server, "/predict?model=none", server.data, PNG)),
        (422, "threshold: ", ask(server, "/predict?threshold=2", server.data, PNG)),
        (422, "not an image", ask(server, "/predict", b"no picture", PNG)),
        (422, "cannot read 'b.png'", ask(server, "/predict", *form(("a.png", server.data), ("b.png", b"x")))),
        (400, "the body is empty", ask(server, "/predict", b"", PNG)),
        (400, "no file", ask(server, "/predict", *form())),
        (415, "application/json", ask(server, "/predict", b"{}", {"Content-Type": "application/json"})),
        (413, "pictures in one request", ask(server, "/predict", *form(*[("a.png", b"x")] * 17))),
        (413, f"more than {LIMIT} bytes", ask(server, "/predict", bytes(LIMIT + 1), huge[0])),
        (413, f"more than {LIMIT} bytes", ask(server, "/predict", iter([bytes(50_000)] * 3), huge[1])),
        (404, "Not Found", ask(server, "/nothing")), (405, "Not Allowed", ask(server, "/predict")),
    ]
    for code, reason, (got, answer) in cases:
        assert (got, reason in answer["error"]) == (code, True), (code, reason, got, answer)


def test_health_and_metrics(server):
    assert ask(server, "/health", token=None) == (200, {"status": "ok", "replicas": {"known": 1, "second": 1}})
    assert ask(server, "/health", headers={"Host": "evil.example"}, token=None)[0] == 400
    code, text = ask(server, "/metrics")
    assert code == 200
    for line in ('ppdet_ext_requests_total{code="200",model="known"}', 'ppdet_ext_pictures_total{model="second"}',
                 'ppdet_ext_stage_seconds_total{model="known",stage="inference"}', "ppdet_ext_requests_running"):
        assert line in text


def test_nothing_is_open_to_others_and_the_token_is_in_no_command(server):
    processes = [server.process, *server.process.children(recursive=True)]
    assert len(processes) > 5
    for process in processes:
        assert SECRET not in " ".join(process.cmdline())
        assert SECRET not in str(process.environ())
    listening = [entry.laddr for process in processes for entry in process.net_connections("inet")
                 if entry.status == psutil.CONN_LISTEN]
    others = [address for address in listening if address.ip not in ("127.0.0.1", "::1", "::ffff:127.0.0.1")]
    # one of Ray Serve's in each replica cannot be bound elsewhere; it asks for the token of this run
    assert len(others) <= 3, others


def test_a_taken_port_is_one_line(server):
    port = server.address.rsplit(":", 1)[1]
    command = [sys.executable, "tools/serve.py", "--model_dir", str(server.model), "--port", port]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr == f"error: --port {port} is taken at 127.0.0.1; name another one, 0 takes a free one\n"


def replicas(server):
    return [process for process in server.process.children(recursive=True)
            if "model-known" in "".join(process.cmdline()) and "ServeReplica" in "".join(process.cmdline())]


def test_a_killed_replica_comes_back_and_no_answer_is_lost(server):
    answers, ended = [], threading.Event()

    def asks():
        while not ended.is_set():
            answers.append(ask(server, "/predict", server.data, PNG)[0])

    # three are no full batch: it waits for two seconds, in which all of them are with the replica
    askers = [threading.Thread(target=asks) for _ in range(3)]
    for one in askers:
        one.start()
    killed, = replicas(server)
    time.sleep(1)
    assert not answers
    before = len(answers)
    killed.kill()
    end = time.monotonic() + 300
    while len(answers) < before + 8 and time.monotonic() < end:
        time.sleep(0.2)
    ended.set()
    for one in askers:
        one.join()
    assert len(answers) >= before + 8 and set(answers) == {200}, answers
    came, = replicas(server)
    assert came.pid != killed.pid


def test_what_is_being_answered_at_the_end_is_answered(server):
    """The last one: it ends the server."""
    answers = []
    # alone in its batch it waits for two seconds
    asker = threading.Thread(target=lambda: answers.append(ask(server, "/predict", server.data, PNG)))
    asker.start()
    end = time.monotonic() + 60
    while "ppdet_ext_requests_running 1.0" not in ask(server, "/metrics")[1] and time.monotonic() < end:
        pass
    family = server.process.children(recursive=True)
    server.process.send_signal(signal.SIGTERM)
    asker.join()
    assert [code for code, _ in answers] == [200]
    assert server.process.wait(120) == 0
    assert not psutil.wait_procs(family, 60)[1]  # none of Ray's processes outlives the server
    said = server.log.read_text()
    assert said.endswith("ending: what is being answered is answered first\nended\n")
    assert "Traceback" not in said and SECRET not in said
