# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Downloads, against a server on this machine: mirrors, hashes, cut transfers, the cache."""
import functools
import hashlib
import http.server
import threading
from types import SimpleNamespace

import pytest

from ppdet_ext.bridge import download, source
from ppdet_ext.bridge.download import Unavailable
from ppdet_ext.errors import UserError


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and counts; ``/cut/...`` announces more than it sends."""

    def do_GET(self):
        self.server.paths.append(self.path)
        if not self.path.startswith("/cut/"):
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("PPDET_EXT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
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
    first = download.fetch(f"{server.url}/w.pth?download=true")
    assert first.read_bytes() == b"weights" and first.parent == tmp_path / "home" / "cache"
    assert download.fetch(f"{server.url}/w.pth") == first and len(server.paths) == 1


@pytest.mark.parametrize("path, reason", [("cut/w.pth", "broke off after 4 of 1000"), ("none.pth", "HTTP 404")])
def test_failures_are_tried_twice_named_and_leave_nothing(server, tmp_path, path, reason):
    with pytest.raises(Unavailable, match=f"{server.url}/{path}.*{reason}"):
        download.fetch(f"{server.url}/{path}")
    assert len(server.paths) == 2 and not list((tmp_path / "home" / "cache").iterdir())


def test_the_hash_in_the_file_name_is_checked(server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "HASHED", (server.url,))
    good = hashlib.sha256(b"weights").hexdigest()[:8]
    for name in (f"net-{good}.pth", "net-01234567.pth"):
        (server.folder / name).write_bytes(b"weights")
    assert download.fetch(f"{server.url}/net-{good}.pth").exists()
    with pytest.raises(UserError, match="not 01234567"):
        download.fetch(f"{server.url}/net-01234567.pth")
    assert len(list((tmp_path / "home" / "cache").iterdir())) == 1


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
    for word in (server.url, "convert_weights.py --checkpoint FILE", "HF_ENDPOINT", "pretrained: PATH"):
        assert word in str(error.value)
    assert "\n" not in str(error.value)
