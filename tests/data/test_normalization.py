# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Readers follow the weights' normalisation; other numbers are refused, or warned of where the config says so."""
import copy
import dataclasses
import json

import numpy as np
import pytest
import yaml
from ppdet.data.transform import NormalizeImage

from ppdet_ext.data import normalization
from ppdet_ext.errors import UserError
from ppdet_ext.weights.pretrained_weights import converted_path

IMAGENET = normalization.Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "bicubic", "net.a1")
HALF = normalization.Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear", "lite")
ASK = {"mean": "from_weights", "std": "from_weights"}


def config(norm=ASK, pretrained=True, inline=False, **top):
    backbone = {"arch": "net.a1", "pretrained": pretrained}
    reader = {"sample_transforms": [{"Decode": {}}, {"RandomExpand": {"fill_value": "from_weights"}},
                                    {"Resize": {"interp": "from_weights"}}, {"NormalizeImage": norm}]}
    train = {"sample_transforms": reader["sample_transforms"][:3], "batch_transforms": [{"NormalizeImage": norm}]}
    cfg = {"architecture": "DETR", "DETR": {"backbone": "TimmBackbone"}, "TimmBackbone": backbone,
           "TrainReader": train, "EvalReader": reader, "TestReader": reader, **top}
    if inline:
        cfg["DETR"] = {"backbone": {"name": "TimmBackbone", **backbone}}
        cfg["TimmBackbone"] = {"arch": "other"}
    return copy.deepcopy(cfg)


def use(known):
    return lambda cfg, name, settings: known


@pytest.mark.parametrize("inline", [False, True])
def test_every_reader_is_filled(inline):
    cfg = config(inline=inline)
    asked = []

    def find(cfg, name, settings):
        asked.append((name, settings["arch"], settings["pretrained"]))
        return HALF
    assert normalization.resolve(cfg, find=find) is HALF
    assert asked == [("TimmBackbone", "net.a1", True)]
    for reader, key in (("TrainReader", "batch_transforms"), ("EvalReader", "sample_transforms"),
                        ("TestReader", "sample_transforms")):
        assert cfg[reader][key][-1] == {"NormalizeImage": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    assert cfg["TrainReader"]["sample_transforms"][1:] == [{"RandomExpand": {"fill_value": [127.5] * 3}},
                                                           {"Resize": {"interp": 1}}]
    assert "from_weights" not in yaml.safe_dump(cfg)
    normalization.resolve(cfg, find=use(HALF))  # a second time changes nothing


def test_what_the_weights_file_says_wins():
    cfg = config()
    normalization.resolve(cfg, weights_cfg=HALF, find=use(IMAGENET))
    assert cfg["EvalReader"]["sample_transforms"][-1]["NormalizeImage"]["mean"] == [0.5] * 3


@pytest.mark.parametrize("norm", [
    {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    {},  # ppdet's defaults are ImageNet's
    {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "is_scale": False},
    {**ASK, "is_scale": False},
    {"mean": "from_weights", "std": [0.229, 0.224, 0.225]},
])
def test_equal_ways_to_write_it_pass_and_normalise_alike(norm):
    cfg = config(norm)
    normalization.resolve(cfg, find=use(IMAGENET))
    arguments = cfg["EvalReader"]["sample_transforms"][-1]["NormalizeImage"]
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype("uint8")
    given = NormalizeImage(**arguments).apply({"image": image.copy()})["image"]
    wanted = (image / 255 - np.array(IMAGENET.mean)) / np.array(IMAGENET.std)
    assert np.abs(given - wanted).max() < 1e-4


WRONG = [
    ({"mean": [0.5] * 3, "std": [0.5] * 3}, r"mean \[0.5, 0.5, 0.5\], std \[0.5, 0.5, 0.5\]"),
    ({"mean": [0.0] * 3, "std": [1.0] * 3, "norm_type": "none"}, "norm_type none"),
    ({"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "is_scale": False}, "is_scale: false"),
]


@pytest.mark.parametrize("norm, words", WRONG)
def test_other_numbers_under_pretrained_weights(norm, words):
    with pytest.raises(UserError, match=f"TrainReader normalises with .*{words}.*, but the weights 'net.a1' were "
                                        r"trained with mean \[0.485, 0.456, 0.406\]") as caught:
        normalization.resolve(config(norm), find=use(IMAGENET))
    assert "\n" not in str(caught.value)
    for pretrained in ("auto", "file.pdparams"):
        with pytest.raises(UserError):
            normalization.resolve(config(norm, pretrained), find=use(IMAGENET))
    normalization.resolve(config(norm, pretrained=False), find=use(IMAGENET))


def test_one_reader_without_any():
    cfg = config()
    cfg["EvalReader"]["sample_transforms"].pop()
    with pytest.raises(UserError, match="EvalReader normalises with nothing"):
        normalization.resolve(cfg, find=use(IMAGENET))


def test_a_warning_where_the_config_says_so(log):
    cfg = config(WRONG[0][0], normalization_mismatch="warn")
    normalization.resolve(cfg, find=use(IMAGENET))
    assert log.text.count("NORMALISATION MISMATCH") == 3
    assert cfg["EvalReader"]["sample_transforms"][-1]["NormalizeImage"] == WRONG[0][0], "what was written stays"


def test_from_weights_needs_known_weights():
    with pytest.raises(UserError, match="TrainReader: RandomExpand.fill_value is 'from_weights', but nothing is known "
                                        "of the weights of backbone 'TimmBackbone'; write 'normalization: "):
        normalization.resolve(config(), find=use(None))
    cfg = config({"mean": [0.1] * 3, "std": [1.0] * 3})
    for reader in ("TrainReader", "EvalReader"):  # the last one's list is the TestReader's too
        cfg[reader]["sample_transforms"][1:3] = []
    assert normalization.resolve(cfg, find=use(None)) is None  # explicit numbers of an unknown backbone


def test_the_config_may_say_it_for_weights_that_do_not():
    cfg = config(normalization={"mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0, 1.0]})
    assert normalization.resolve(cfg, find=use(None)).mean == (0.1, 0.2, 0.3)
    assert cfg["TestReader"]["sample_transforms"][-1]["NormalizeImage"]["mean"] == [0.1, 0.2, 0.3]
    with pytest.raises(UserError, match="normalization must be"):
        normalization.resolve(config(normalization={"mean": [0.1]}), find=use(None))


@pytest.mark.parametrize("norm, words", [
    ({**ASK, "norm_type": "none"}, "norm_type: none, which leaves mean and std unused"),
    ({**ASK, "is_scale": "from_weights"}, "NormalizeImage.is_scale cannot be 'from_weights'"),
])
def test_contradictions(norm, words):
    with pytest.raises(UserError, match=words):
        normalization.resolve(config(norm), find=use(IMAGENET))


def real(tmp_path, backbone, name="TimmBackbone"):
    from support import data_sets
    values = data_sets.coco_values("dataset/own", architecture="DETR", DETR={"backbone": name}, **{name: backbone})
    for reader in ("TrainReader", "EvalReader", "TestReader"):
        values[reader]["sample_transforms"][2] = {"NormalizeImage": dict(ASK)}
    return data_sets.load(tmp_path, values)


@pytest.mark.parametrize("arch, mean", [("resnet18", 0.485), ("tf_efficientnet_lite0", 0.5)])
def test_numbers_of_a_real_arch(tmp_path, arch, mean):
    cfg = real(tmp_path, {"arch": arch, "pretrained": False})
    normalization.resolve(cfg)
    assert cfg["TestReader"]["sample_transforms"][2]["NormalizeImage"]["mean"][0] == mean


def test_numbers_of_a_torchvision_arch(tmp_path):
    cfg = real(tmp_path, {"arch": "resnet18"}, "TorchvisionBackbone")
    assert normalization.resolve(cfg).source.startswith("torchvision/resnet18")


def test_numbers_beside_a_weight_file(tmp_path):
    (tmp_path / "own.pdparams").write_bytes(b"not read here")
    (tmp_path / "own.yml").write_text("arch: resnet18\nmean: [0.1, 0.2, 0.3]\nstd: [1.0, 1.0, 1.0]\n")
    cfg = real(tmp_path, {"arch": "resnet18", "pretrained": str(tmp_path / "own.pdparams")})
    normalization.resolve(cfg)
    assert cfg["TestReader"]["sample_transforms"][2]["NormalizeImage"]["mean"] == [0.1, 0.2, 0.3]


@pytest.mark.parametrize("pretrained, mean", [(True, 0.1), ("auto", 0.1), (False, 0.485), ("hub", 0.485)])
@pytest.mark.parametrize("name", ["TimmBackbone", "TorchvisionBackbone"])
def test_numbers_beside_weights_converted_by_hand(tmp_path, monkeypatch, pretrained, mean, name):
    monkeypatch.setenv("PPDET_EXT_HOME", str(tmp_path))
    file = converted_path("torchvision/resnet18" if name == "TorchvisionBackbone" else "resnet18")
    file.write_bytes(b"not read here")
    file.with_suffix(".yml").write_text("arch: resnet18\nmean: [0.1, 0.2, 0.3]\nstd: [1.0, 1.0, 1.0]\n")
    cfg = real(tmp_path, {"arch": "resnet18", "pretrained": pretrained}, name)
    normalization.resolve(cfg)
    assert cfg["TestReader"]["sample_transforms"][2]["NormalizeImage"]["mean"][0] == mean


def test_ppdets_resnet_needs_numbers(tmp_path):
    with pytest.raises(UserError, match="nothing is known of the weights of backbone 'ResNet'"):
        normalization.resolve(real(tmp_path, {"depth": 18}, "ResNet"))


RA4 = "resnet34.ra4_e3600_r224_in1k"  # mean and std 0.5, unlike resnet34's default tag
HUB_CONFIG = {"architecture": "resnet34", "pretrained_cfg": {"tag": "ra4_e3600_r224_in1k", "mean": [0.5] * 3,
                                                             "std": [0.25] * 3, "interpolation": "bicubic"}}


def used(tmp_path, log, pretrained, arch="resnet34", **top):
    """(mean, std that the readers get, the log's lines)."""
    cfg = real(tmp_path, {"arch": arch, "pretrained": pretrained if isinstance(pretrained, bool) else str(pretrained)})
    cfg.update(top)
    log.clear()
    log.set_level("INFO")
    normalization.resolve(cfg)
    arguments = cfg["TestReader"]["sample_transforms"][2]["NormalizeImage"]
    return arguments["mean"][0], arguments["std"][0], log.messages


def hub_folder(tmp_path, name="download"):
    file = tmp_path / name / "model.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"not read here")
    (file.parent / "config.json").write_text(json.dumps(HUB_CONFIG))
    return file


def test_a_hubs_folder_says_it(tmp_path, log):
    file = hub_folder(tmp_path)
    mean, std, lines = used(tmp_path, log, file)
    assert (mean, std) == (0.5, 0.25)
    assert lines == [f"the weights '{file}' are of the tag ra4_e3600_r224_in1k, not of resnet34.a1_in1k, the default "
                     "one: mean and std are those of ra4_e3600_r224_in1k",
                     "Normalisation: mean [0.5, 0.5, 0.5], std [0.25, 0.25, 0.25], from "
                     f"'{file.with_name('config.json')}'"]
    lines = used(tmp_path, log, file, arch="resnet34.bt_in1k")[2]
    assert "not of resnet34.bt_in1k: mean and std" in lines[0] and log.records[0].levelname == "WARNING"
    assert len(used(tmp_path, log, file, arch=RA4)[2]) == 1  # the same tag


NOT_HERE = "https://huggingface.co/me/mine/resolve/main/model.safetensors"


@pytest.mark.parametrize("pretrained, mean, words", [
    (f"https://huggingface.co/timm/{RA4}/resolve/main/model.safetensors", 0.5, f"those of {RA4}"),
    (f"{RA4}.pth", 0.5, f"those of {RA4}"),
    (NOT_HERE, 0.485, f"those of resnet34.a1_in1k, the default tag; nothing is said of '{NOT_HERE}' itself"),
    ("hub", 0.485, "those of resnet34.a1_in1k, the default tag"),
])
def test_an_address_or_a_name_says_it(tmp_path, log, monkeypatch, pretrained, mean, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"{RA4}.pth").write_bytes(b"not read here")
    found, _, lines = used(tmp_path, log, pretrained)
    assert found == mean and lines[-1].startswith("Normalisation: ") and lines[-1].endswith(words)
    assert len(lines) == (2 if mean == 0.5 else 1)


OWN = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}


def test_what_the_user_writes_is_no_less_than_what_a_file_says(tmp_path, log):
    """It was ignored without a word."""
    file = hub_folder(tmp_path)
    words = (r"^normalization in the config is mean \[0, 0, 0\], std \[1, 1, 1\], but the weights "
             rf"'{RA4}' were trained with mean \[0.5, 0.5, 0.5\], std .* \(from '.*config.json'\); leave it out, or "
             "write 'normalization: null' over that of a _BASE_, or 'normalization_mismatch: warn' to go on like this$")
    with pytest.raises(UserError, match=words):
        used(tmp_path, log, file, arch=RA4, normalization=OWN)
    with pytest.raises(UserError, match="normalization in the config is"):
        used(tmp_path, log, True, normalization=OWN)
    mean, std, lines = used(tmp_path, log, file, arch=RA4, normalization=OWN, normalization_mismatch="warn")
    assert (mean, std, len(lines)) == (0.0, 1.0, 2) and lines[0].startswith("NORMALISATION MISMATCH: normalization in")
    assert lines[1] == "Normalisation: mean [0, 0, 0], std [1, 1, 1], as the config's normalization says"
    same = {"mean": [0.5] * 3, "std": [0.25] * 3}
    assert len(used(tmp_path, log, file, arch=RA4, normalization=same)[2]) == 1
    assert used(tmp_path, log, False, normalization=OWN)[0] == 0.0


def test_what_the_user_writes_wins_over_what_is_supposed(tmp_path, log):
    """Of a file without a word beside it, or of a network that a class holds; the way to resize stays theirs."""
    (tmp_path / "mine.pth").write_bytes(b"not read here")
    mean, _, lines = used(tmp_path, log, tmp_path / "mine.pth", normalization=OWN)
    assert mean == 0.0 and len(lines) == 2
    assert lines[0].endswith(f"nothing is said of '{tmp_path / 'mine.pth'}' itself): the config's is used")
    supposed = dataclasses.replace(IMAGENET, certain=False)
    assert normalization.resolve(config(normalization=OWN), find=use(supposed)).interpolation == "bicubic"


def test_a_reader_against_the_configs_own_numbers():
    with pytest.raises(UserError, match=r"TrainReader normalises with mean \[0.5, .*, but the config's normalization "
                                        r"is mean \[0, 0, 0\], std \[1, 1, 1\]; write"):
        normalization.resolve(config(WRONG[0][0], normalization=OWN), find=use(None))


def test_readers_that_differ_where_nothing_else_is_known(log):
    """Such as numbers written for training, and evaluation left as it was."""
    cfg = config(WRONG[0][0], pretrained=False)
    cfg["EvalReader"]["sample_transforms"][-1] = {"NormalizeImage": {"mean": [0.1] * 3, "std": [1.0] * 3}}
    with pytest.raises(UserError, match=r"EvalReader normalises with mean \[0.1, .*, but TrainReader with mean \[0.5"):
        normalization.resolve(copy.deepcopy(cfg), find=use(IMAGENET))
    cfg["normalization_mismatch"] = "warn"
    normalization.resolve(cfg, find=use(IMAGENET))
    assert "NORMALISATION MISMATCH: EvalReader" in log.text
    assert log.messages[-1] == "Normalisation: mean [0.5, 0.5, 0.5], std [0.5, 0.5, 0.5], as TrainReader writes"
