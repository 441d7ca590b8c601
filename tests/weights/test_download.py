# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Downloads, against a server on this machine: mirrors, hashes, cut transfers, the cache."""
import contextlib
import errno
import functools
import hashlib
import http.server
import json
import os
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
from ppdet_ext.errors import UserError, masked
from ppdet_ext.files import sha256
from ppdet_ext.weights import download, source, verified_file
from ppdet_ext.weights.download import Unavailable

pytestmark = pytest.mark.net


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and counts; ``/cut/...`` announces more than it sends, ``/chunk/...`` breaks off in a piece,
    ``/busy/...`` is busy, ``/moved/...`` sends on to http, ``/slow/...`` sends a byte now and then.

    ``more`` are headers of all answers; without ``announce`` the length is not among them.
    """
    more: dict = {}
    announce = True

    def do_GET(self):
        self.server.paths.append(self.path)
        kind = self.path.split("/")[1]
        if kind == "busy":
            return self.send_error(503)
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/w.pth")
            return self.end_headers()
        if kind == "slow":
            return self.slowly(b"HTTP/1.1 200 OK\r\n" + (b"\r\n" if self.path.endswith("body") else b"X-Header: "))
        if kind not in ("cut", "chunk"):
            return super().do_GET()
        self.send_response(200)
        self.send_header(*(("Content-Length", "1000") if kind == "cut" else ("Transfer-Encoding", "chunked")))
        self.end_headers()
        self.wfile.write(b"half" if kind == "cut" else b"8\r\nhalf")

    protocol_version = "HTTP/1.1"
    timeout = 1

    def slowly(self, start):
        self.wfile.write(start)
        with contextlib.suppress(OSError):  # the client left
            while not self.server.over.wait(0.05):
                self.wfile.write(b"x")

    def send_header(self, name, value):
        if self.announce or name != "Content-Length":
            super().send_header(name, value)

    def end_headers(self):
        for name, value in (*self.more.items(), ("Connection", "close")):
            self.send_header(name, value)
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
        running.paths, running.folder, running.over = [], folder, threading.Event()
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield running
        running.over.set()
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


def test_where_hashes_are_known():
    """The manifest has the digits of each file whose authors write them into its name, and no others."""
    from ppdet_ext.backbones import manifest
    cfgs = [cfg for arch in manifest._manifest()[1] for cfg in manifest.manifest_cfgs(arch).values()]
    assert sum(bool(cfg.sha256) for cfg in cfgs) == 128
    for cfg in cfgs:
        assert cfg.sha256 == download.expected_hash(cfg.url)


def test_a_known_sha256_is_compared(server):
    (server.folder / "w.pth").write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    cfg = SimpleNamespace(arch="net", tag="", hf_hub_id="", url=f"{server.url}/w.pth", sha256="0123456789")
    with pytest.raises(UserError, match=rf"sha256 is {right[:12]}\.\.\., not 0123456789"):
        source.locate_spec("hub", cfg=cfg)
    cfg.sha256 = right[:8]
    assert source.locate_spec("hub", cfg=cfg).path.read_bytes() == b"weights"
    cfg.sha256 = "0123456789"  # also of what is there already
    with pytest.raises(UserError, match="not 0123456789"):
        source.locate_spec("hub", cfg=cfg)


def test_what_the_hub_announces_is_compared(server, monkeypatch):
    (server.folder / "w.pth").write_bytes(b"weights")
    monkeypatch.setattr(Handler, "more", {download.ANNOUNCED: '"' + "0" * 64 + '"'})
    with pytest.raises(UserError, match="not 000000000000"):
        download.fetch(f"{server.url}/w.pth")
    monkeypatch.setattr(Handler, "more", {download.ANNOUNCED: '"' + hashlib.sha256(b"weights").hexdigest() + '"'})
    assert download.fetch(f"{server.url}/w.pth").exists()


def test_a_hit_is_verified_and_cheaply(server, monkeypatch):
    (server.folder / "w.pth").write_bytes(b"weights")
    path = download.fetch(f"{server.url}/w.pth")
    computed = []
    monkeypatch.setattr(verified_file, "sha256", lambda path: computed.append(path) or sha256(path))
    assert download.fetch(f"{server.url}/w.pth") == path and not computed
    os.utime(path, (1, 1))
    assert download.fetch(f"{server.url}/w.pth") == path == download.fetch(f"{server.url}/w.pth")
    assert computed == [path]  # once, and noted again
    path.write_bytes(b"others!")
    with pytest.raises(UserError, match="changed after it was downloaded.*delete it to get it again"):
        download.fetch(f"{server.url}/w.pth")
    path.unlink()
    assert download.fetch(f"{server.url}/w.pth").read_bytes() == b"weights" and len(server.paths) == 2


def test_names_in_the_cache_tell_addresses_apart():
    urls = ("https://x.org/a/b.pth", "https://x.org/a--b.pth", "http://x.org/a/b.pth", "https://y.org/a/b.pth",
            "https://x.org:8/a/b.pth", "https://x.org_8/a/b.pth", "https://me@x.org/a/b.pth", "https://x.org/a/b.pth?c=1",
            "https://x.org/A/b.pth")
    assert len({download.cache_name(url) for url in urls}) == len(urls)
    assert download.cache_name("https://me:a@x.org/b.pth") == download.cache_name("https://me:b@X.org/b.pth#top")


def test_a_file_of_an_older_version_is_used_where_it_is_sure(server, tmp_path, caplog, monkeypatch):
    (server.folder / "w.pth").write_bytes(b"weights")
    old = tmp_path / "home" / "cache" / f"127.0.0.1_{server.server_port}--w.pth"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    assert download.fetch(f"{server.url}/w.pth", digest=hashlib.sha256(b"old").hexdigest()[:8]) == old
    assert not caplog.messages and not server.paths
    path = download.fetch(f"{server.url}/w.pth")
    assert path.read_bytes() == b"weights" and old.read_bytes() == b"old"
    assert [f"rename it to '{path.name}'" in line for line in caplog.messages] == [True, False]


@pytest.mark.parametrize("kind", ["Content-Length", "streamed"])
def test_a_file_that_is_too_large(server, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(download, "limit", lambda name: {"DOWNLOAD_GB": 1 / 10**6, "DOWNLOAD_MINUTES": 1}[name])
    (server.folder / "w.pth").write_bytes(bytes(1001))
    monkeypatch.setattr(Handler, "announce", kind == "Content-Length")
    with pytest.raises(Unavailable, match="it has more than .* GB, the limit that PPDET_EXT_MAX_DOWNLOAD_GB sets"):
        download.fetch(f"{server.url}/w.pth")
    assert len(server.paths) == 1 and not list((tmp_path / "home" / "cache").iterdir())
    (server.folder / "w.pth").write_bytes(bytes(1000))
    assert download.fetch(f"{server.url}/w.pth").stat().st_size == 1000


def test_a_file_that_says_it_is_too_large_is_not_begun(server, monkeypatch):
    """This one would break off."""
    monkeypatch.setattr(download, "limit", lambda name: {"DOWNLOAD_GB": 0.9 / 10**6, "DOWNLOAD_MINUTES": 1}[name])
    with pytest.raises(Unavailable, match="it has more than"):
        download.fetch(f"{server.url}/cut/w.pth")


@pytest.mark.parametrize("where", ["headers", "body"])
def test_a_server_that_never_ends(server, tmp_path, monkeypatch, where):
    """A byte now and then keeps each single wait short."""
    monkeypatch.setattr(download, "limit", lambda name: {"DOWNLOAD_GB": 1, "DOWNLOAD_MINUTES": 1 / 200}[name])
    with pytest.raises(Unavailable, match="took more than .* minutes, the limit that PPDET_EXT_MAX_DOWNLOAD_MINUTES"):
        download.fetch(f"{server.url}/slow/{where}")
    assert not list((tmp_path / "home" / "cache").iterdir())


@pytest.mark.parametrize("named", ["", "other.org", "27.0.0.1"])
def test_http_is_for_hosts_that_are_named(server, monkeypatch, named):
    (server.folder / "w.pth").write_bytes(b"weights")
    monkeypatch.setenv("PPDET_EXT_HTTP_HOSTS", named)
    with pytest.raises(Unavailable, match="http is not encrypted.*PPDET_EXT_HTTP_HOSTS=127.0.0.1"):
        download.fetch(f"{server.url}/w.pth")
    assert not server.paths


def test_a_server_that_sends_on_to_http_is_not_followed(server):
    with pytest.raises(Unavailable, match="http is not encrypted.*PPDET_EXT_HTTP_HOSTS=localhost"):
        download.fetch(f"{server.url}/moved/w.pth")
    assert server.paths == ["/moved/w.pth"]


@pytest.mark.parametrize("text, shown", [
    ("get https://me:pa@ss@x.org/w.pth now", "get https://***@x.org/w.pth now"),
    ("'https://x.org/w.pth?v=1&X-Amz-Signature=abc&token=d'", "'https://x.org/w.pth?v=1&X-Amz-Signature=***&token=***'"),
    ("https://x.org/a@b/w.pth?v=1 me@y.org", "https://x.org/a@b/w.pth?v=1 me@y.org"),
    ("a ?token=1 elsewhere", "a ?token=1 elsewhere"),
])
def test_passwords_are_masked(text, shown):
    assert masked(text) == str(UserError(text)) == shown


def test_passwords_are_in_no_message_and_no_metadata(server, monkeypatch, weights, caplog, capfd):
    caplog.set_level("DEBUG")
    host = server.url.rpartition("/")[2]
    paddle.save(weights.state_dict(), str(server.folder / "mine.pdparams"))
    location = source.locate_spec(f"http://me:secret@{host}/mine.pdparams?token=secret")
    assert location.source == f"http://***@{host}/mine.pdparams?token=***" and "secret" not in location.path.name
    monkeypatch.setenv("HF_ENDPOINT", f"http://me:secret@{host}")
    for spec in (f"http://me:secret@{host}/none.pth", "hub", f"http://me:secret@{host}:x/w.pth"):
        with pytest.raises(Unavailable) as error:
            source.read(spec, cfg=SimpleNamespace(arch="net", tag="", hf_hub_id="timm/net", url=""))
        assert "secret" not in str(error.value)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("ppdet")]
    assert ours and "secret" not in "".join([*ours, *capfd.readouterr()])


def fill(folder):
    """Writing to files under ``folder`` fails as on a full disk."""
    real = download.atomic_path

    @contextlib.contextmanager
    def atomic_path(path):
        if str(path).startswith(str(folder)):
            raise OSError(errno.ENOSPC, "No space left on device")
        with real(path) as temporary:
            yield temporary
    return atomic_path


def test_a_full_disk_is_a_warning(server, tmp_path, monkeypatch, caplog):
    (server.folder / "w.pth").write_bytes(b"weights")
    monkeypatch.setattr(download, "_lent", [])
    monkeypatch.setattr(download, "atomic_path", fill(tmp_path / "home"))
    path = download.fetch(f"{server.url}/w.pth")
    assert path.read_bytes() == b"weights" and tmp_path / "home" not in path.parents
    assert [line for line in caplog.messages if "No space left" in line and "until this process ends" in line]
    assert download.fetch(f"{server.url}/w.pth") == path and len(server.paths) == 1


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
