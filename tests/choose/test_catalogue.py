# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The catalogue: every name, as published, as the package has it; written and read back; answered without Paddle."""
import csv
import dataclasses
import subprocess
import sys

import pytest
from support.paths import REPO
from support.published_costs import PUBLISHED, TOLERANCE

from ppdet_ext.backbones import list_models
from ppdet_ext.choose import catalogue, catalogue_table, kinds
from ppdet_ext.choose.catalogue import Row, Weights
from ppdet_ext.cli import compare_backbones
from ppdet_ext.errors import UserError
from ppdet_ext.trace import on_demand

ROW = catalogue.find("resnet50")


def test_every_name_that_was_held_against_its_original_is_there():
    with open(REPO / "docs" / "bridge" / "sweep.csv", encoding="utf-8") as file:
        assert sorted(catalogue.load()) == sorted(row["name"] for row in csv.DictReader(file))
    assert catalogue.FILE.stat().st_size < 500_000


@pytest.mark.parametrize("name", PUBLISHED)
def test_operations_and_parameters_are_those_published(name):
    side, gmacs, parameters = PUBLISHED[name]
    row = catalogue.find(name)
    # networks that are tested at a larger size than these figures are for: convolutions grow with the area
    assert row.own_gmacs * (side / row.own_side) ** 2 == pytest.approx(gmacs, rel=TOLERANCE)
    assert row.parameters == pytest.approx(parameters, rel=1e-3)


def test_what_is_native_or_shipped_is_what_the_package_has():
    found = {how: {row.name for row in catalogue.rows() if row.how == how} for how in ("native", "shipped")}
    assert found["native"] == set(list_models()) & set(catalogue.load())
    assert found["shipped"] == set(on_demand.shipped()) - found["native"]


def test_rows_are_whole():
    for row in catalogue.rows():
        assert row.kind in kinds.KINDS and len(row.channels) == len(row.strides) > 0
        assert row.gmacs > 0 and row.backbone_parameters > 0
        # some have weights for each place of the image
        assert row.needs_size or row.backbone_parameters <= row.parameters * 1.1
        assert sum(row.shares.values()) == pytest.approx(1, abs=0.02)


def test_resnet50():
    assert ROW.how == "native" and ROW.kind == "bottleneck" and ROW.strides_fit
    assert ROW.taken == ((8, 512), (16, 1024), (32, 2048))
    assert ROW.best() == ROW.weights[0] == Weights("a1_in1k", "apache-2.0", 81.24, 288)


def test_a_row_that_is_written_is_read_back(tmp_path, monkeypatch):
    odd = dataclasses.replace(ROW, name="odd", own_gmacs=None, kept_mb=None, needs_size=True, strides=(16, 16, 45.71),
                              channels=(8, 8, 8), weights=(Weights("", ""), Weights("a", "mit", 71.25, 224)))
    catalogue.write(tmp_path / "catalogue.csv", [odd], ["from here", "and there"])
    monkeypatch.setattr(catalogue, "FILE", tmp_path / "catalogue.csv")
    assert catalogue.load.__wrapped__() == {"odd": odd}
    assert catalogue.sources() == ["from here", "and there"]


@pytest.mark.parametrize("text", ["", "name,family\nresnet50,resnet\n"])
def test_a_damaged_file_is_one_line(text, tmp_path, monkeypatch):
    path = tmp_path / "catalogue.csv"
    monkeypatch.setattr(catalogue, "FILE", path)
    if text:
        path.write_text(text)
    with pytest.raises(UserError, match="cannot be read .*install ppdet-ext again"):
        catalogue.load.__wrapped__()


def test_names_that_are_not_there():
    with pytest.raises(UserError, match="no 'resnet5'.*resnet50"):
        catalogue.find("resnet5")
    with pytest.raises(UserError, match=r"no name in the catalogue is like nosuch\*"):
        catalogue.rows(["nosuch*"])


def test_weights_of_a_licence():
    row = dataclasses.replace(ROW, weights=(Weights("a", "cc-by-nc-4.0", 60.0), Weights("b", "mit", 70.0),
                                            Weights("c", "mit", 80.0)))
    assert [row.best(one).tag for one in ("", "cc*", "mit")] == ["a", "a", "c"]
    assert row.best("apache-2.0") is None


def test_the_table_of_a_filter(capsys):
    words = ["--catalogue", "--filter", "resnet1?", "--arch", "vit_tiny_patch16_224.augreg_in21k"]
    found = compare_backbones.main(words)
    out = capsys.readouterr().out.splitlines()
    names = [row["name"] for row in found]
    assert "resnet18" in names and "vit_tiny_patch16_224" in names
    assert [line.split()[0] for line in out[1:len(names) + 1]] == names
    assert out[0].split()[:3] == ["name", "how", "kind"] and f"{len(names)} of {len(catalogue.load())} names." in out
    assert catalogue_table.short([768] * 12) == "768x12"


def test_it_answers_without_paddle_torch_or_numpy():
    code = ("import sys; from ppdet_ext.cli import compare_backbones, suggest_backbone\n"
            "compare_backbones.main(['--catalogue']); suggest_backbone.main(['--like', 'resnet50'])\n"
            "print(sorted({'paddle', 'torch', 'numpy', 'matplotlib', 'rich'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


KINDS = {
    "resnet18": "basic", "resnet50": "bottleneck", "resnext50_32x4d": "grouped", "efficientnet_b0": "mbconv",
    "torchvision/efficientnet_v2_s": "mbconv",
    "convnext_tiny": "convnext", "swin_tiny_patch4_window7_224": "window", "pvt_v2_b1": "pyramid",
    "coatnet_0_224": "hybrid", "vit_base_patch16_224": "vit", "mixer_b16_224": "mlp",
}


def test_kinds_of_well_known_networks():
    assert {name: catalogue.find(name).kind for name in KINDS} == KINDS
    assert set(KINDS.values()) == set(kinds.KINDS)


def test_words_for_classes():
    assert kinds.first_of(kinds.NORMS, ["Conv2d", "ConvNormAct", "BatchNormAct2d", "LayerNorm"]) == "batch"
    assert kinds.first_of(kinds.ACTIVATIONS, ["Conv2d"]) == ""


@pytest.mark.slow
@pytest.mark.torch
def test_a_network_that_is_run_again_costs_the_same():
    torch_costs = pytest.importorskip("ppdet_ext.choose.torch_costs")
    found, row = torch_costs.row("torchvision/mobilenet_v3_small"), catalogue.find("torchvision/mobilenet_v3_small")
    for key, value in (("gmacs", row.gmacs), ("gmacs_own", row.own_gmacs), ("saved_mb", row.kept_mb),
                       ("peak_mb", row.peak_mb), ("backbone_parameters", row.backbone_parameters)):
        assert found[key] == pytest.approx(value, rel=1e-3)
    assert tuple(found["channels"]) == row.channels and tuple(found["strides"]) == row.strides


def test_rows_are_dataclasses_of_plain_values():
    assert {type(value) for value in dataclasses.asdict(ROW).values()} <= {str, int, float, bool, tuple, dict}
    assert isinstance(ROW, Row)
