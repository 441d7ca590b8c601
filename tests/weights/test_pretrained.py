# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""load_pretrained: what each value of ``pretrained:`` does, the cache, other input channels, metadata."""
import errno
import logging
import tracemalloc
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle import nn

from ppdet_ext.errors import UserError
from ppdet_ext.weights import metadata, pretrained_weights, verified_file, writers
from ppdet_ext.weights.pretrained_weights import load_pretrained
from ppdet_ext.weights.readers import read_file
from ppdet_ext.weights.writers import write_paddle

SIDECAR = {"arch": "tiny", "tag": "", "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "license": "mit"}


class Tiny(nn.Layer):
    def __init__(self, in_chans=3, head=True):
        super().__init__()
        self.stem = nn.Conv2D(in_chans, 4, 3, bias_attr=False)
        self.bn = nn.BatchNorm2D(4)
        self.unused_prefixes = () if head else ("fc.",)
        if head:
            self.fc = nn.Linear(4, 4)


@pytest.fixture
def cfg():
    return SimpleNamespace(arch="tiny", tag="a1", hf_hub_id="", url="", first_conv="stem", classifier="fc",
                           license="mit", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
                           interpolation="bicubic", input_size=(3, 32, 32), source="timm")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PPDET_EXT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def source_file(tmp_path):
    """The tiny net's weights as torch lays them out, in a .safetensors file."""
    safetensors = pytest.importorskip("safetensors.numpy", reason="writes a .safetensors file")
    random = np.random.RandomState(0)
    shapes = {"stem.weight": (4, 3, 3, 3), "bn.weight": (4,), "bn.bias": (4,), "bn.running_mean": (4,),
              "bn.running_var": (4,), "fc.weight": (4, 4), "fc.bias": (4,)}
    tensors = {name: random.randn(*shape).astype(np.float32) for name, shape in shapes.items()}
    safetensors.save_file({**tensors, "bn.num_batches_tracked": np.array(9)}, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors", tensors


def test_from_a_file_and_again_from_the_cache(source_file, cfg, home, monkeypatch):
    path, tensors = source_file
    layer = Tiny()
    report = load_pretrained(layer, cfg, str(path))
    np.testing.assert_array_equal(layer.fc.weight.numpy(), tensors["fc.weight"].T)
    np.testing.assert_array_equal(layer.bn._mean.numpy(), tensors["bn.running_mean"])
    assert report.source == str(path) and report.meta["mean"] == [0.485, 0.456, 0.406]
    assert (report.meta["tag"], report.meta["license"]) == ("", "unknown")  # the file did not say
    kept = list((home / "cache").glob("tiny-*.pdparams"))
    assert len(kept) == 1 and report.sha256[:16] in kept[0].name and metadata.read(kept[0])["sha256"] == report.sha256
    monkeypatch.setattr(pretrained_weights, "to_paddle", None)  # not needed again
    again = Tiny()
    assert load_pretrained(again, cfg, str(path)).matched == report.matched
    np.testing.assert_array_equal(again.fc.weight.numpy(), tensors["fc.weight"].T)


def test_converted_weights_that_were_changed_are_made_anew(source_file, cfg, home, caplog):
    path, tensors = source_file
    load_pretrained(Tiny(), cfg, str(path))
    kept, = (home / "cache").glob("tiny-*.pdparams")
    right = kept.read_bytes()
    write_paddle({name: np.zeros_like(value.numpy()) for name, value in Tiny().state_dict().items()}, kept)
    layer = Tiny()
    load_pretrained(layer, cfg, str(path))
    np.testing.assert_array_equal(layer.fc.weight.numpy(), tensors["fc.weight"].T)
    assert "was changed after it was written" in caplog.text and kept.read_bytes() == right
    caplog.set_level("INFO")
    verified_file.SUFFIX, before = ".other", verified_file.SUFFIX
    try:  # as when nothing is noted
        load_pretrained(layer, cfg, str(path))
    finally:
        verified_file.SUFFIX = before
    assert kept.read_bytes() == right and "nothing notes what" in caplog.text


def test_a_full_cache_is_a_warning(source_file, cfg, home, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")
    path, tensors = source_file
    monkeypatch.setattr(writers, "write_paddle", full)
    layer = Tiny()
    load_pretrained(layer, cfg, str(path))
    np.testing.assert_array_equal(layer.fc.weight.numpy(), tensors["fc.weight"].T)
    assert [line.partition("; ")[0] for line in caplog.messages] == \
        [f"converted weights are not kept in '{home / 'cache'}': No space left on device"]
    assert not list((home / "cache").iterdir())


def test_a_headless_net_does_not_spoil_the_cache_for_a_whole_one(source_file, cfg):
    path, tensors = source_file
    report = load_pretrained(Tiny(head=False), cfg, str(path))
    assert set(report.unused) == {"fc.weight", "fc.bias"}
    whole = Tiny()
    load_pretrained(whole, cfg, str(path))
    np.testing.assert_array_equal(whole.fc.weight.numpy(), tensors["fc.weight"].T)


@pytest.mark.torch
@pytest.mark.parametrize("in_chans", [1, 2, 4, 7])
def test_other_input_channels_as_timm_does_it(source_file, cfg, in_chans):
    path, tensors = source_file
    layer = Tiny(in_chans)
    load_pretrained(layer, cfg, str(path), in_chans=in_chans)
    ours, weight = layer.stem.weight.numpy(), tensors["stem.weight"]
    assert ours.shape == (4, in_chans, 3, 3)
    wanted = weight.sum(1) if in_chans == 1 else weight[:, (in_chans - 1) % 3] * 3 / in_chans
    np.testing.assert_allclose(ours[:, -1], wanted, rtol=1e-6)
    timm = pytest.importorskip("timm", reason="timm's own rule")
    torch = pytest.importorskip("torch", reason="timm's own rule")
    theirs = timm.models.adapt_input_conv(in_chans, torch.from_numpy(weight)).numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_false_is_random_and_says_so(cfg):
    report = load_pretrained(Tiny(), cfg, False)
    assert report.source == pretrained_weights.RANDOM and report.matched == ()
    assert report.meta["mean"] == [0.485, 0.456, 0.406]


def test_true_must_be_had(cfg):
    with pytest.raises(UserError, match="tiny.a1.*pretrained: PATH"):
        load_pretrained(Tiny(), cfg, True)


def test_auto_warns_loudly(cfg, caplog, monkeypatch):
    monkeypatch.setattr(pretrained_weights.logger, "propagate", True)
    monkeypatch.setattr(logging.getLogger("ppdet_ext"), "propagate", True)
    with caplog.at_level(logging.WARNING):
        report = load_pretrained(Tiny(), cfg, "auto")
    assert report.source == pretrained_weights.RANDOM and "RANDOM INITIALISATION" in caplog.text


def put_converted(folder, name, filled=3, **about):
    tensors = {key: np.full(value.shape, filled, np.float32) for key, value in Tiny().state_dict().items()}
    writers.write_with_metadata(tensors, {**SIDECAR, **about}, folder / name)


@pytest.mark.parametrize("spec", [True, "auto"])
def test_converted_weights_come_first_and_bring_their_metadata(cfg, home, spec):
    put_converted(home, "tiny.pdparams", source="https://x.org/tiny.pth")
    layer = Tiny()
    report = load_pretrained(layer, cfg, spec)
    assert float(layer.fc.bias[0]) == 3 and report.source == "https://x.org/tiny.pth"
    assert report.meta["mean"] == [0.1, 0.2, 0.3]  # the file's own, not the cfg's


def test_weights_of_another_tag_are_not_taken(cfg, home):
    put_converted(home, "tiny.pdparams", tag="b7")
    with pytest.raises(UserError, match="no hub weights are known for tiny.a1"):
        load_pretrained(Tiny(), cfg, True)
    put_converted(home, "tiny.a1.pdparams", tag="a1")
    assert load_pretrained(Tiny(), cfg, True).meta["tag"] == "a1"


def test_auto_does_not_hide_weights_that_do_not_fit(cfg, home):
    home.mkdir()
    paddle.save({"other.weight": np.zeros(3, np.float32)}, str(home / "tiny.pdparams"))
    with pytest.raises(UserError, match="is not for tiny"):
        load_pretrained(Tiny(), cfg, "auto")


def test_a_checkpoint_that_does_not_fit_is_not_cached(source_file, cfg, home):
    with pytest.raises(UserError, match="unexpected"):
        load_pretrained(nn.Sequential(("stem", nn.Conv2D(3, 4, 3, bias_attr=False)), ("bn", nn.BatchNorm2D(4))), cfg,
                        str(source_file[0]))
    assert not (home / "cache").exists()


@pytest.mark.parametrize("text", ["architecture: DETR\nmean: from_weights\n", "[1, 2]", "a: !Unknown {}", "\x00",
                                  "mean: ["])
def test_another_yaml_file_beside_weights_is_not_their_metadata(source_file, cfg, text, caplog):
    path = source_file[0]
    path.with_suffix(".yml").write_text(text)
    with caplog.at_level(logging.WARNING, logger="ppdet_ext.weights.metadata"):
        report = load_pretrained(Tiny(), cfg, str(path))
    assert report.meta["mean"] == [0.485, 0.456, 0.406] and "architecture" not in report.meta
    with pytest.raises(UserError, match="tiny.yml.*another kind of file"):
        metadata.require_free(path)


@pytest.mark.parametrize("broken", ["weights", "metadata"])
def test_weights_and_metadata_are_written_both_or_neither(home, monkeypatch, broken):
    put_converted(home, "tiny.pdparams")
    before = {path.name: path.read_bytes() for path in home.iterdir()}
    target = (writers, "write_paddle") if broken == "weights" else (metadata, "dump")
    monkeypatch.setattr(*target, lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        put_converted(home, "tiny.pdparams", filled=4, tag="new")
    assert {path.name: path.read_bytes() for path in home.iterdir()} == before


@pytest.mark.torch
@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_one_tensor_at_a_time_is_in_memory(tmp_path, cfg, kind):
    """Reading, filling the layer and writing the cache: numpy's memory, which tracemalloc sees, stays below a third."""
    layer = nn.Sequential(*(nn.Linear(256, 256) for _ in range(48)))
    tensors = {name: value.numpy() for name, value in layer.state_dict().items()}
    path = tmp_path / f"linears.{kind}"
    if kind == "pth":
        torch = pytest.importorskip("torch", reason="writes a .pth file")
        torch.save({name: torch.from_numpy(value) for name, value in tensors.items()}, path)
    else:
        pytest.importorskip("safetensors.numpy", reason="writes a .safetensors file").save_file(tensors, path)
    tracemalloc.start()
    try:
        load_pretrained(layer, cfg, str(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    print(f"peak {peak / path.stat().st_size:.2f} of the file")
    assert peak < path.stat().st_size / 3
    np.testing.assert_array_equal(layer[3].weight.numpy(), tensors["3.weight"].T)


def test_what_is_written_paddle_reads(tmp_path):
    tensors = {"turned": np.arange(6, dtype=np.float32).reshape(2, 3).T, "none": np.empty((0, 2), np.float32),
               "half": np.ones(3, np.float16), "count": np.array(7), "mask": np.array([True, False])}
    writers.write_paddle(tensors, tmp_path / "w.pdparams")
    for read in (paddle.load(str(tmp_path / "w.pdparams"), return_numpy=True), read_file(tmp_path / "w.pdparams")[0]):
        assert list(read) == list(tensors)
        for name, value in tensors.items():
            np.testing.assert_array_equal(read[name], value)
            assert read[name].dtype == value.dtype
