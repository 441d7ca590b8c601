# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""suggest_backbone: the nearest first, limits, reasons, YAML that builds; trials and what is made of them."""
import dataclasses
import json
import math

import pytest
import yaml

from ppdet_ext.choose import catalogue, short_runs, suggest, trials
from ppdet_ext.choose.catalogue import Weights
from ppdet_ext.choose.suggest import Limits
from ppdet_ext.cli import suggest_backbone
from ppdet_ext.errors import UserError

LIKE = catalogue.find("resnet50")


def changed(**values):
    return dataclasses.replace(LIKE, name="other", family="other", **values)


# ---------------------------------------------------------------- distance
def test_a_network_is_at_no_distance_from_itself():
    assert suggest.distance(LIKE, LIKE) == 0


@pytest.mark.parametrize("name, values", [
    ("strides", {"strides": (2, 4, 4, 8, 16)}), ("channels", {"channels": (64, 256, 256, 512, 1024)}),
    ("stages", {"strides": (4, 4, 8, 16, 32)}), ("kind", {"kind": "vit"}), ("operations", {"shares": {"conv": 1.0}}),
    ("norm", {"norm": "layer"}), ("activation", {"activation": "gelu"}), ("cost", {"gmacs": 2 * LIKE.gmacs}),
])
def test_each_difference_counts_by_itself(name, values):
    found = suggest.differences(changed(**values), LIKE)
    assert found.pop(name) > 0
    assert name == "strides" or not any(value for key, value in found.items() if key not in ("cost", "stages"))
    assert suggest.distance(changed(**values), LIKE) > 0


def test_half_the_channels_is_one_doubling():
    row = changed(channels=tuple(count // 2 for count in LIKE.channels))
    assert suggest.differences(row, LIKE)["channels"] == pytest.approx(1)


# ---------------------------------------------------------------- suggestions
@pytest.fixture
def five(monkeypatch):
    """A catalogue of resnet50 and four others."""
    rows = {"resnet50": LIKE, "near": changed(), "slow": changed(gmacs=3 * LIKE.gmacs), "vit": changed(kind="vit"),
            "heavy": changed(kept_mb=9000.0)}
    rows = {name: dataclasses.replace(row, name=name, weights=(Weights("t", "apache-2.0", 80.0),))
            for name, row in rows.items()}
    others = (Weights("x", "mit"), Weights("y", "bsd", 1.0))
    rows["vit"] = dataclasses.replace(rows["vit"], how="bridged", weights=others)
    monkeypatch.setattr(catalogue, "load", lambda: rows)
    return rows


def names(*args, **kwargs):
    return [one.arch for one in suggest.suggest("resnet50", *args, **kwargs)]


def test_the_nearest_come_first_and_no_more_than_two_of_a_family(five, monkeypatch):
    assert names() == ["near", "slow"]
    monkeypatch.setattr(suggest, "PER_FAMILY", 9)
    distances = [one.distance for one in suggest.suggest("resnet50")]
    assert distances == sorted(distances) and len(distances) == 4 and names(count=3) == names()[:3]


@pytest.mark.parametrize("limits, out", [
    (Limits(latency=1.2), {"slow", "heavy"}), (Limits(memory=20), {"heavy"}), (Limits(memory=20, batch=1), set()),
    (Limits(licence="apache*"), {"vit"}), (Limits(without_torch=True), {"vit"}),
])
def test_limits(limits, out, five, monkeypatch):
    monkeypatch.setattr(suggest, "PER_FAMILY", 9)
    assert {"near", "slow", "vit", "heavy"} - set(names(limits)) == out


def test_one_of_each_kind_leaves_the_kind_that_is_there(five):
    assert names(each_kind=True) == ["vit"]


def test_weights_of_a_licence_are_named_with_their_tag(five):
    assert names(Limits(licence="bsd")) == ["vit.y"]


@pytest.mark.parametrize("limits, words", [
    (Limits(licence="gpl*"), "no weights have the licence 'gpl.*there are apache-2.0"),
    (Limits(memory=1), "takes at least .* GB at batch 4; give more --max-memory"),
    (Limits(latency=0.1), "the quickest network takes 1.00x the time of resnet50"),
    (Limits(licence="mit", without_torch=True), "together none"),
])
def test_nothing_within_the_limits_says_what_to_loosen(limits, words, five):
    with pytest.raises(UserError, match=words):
        names(limits)


def test_reasons_are_words():
    other = changed(channels=(96, 192, 384, 768), strides=(4, 8, 16, 32), kind="window", norm="layer",
                    gmacs=1.5 * LIKE.gmacs)
    text = "; ".join(suggest.reasons(other, LIKE, Weights("x", "", LIKE.best().top1 + 1)))
    for words in ("the same strides 8 16 32", "channels 192 384 768", "attention in windows, in stages instead of",
                  "layer norm instead of batch norm", "1.50x operations", "equal weights", "(+1.0)"):
        assert words in text
    flat = changed(strides=(16,) * 12, channels=(768,) * 12)
    assert "strides 16 16 16, not 8 16 32: an adapter makes them" in suggest.reasons(flat, LIKE, Weights("x"))


@pytest.mark.parametrize("name", ["resnet18", "torchvision/vit_b_16", "vit_tiny_patch16_224"])
def test_the_yaml_to_paste(name):
    row = catalogue.find(name)
    text = suggest.Suggestion(row, row.weights[0], 0.0, ()).section()
    kind = "TorchvisionBackbone" if "/" in name else "TimmBackbone"
    section = {"arch": name.rpartition("/")[2], "lr_mult_list": None, "pretrained": True}
    if not row.strides_fit:
        section["adapter"] = "auto"
    if row.needs_size:
        section["img_size"] = [640, 640]
    assert yaml.safe_load(text) == {"DETR": {"backbone": kind}, kind: section}
    assert (name == "torchvision/vit_b_16") == row.needs_size


def test_the_command_prints_names_reasons_and_yaml(capsys):
    found = suggest_backbone.main(["--like", "resnet50", "--max-latency", "1.2x", "--max-memory", "8GB", "--licence",
                                   "apache-2.0", "--count", "3"])
    out = capsys.readouterr().out
    assert len(found) == 3
    for place, one in enumerate(found, 1):
        assert f"{place}. {one.arch} " in out and f"     arch: {one.arch}\n" in out and one.reasons[0] in out
        assert one.weights.licence == "apache-2.0" and one.row.milliseconds <= 1.2 * LIKE.milliseconds
        assert one.row.training_gb(4) <= 8
    assert f"compare_backbones.py --arch resnet50 {found[0].arch}" in out


@pytest.mark.parametrize("words", ["--like resnet50 --max-latency fast", "--like resnet50 --steps 9", "--count 3",
                                   "--like resnet50 --max-memory 8parsecs"])
def test_mistyped_flags_end_with_two(words, capsys):
    with pytest.raises(SystemExit) as left:
        suggest_backbone.main(words.split())
    assert left.value.code == 2 and "error:" in capsys.readouterr().err


# ---------------------------------------------------------------- trials
def result(ap, **values):
    return {"status": "ok", "ap": ap, "curve": [(50, ap / 2), (100, ap)], "start": "random weights", "seconds": 9.0,
            **values}


@pytest.mark.parametrize("aps, chosen, words", [
    ({"resnet50": 0.5, "resnet18": 0.495}, "resnet18", "within one point of the highest (resnet50, 0.500)"),
    ({"resnet50": 0.5, "resnet18": 0.48}, "resnet50", "the highest AP, 0.500"),
    ({"resnet50": 0.009, "resnet18": 0.0}, "resnet18", "AP is below one point for all"),
])
def test_the_cheapest_within_one_point_is_named(aps, chosen, words):
    rows = trials.table({name: result(ap) for name, ap in aps.items()}, "resnet50")
    assert trials.choice(rows)["name"] == chosen and words in trials.verdict(rows)[0]
    assert [row["ap"] for row in rows] == sorted(aps.values(), reverse=True)


def test_a_training_that_failed_is_last_and_says_why(tmp_path):
    failed = {"status": "failed", "reason": "training: no room", "seconds": 1.0}
    rows = trials.table({"resnet18": failed, "resnet50": result(0.3)}, "resnet50")
    paths = trials.write(rows, [("a fact", "说明")], tmp_path)
    assert [path.name for path in paths] == [f"suggest.{one}" for one in ("html", "md", "json", "png")]
    for page in (path.read_text() for path in paths[:2]):
        assert "failed: resnet18: training: no room" in page and "a fact" in page and "Take resnet50" in page
    assert "说明" in paths[0].read_text() and "建议 resnet50" in paths[0].read_text()
    assert [row["name"] for row in json.loads(paths[2].read_text())["rows"]] == ["resnet50", "resnet18"]
    assert paths[3].read_bytes().startswith(b"\x89PNG")
    assert trials.choice([row for row in rows if row["status"] == "failed"]) is None


def test_the_few_best_and_the_network_itself_are_tried(tmp_path, monkeypatch, capsys):
    asked = {}

    def train(names, runs):
        asked.update(names=names, runs=runs)
        return {name: result(0.1 * place) for place, name in enumerate(names, 1)}
    monkeypatch.setattr(short_runs, "train", train)
    suggest_backbone.main(["--like", "resnet18", "--count", "2", "--data", "sample", "--steps", "40", "--output",
                           str(tmp_path), "--device", "cpu"])
    assert asked["names"][0] == "resnet18" and len(asked["names"]) == 3
    assert asked["runs"].data is None and asked["runs"].steps == 40 and asked["runs"].folder == tmp_path / "train"
    out = capsys.readouterr().out
    assert "Take" in out and str(tmp_path / "suggest.png") in out


def test_latency_is_relative_and_finite():
    assert all(0 < row.milliseconds < math.inf for row in catalogue.rows())
