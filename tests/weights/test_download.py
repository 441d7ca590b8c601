# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Downloads, against a server on this machine: mirrors, hashes, cut transfers, the cache."""
import functools
import hashlib
import http.server
import json
import re
import socket
import sys
import threading
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ppdet_ext import registry
from ppdet_ext.backbones import create_model
from ppdet_ext.errors import UserError
from ppdet_ext.weights import download, source
from ppdet_ext.weights.download import Unavailable

pytestmark = pytest.mark.net


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and counts; ``/cut/...`` announces more than it sends, ``/chunk/...`` breaks off in a piece,
    ``/busy/...`` is busy."""

    def do_GET(self):
        self.server.paths.append(self.path)
        kind = self.path.split("/")[1]
        if kind == "busy":
            return self.send_error(503)
        if kind not in ("cut", "chunk"):
            return super().do_GET()
        self.send_response(200)
        self.send_header(*(("Content-Length", "1000") if kind == "cut" else ("Transfer-Encoding", "chunked")))
        self.end_headers()
        self.wfile.write(b"half" if kind == "cut" else b"8\r\nhalf")

    protocol_version = "HTTP/1.1"
    timeout = 1

    def end_headers(self):
        self.send_header("Connection", "close")
        super().end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("PPDET_EXT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PPDET_EXT_HTTP_HOSTS", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.paths, running.folder = [], folder
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_file_is_downloaded_once(server, tmp_path):
    (server.folder / "w.pth").write_bytes(b"weights")
    first = download.fetch(f"{server.url}/w.pth")
    assert first.read_bytes() == b"weights" and first.parent == tmp_path / "home" / "cache"
    assert download.fetch(f"{server.url}/w.pth") == first and len(server.paths) == 1


def test_another_query_is_another_file(server):
    (server.folder / "w.pth").write_bytes(b"weights")
    files = {download.fetch(f"{server.url}/w.pth{query}") for query in ("", "?v=1", "?v=2", "?v=2")}
    assert len(files) == 3 == len(server.paths) and {file.suffix for file in files} == {".pth"}


@pytest.mark.parametrize("path, reason, tries", [
    ("cut/w.pth", "broke off after 4 of 1000 bytes", 2),
    ("chunk/w.pth", "broke off", 2),
    ("none.pth", "HTTP 404", 1),
    ("a b.pth", "HTTP 404", 1),
    ("\u00e9.pth", "HTTP 404", 1),
    ("busy/w.pth", "HTTP 503", 3),
    ("x" * 300 + ".pth", "HTTP 404", 1),
])
def test_failures_are_named_and_leave_nothing(server, tmp_path, path, reason, tries):
    with pytest.raises(Unavailable, match=f"{server.url}/{path}.*{reason}") as error:
        download.fetch(f"{server.url}/{path}")
    assert "\n" not in str(error.value)
    assert len(server.paths) == tries and not list((tmp_path / "home" / "cache").iterdir())


@pytest.mark.parametrize("url", ["http://[1/w.pth", "http://127.0.0.1:x/w.pth", "http:///w.pth"])
def test_urls_that_are_none(url, server):
    with pytest.raises(Unavailable, match="cannot download"):
        download.fetch(url)


def test_cache_names_are_short_plain_and_keep_the_suffix():
    plain = download.cache_name("https://x.org:80/a/w.pth.tar")
    assert re.fullmatch(r"x\.org_80--a--[0-9a-f]{16}--w\.pth\.tar", plain)
    strange = [download.cache_name(f"https://me:secret@x.org/{path}.pth.tar") for path in
               ("a" * 400, "b" + "a" * 400, "w\0", "w:", "\u00e9" * 200, "/".join("abc" * 100))]
    assert len(set(strange)) == len(strange)
    for name in strange:
        assert name.endswith(".pth.tar") and len(name.encode()) < 200 and "secret" not in name and name.isprintable()


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_network_that_drops_packets_costs_seconds(monkeypatch, tmp_path, scheme):
    """A site of sixteen addresses, none of which answers."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    places = [(family, socket.SOCK_STREAM, 6, "", (f"{number}", 443, *more))
              for family, more in ((socket.AF_INET6, (0, 0)), (socket.AF_INET, ())) for number in range(8)]
    waited = []
    monkeypatch.setenv("PPDET_EXT_HTTP_HOSTS", "other.org, hub.org")

    class Silent(socket.socket):
        def connect(self, _place):
            waited.append(self.gettimeout())
            raise TimeoutError("timed out")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)
    monkeypatch.setattr(socket, "socket", Silent)
    with pytest.raises(Unavailable, match=rf"{scheme}://hub.org/w.pth \(timed out\)"):
        download.fetch(f"{scheme}://hub.org/w.pth", tmp_path)
    assert len(waited) == 16 and sum(waited) <= 40


def test_a_bad_file_in_the_cache_says_how_to_get_rid_of_it(server):
    (server.folder / "w.pth").write_bytes(b"<html>log in first</html>")
    with pytest.raises(UserError, match="home/cache/.*w.pth.*delete it and get it again"):
        source.read(f"{server.url}/w.pth")


def test_the_hash_in_the_file_name_is_checked(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "HASHED", (server.url,))
    good = hashlib.sha256(b"weights").hexdigest()[:8]
    for name in (f"net-{good}.pth", "net-01234567.pth"):
        (server.folder / name).write_bytes(b"weights")
    assert download.fetch(f"{server.url}/net-{good}.pth").exists()
    with pytest.raises(UserError, match="not 01234567"):
        download.fetch(f"{server.url}/net-01234567.pth")
    assert [path.suffix for path in sorted((tmp_path / "home" / "cache").iterdir())] == [".pth", ".json"]


def test_where_hashes_are_expected():
    assert download.expected_hash("https://download.pytorch.org/models/resnet50-0676ba61.pth") == "0676ba61"
    assert download.expected_hash("https://elsewhere.org/net-20230101.pth") == ""


def test_hub_names_and_mirrors(monkeypatch):
    cfg = SimpleNamespace(arch="resnet50", tag="a1_in1k", hf_hub_id="timm/", url="https://x.org/r.pth")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    path = "/timm/resnet50.a1_in1k/resolve/main/model.safetensors"
    assert source.hub_urls(cfg) == [f"https://huggingface.co{path}", "https://x.org/r.pth"]
    monkeypatch.setenv("HF_ENDPOINT", "https://hf-mirror.com/")
    assert source.hub_urls(cfg)[0] == f"https://hf-mirror.com{path}"


def test_an_unreachable_hub_names_the_ways_out(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    cfg = SimpleNamespace(arch="resnet50", tag="a1_in1k", hf_hub_id="timm/resnet50.a1_in1k", url="")
    with pytest.raises(Unavailable) as error:
        source.read("hub", cfg=cfg)
    for word in (server.url, "convert_weights.py backbone --checkpoint FILE", "HF_ENDPOINT", "pretrained: PATH"):
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.fixture
def weights():
    """A resnet18 to be served, and nothing that could read it through torch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torch", None)
        yield create_model("resnet18", zero_init_last=False)


def write_safetensors(path, tensors):
    """The format by hand: header's length, header, numbers."""
    header, end = {}, 0
    for name, value in tensors.items():
        kind = {"float32": "F32", "int64": "I64"}[str(value.dtype)]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [end, end + value.nbytes]}
        end += value.nbytes
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(value.tobytes() for value in tensors.values()))


def as_torch(resnet):
    """Its weights in torch's names and layout, written down without the rules under test."""
    def name_of(name):
        return name.replace("._mean", ".running_mean").replace("._variance", ".running_var")
    tensors = {name_of(name): value.numpy() for name, value in resnet.state_dict().items()}
    turned = np.ascontiguousarray(tensors["fc.weight"].T)
    return {**tensors, "fc.weight": turned, "bn1.num_batches_tracked": np.array(5)}


def assert_same(layer, other):
    for name, value in layer.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), other[name].numpy())


def test_pretrained_true_loads_from_the_hub(server, monkeypatch, weights):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    hub_id = weights.pretrained_cfg.hf_hub_id
    write_safetensors(server.folder / hub_id / "resolve" / "main" / "model.safetensors", as_torch(weights))
    net = create_model("resnet18", pretrained=True)
    assert_same(net, weights.state_dict())
    assert net.load_report.source == f"{server.url}/{hub_id}/resolve/main/model.safetensors"
    assert net.load_report.meta["tag"] == weights.pretrained_cfg.tag != ""
    assert_same(create_model("resnet18", pretrained=True), weights.state_dict())
    assert len(server.paths) == 1


@pytest.mark.parametrize("query", ["", "?token=1"])
def test_pretrained_url_fills_a_detectors_backbone(server, weights, query):
    paddle.save(weights.state_dict(), str(server.folder / "mine.pdparams"))
    url = f"{server.url}/mine.pdparams{query}"
    backbone = registry.build({"name": "TimmBackbone", "arch": "resnet18", "pretrained": url})
    assert backbone.weights_source == url.replace("=1", "=***") and len(server.paths) == 1
    assert_same(backbone.model, weights.state_dict())
