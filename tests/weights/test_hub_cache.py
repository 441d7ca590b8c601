# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The Hugging Face cache of a machine: found by a hub's name and by ``pretrained: true``, without the network."""
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from ppdet_ext.backbones import find_entry, recognise
from ppdet_ext.data import known_normalization
from ppdet_ext.errors import UserError
from ppdet_ext.weights import hub_cache, pretrained_weights, source
from ppdet_ext.weights.download import Unavailable

NAME, COMMIT = "timm/resnet18.a1_in1k", "a" * 40
CONFIG = {"architecture": "resnet18", "pretrained_cfg": {"tag": "a1_in1k", "mean": [0.5] * 3, "std": [0.25] * 3}}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """As huggingface_hub leaves it: files under their digests, links to them in a snapshot. No network."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT", *hub_cache.OFFLINE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("PPDET_EXT_HOME", str(tmp_path / "home"))

    def no_network(url, *_args, **_settings):
        raise Unavailable(f"asked for {url}")
    monkeypatch.setattr(source, "fetch", no_network)
    return write(tmp_path / "hf" / "hub" / "models--timm--resnet18.a1_in1k")


def write(folder, commit=COMMIT, value=1.0):
    (folder / "refs").mkdir(parents=True, exist_ok=True)
    (folder / "blobs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True)
    save_file({"w": np.full(3, value, "float32")}, str(folder / "blobs" / f"b{commit}"))
    (folder / "blobs" / "c").write_text(json.dumps(CONFIG))
    for name, blob in (("model.safetensors", f"b{commit}"), ("config.json", "c")):
        os.symlink(f"../../blobs/{blob}", snapshot / name)
    return folder


@pytest.mark.parametrize("spec", [f"hf-hub:{NAME}", f"hf_hub:{NAME}", f"hf-hub:{NAME}@main", f"hf-hub:{NAME}@{COMMIT}"])
def test_a_hubs_name(cache, spec):
    found = source.read(spec)
    np.testing.assert_array_equal(found.state["w"], np.ones(3, "float32"))
    assert found.meta["mean"] == [0.5] * 3 and found.meta["tag"] == "a1_in1k"
    cfg = recognise(spec, find_entry("resnet18").pretrained_cfgs.values())
    assert "@" in spec or cfg.tag == "a1_in1k"


@pytest.mark.parametrize("spec", ["{}", "local-dir:{}", "{}/snapshots/" + COMMIT,
                                  "{}/snapshots/" + COMMIT + "/model.safetensors"])
def test_its_folders_and_links(cache, spec):
    found = source.read(spec.format(cache))
    assert list(found.state) == ["w"] and found.meta["mean"] == [0.5] * 3


@pytest.mark.parametrize("offline", ["", "1"])
def test_pretrained_true_takes_it(cache, monkeypatch, offline):
    monkeypatch.setenv("HF_HUB_OFFLINE", offline)
    cfg = SimpleNamespace(arch="resnet18", tag="a1_in1k", hf_hub_id="timm/", url="", mean=[0.1] * 3)
    found = pretrained_weights.find(cfg, True)
    assert found.path.is_relative_to(cache) and found.meta["mean"] == [0.5] * 3 and found.source == f"hf-hub:{NAME}"


@pytest.mark.parametrize("variable, place", [("HF_HUB_CACHE", "hub"), ("XDG_CACHE_HOME", "")])
def test_where_it_may_lie(cache, tmp_path, monkeypatch, variable, place):
    other = tmp_path / "other"
    (other / "huggingface").mkdir(parents=True)
    (tmp_path / "hf" / "hub").rename(other / (place or "huggingface/hub"))
    assert hub_cache.snapshot(NAME) is None
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv(variable, str(other / place))
    assert hub_cache.snapshot(NAME).is_dir()


@pytest.mark.parametrize("variable", hub_cache.OFFLINE)
def test_what_it_lacks_is_not_asked_for_offline(cache, monkeypatch, variable):
    with pytest.raises(Unavailable, match="asked for https://huggingface.co/timm/other/resolve/main/model.safetensors"):
        source.read("hf-hub:timm/other")
    monkeypatch.setenv(variable, "TRUE")
    cfg = SimpleNamespace(arch="net", tag="", hf_hub_id="timm/other", url="")
    for spec in ("hf-hub:timm/other", "hub"):
        with pytest.raises(Unavailable, match=f"timm/other is not in the Hugging Face cache '.*hub', and {variable}"):
            source.read(spec, cfg=cfg)


def test_a_repository_that_is_not_here_is_downloaded_with_its_config(cache, monkeypatch, tmp_path):
    served = {"pytorch_model.bin": None, "config.json": tmp_path / "c.json"}
    served["config.json"].write_text(json.dumps(CONFIG))
    asked = []

    def fetch(url):
        asked.append(url)
        path = served.get(url.rpartition("/")[2])
        if path is None and url.endswith("model.safetensors"):
            raise Unavailable("404")
        return path or tmp_path / "x.bin"
    monkeypatch.setattr(source, "fetch", fetch)
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.org/")
    found = source.locate_spec("hf-hub:timm/other@v1")
    assert found.path == tmp_path / "x.bin" and found.meta["std"] == [0.25] * 3
    assert asked == [f"https://mirror.org/timm/other/resolve/v1/{name}"
                     for name in ("model.safetensors", "pytorch_model.bin", "config.json")]
    served["config.json"].write_text("{")
    assert source.locate_spec("hf-hub:timm/other").meta == {}


@pytest.mark.parametrize("spec", ["hf-hub:resnet18", "hf-hub:../../etc/x", "hf-hub:a/b/c", "hf-hub:a/b@../x",
                                  "hf-hub:"])
def test_what_is_no_repository(cache, spec):
    with pytest.raises(UserError, match="write hf-hub:OWNER/NAME"):
        source.read(spec)


@pytest.mark.parametrize("commit", ["../../../elsewhere", "", ".", "..", "x" * 300])
def test_a_reference_that_names_no_snapshot(cache, tmp_path, commit):
    (tmp_path / "elsewhere").mkdir()
    save_file({"evil": np.ones(1, "float32")}, str(tmp_path / "elsewhere" / "model.safetensors"))
    (cache / "refs" / "main").write_text(commit)
    assert list(source.read(f"hf-hub:{NAME}").state) == ["w"]  # the only snapshot there
    write(cache, "b" * 40)
    (cache / "refs" / "main").write_text(commit)
    assert hub_cache.snapshot(NAME) is None


def test_the_newest_of_several_snapshots(cache):
    write(cache, "b" * 40, value=2.0)
    assert source.read(f"hf-hub:{NAME}").state["w"][0] == 2
    assert source.read(f"hf-hub:{NAME}@{COMMIT}").state["w"][0] == 1


def test_normalisation_downloads_nothing(cache):
    """A config's check must not fetch weights that evaluation does without."""
    known = SimpleNamespace(mean=[0.1] * 3, std=[0.1] * 3)
    assert known_normalization._file_metadata(f"hf-hub:{NAME}", known)[1]["mean"] == [0.5] * 3
    assert known_normalization._file_metadata("hf-hub:timm/other", known) == ("hf-hub:timm/other", {})
