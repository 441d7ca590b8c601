# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Whole detectors' checkpoints between PaddleDetection, lyuwenyu/RT-DETR and transformers."""
import gzip
import json
import sys
import zlib

import numpy as np
import pytest
from support.golden import golden_array
from support.paths import FILES
from support.small_checkpoints import VERSIONS, assert_same, save_paddle, small, weights_of

from ppdet_ext.checkpoints import (
    checkpoint_files,
    convert_detector,
    huggingface,
    models,
    name_maps,
    name_rules,
    verify_detector,
)
from ppdet_ext.data import class_names as class_names
from ppdet_ext.errors import UserError
from ppdet_ext.weights import parity

pytestmark = pytest.mark.usefixtures("cheap_start")  # weights are set; what a network starts from does not matter

OFFICIAL = sorted(path.name[:-len(".tsv.gz")] for path in (FILES / "state_dict").glob("*.tsv.gz"))
IN_TORCH = [name for name in OFFICIAL if (FILES / "state_dict_torch" / f"{name}.tsv.gz").exists()]


def table(folder, name):
    """{parameter: shape} of a reference table."""
    rows = gzip.decompress((FILES / folder / f"{name}.tsv.gz").read_bytes()).decode().splitlines()
    pairs = (row.split("\t")[:2] for row in rows)
    return {name: tuple(map(int, shape.split("x"))) if shape not in ("", "-") else () for name, shape in pairs}


def frozen(name):
    return "r18" not in name and "r34" not in name


def numbered(shapes):
    """Bytes that tell tensors and places in them apart."""
    return {name: (np.arange(int(np.prod(shape)), dtype=np.uint32) * 2654435761 + zlib.crc32(name.encode()) >> 24
                   ).astype(np.uint8).reshape(shape) for name, shape in shapes.items()}


def shrunk(shapes):
    """The same model with a thirty-second of the channels."""
    return {name: tuple(size // 32 if size >= 64 else size for size in shape) for name, shape in shapes.items()}


# ---------------------------------------------------------------- names
def test_the_tables_are_here():
    assert len(OFFICIAL) == 19 and len(IN_TORCH) == 14


@pytest.mark.parametrize("name", [name for name in OFFICIAL if "swin" not in name and "focalnet" not in name])
def test_every_official_parameter_fits_one_row(name):
    wrong = {parameter: len(name_rules.rows_of(parameter)) for parameter in table("state_dict", name)
             if len(name_rules.rows_of(parameter)) != 1}
    assert wrong == {}


@pytest.mark.parametrize("name", IN_TORCH)
def test_names_and_shapes_of_the_pytorch_models(name):
    found = name_maps.name_map(table("state_dict", name), "torch", frozen(name), anchors=dict)
    wanted = table("state_dict_torch", name)
    assert set(found.shapes) | set(found.remade) == set(wanted)
    assert found.shapes == {key: shape for key, shape in wanted.items() if key in found.shapes}


def test_names_of_a_pytorch_hgnet():
    """PaddleDetection has it in its first version, lyuwenyu in the second: the backbone of one, the rest of another."""
    ours, other = table("state_dict", "rtdetr_hgnetv2_l_6x_coco"), table("state_dict", "rtdetrv2_r50vd_6x_coco")
    shapes = {**{name: shape for name, shape in ours.items() if name.startswith("backbone.")},
              **{name: shape for name, shape in other.items() if not name.startswith("backbone.")}}
    found = name_maps.name_map(shapes, "torch", True, anchors=dict)
    wanted = table("state_dict_torch", "rtdetrv2_hgnetv2_l_6x_coco")
    assert set(found.shapes) | set(found.remade) == set(wanted)
    assert {name: shape for name, shape in found.shapes.items() if name.startswith("backbone.")} == \
        {name: shape for name, shape in wanted.items() if name.startswith("backbone.")}


def test_pytorchs_first_version_has_no_hgnet():
    with pytest.raises(UserError, match="has HGNetV2 in its second version only"):
        name_maps.name_map(table("state_dict", "rtdetr_hgnetv2_l_6x_coco"), "torch")


RESNETS = {
    "r18vd": ("basic", [2, 2, 2, 2], [64, 128, 256, 512], 256, 1024, 3, 0.5),
    "r34vd": ("basic", [3, 4, 6, 3], [64, 128, 256, 512], 256, 1024, 4, 0.5),
    "r50vd": ("bottleneck", [3, 4, 6, 3], [256, 512, 1024, 2048], 256, 1024, 6, 1.0),
    "r101vd": ("bottleneck", [3, 4, 23, 3], [256, 512, 1024, 2048], 384, 2048, 6, 1.0),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", [name for name in IN_TORCH if name.split("_")[1] in RESNETS and "_m_" not in name])
def test_names_and_shapes_of_transformers(name):
    torch = pytest.importorskip("torch", reason="builds transformers' network")
    transformers = pytest.importorskip("transformers", reason="compares with its names")
    kind, depths, widths, channels, hidden, layers, expansion = RESNETS[name.split("_")[1]]
    version = "RTDetrV2" if "v2_" in name else "RTDetr"
    config = getattr(transformers, f"{version}Config")(
        backbone_config=transformers.RTDetrResNetConfig(layer_type=kind, depths=depths, hidden_sizes=widths,
                                                        out_features=["stage2", "stage3", "stage4"]),
        freeze_backbone_batch_norms=frozen(name), num_labels=80, encoder_in_channels=widths[1:],
        encoder_hidden_dim=channels, encoder_ffn_dim=hidden, decoder_layers=layers, hidden_expansion=expansion,
        decoder_in_channels=[channels] * 3)
    with torch.device("meta"):
        network = getattr(transformers, f"{version}ForObjectDetection")(config)
    theirs = {name_rules.canonical(key, "hf"): tuple(value.shape) for key, value in network.state_dict().items()}
    found = name_maps.name_map(table("state_dict", name), "hf", frozen(name))
    counters = dict.fromkeys(found.remade, ())
    assert {**found.shapes, **counters} == theirs


@pytest.mark.parametrize("name", ["rtdetr_swin_L_384_3x_coco", "rtdetr_focalnet_L_384_3x_coco"])
def test_backbones_that_the_others_lack_are_refused(name):
    for project in ("torch", "hf"):
        with pytest.raises(UserError, match="has no network with 'backbone"):
            name_maps.name_map(table("state_dict", name), project)
    assert list(name_maps.reading_maps(table("state_dict", name))) == ["paddledet"]


@pytest.mark.parametrize("name", IN_TORCH)
def test_round_trips_are_exact(name):
    """Every official model, into both other projects' layout and back."""
    shapes = shrunk(table("state_dict", name))
    tensors = numbered(shapes)
    for project in ("torch", "hf"):
        found = name_maps.name_map(shapes, project, frozen(name))
        there = found.from_paddle(tensors)
        back, report = found.to_paddle(there, name, "test")
        assert len(report.matched) == len(found.shapes)
        assert_same(back, tensors)
        assert any(not np.array_equal(value, tensors.get(key)) for key, value in there.items())


@pytest.mark.parametrize("name", IN_TORCH)
def test_names_after_the_backbone_are_read_without_a_model(name):
    shapes = shrunk(table("state_dict", name))
    tensors = numbered(shapes)
    wanted = {key: value for key, value in tensors.items() if not key.startswith("backbone.")}
    for project in name_rules.PROJECTS:
        there = name_maps.name_map(shapes, project, frozen(name)).from_paddle(tensors)
        found, others = name_maps.by_rules({**there, "decoder.extra.weight": np.zeros(1)}, project)
        found.pop("decoder.extra.weight", None)  # Paddle's own names are taken as they are
        assert_same(found, wanted)
        assert len([key for key in others if "backbone" in key and not key.endswith(name_rules.COUNTER)]) == \
            len([key for key in shapes if key.startswith("backbone.")])


def test_a_tensor_in_parts_is_read_whole_or_not_at_all():
    shapes = shrunk(table("state_dict", "rtdetr_r18vd_6x_coco"))
    there = name_maps.name_map(shapes, "hf").from_paddle(numbered(shapes))
    there.pop("model.decoder.layers.1.self_attn.k_proj.weight")
    found, _ = name_maps.by_rules(there, "hf")
    assert "transformer.decoder.layers.1.self_attn.in_proj_weight" not in found
    assert "transformer.decoder.layers.1.self_attn.in_proj_bias" in found


def test_the_layout_of_linear_attention_and_label_tensors():
    shapes = table("state_dict", "rtdetr_r18vd_6x_coco")
    tensors = numbered(shapes)
    torch, hf = (name_maps.name_map(shapes, project).from_paddle(tensors) for project in ("torch", "hf"))
    qkv = tensors["transformer.decoder.layers.1.self_attn.in_proj_weight"]
    np.testing.assert_array_equal(torch["decoder.decoder.layers.1.self_attn.in_proj_weight"], qkv.T)
    np.testing.assert_array_equal(hf["model.decoder.layers.1.self_attn.k_proj.weight"], qkv[:, 256:512].T)
    labels = tensors["transformer.denoising_class_embed.weight"]
    for there in (torch["decoder.denoising_class_embed.weight"], hf["model.denoising_class_embed.weight"]):
        assert there.shape == (81, 256) and not there[80].any()
        np.testing.assert_array_equal(there[:80], labels)
    mean = tensors["neck.fpn_blocks.1.bottlenecks.2.conv1.bn._mean"]
    np.testing.assert_array_equal(torch["encoder.fpn_blocks.1.bottlenecks.2.conv1.norm.running_mean"], mean)


# ---------------------------------------------------------------- keys
@pytest.fixture(scope="module")
def r18():
    """(shapes, tensors in torch's names) of R18, without its network."""
    shapes = table("state_dict", "rtdetr_r18vd_6x_coco")
    return shapes, name_maps.name_map(shapes, "torch").from_paddle(numbered(shapes))


def test_accounting_goes_both_ways(r18):
    shapes, given = r18
    found = name_maps.name_map(shapes, "torch")
    missing = {name: value for name, value in given.items() if ".dec_score_head." not in name}
    with pytest.raises(UserError, match=r"missing: 6: decoder.dec_score_head.0...2.weight \(3\)"):
        found.to_paddle(missing, "r18", "test")
    with pytest.raises(UserError, match="unexpected: 1: decoder.extra.weight"):
        found.to_paddle({**given, "decoder.extra.weight": np.zeros(1)}, "r18", "test")
    turned = {**given, "decoder.query_pos_head.layers.0.weight": given["decoder.query_pos_head.layers.0.weight"].T}
    with pytest.raises(UserError, match=r"query_pos_head.layers.0.weight \(wanted \[512, 4\], given \[4, 512\]\)"):
        found.to_paddle(turned, "r18", "test")
    back, _ = found.to_paddle({**missing, "decoder.extra.weight": np.zeros(1)}, "r18", "test",
                           ["decoder.dec_score_head.*", "decoder.extra.*"])
    assert set(shapes) - set(back) == {f"transformer.dec_score_head.{i}.{leaf}" for i in range(3)
                                       for leaf in ("weight", "bias")}


def test_fused_checkpoints(r18, caplog):
    shapes, given = r18
    found = name_maps.name_map(shapes, "torch")
    block = "encoder.fpn_blocks.0.bottlenecks.0"
    fused = {**given, f"{block}.conv.weight": np.zeros((128, 128, 3, 3)), f"{block}.conv.bias": np.zeros(128)}
    caplog.set_level("INFO")
    assert set(found.to_paddle(fused, "r18", "test")[0]) == set(shapes)  # branches and all
    assert "2 fused copies" in caplog.text
    alone = {name: value for name, value in fused.items() if not name.startswith((f"{block}.conv1", f"{block}.conv2"))}
    with pytest.raises(UserError, match="was fused for deployment .*before convert_to_deploy") as caught:
        found.to_paddle(alone, "r18", "test")
    assert "\n" not in str(caught.value)


def test_two_names_of_one_tensor_must_agree():
    heads = {"class_embed.0.bias": np.ones(3), "model.decoder.class_embed.0.bias": np.ones(3)}
    assert list(name_maps.one_name_each(heads, "hf", "test")) == ["model.decoder.class_embed.0.bias"]
    with pytest.raises(UserError, match="twice under different names"):
        name_maps.one_name_each({**heads, "class_embed.0.bias": np.zeros(3)}, "hf", "test")


def test_a_padding_row_that_is_not_zero_is_told(r18, caplog):
    shapes, given = r18
    label = "decoder.denoising_class_embed.weight"
    found = name_maps.name_map(shapes, "torch")
    found.to_paddle(given, "r18", "test")
    assert not caplog.records
    found.to_paddle({**given, label: given[label] + 1}, "r18", "test")
    assert "belongs to no class, is not zero" in caplog.text


def test_projects_are_told_apart_by_names(r18):
    shapes, _ = r18
    maps = name_maps.reading_maps(shapes)
    for project in name_rules.PROJECTS:
        found, fits = name_maps.identify(maps[project].from_paddle(numbered(shapes)), maps.values())
        assert found.project == project and fits == len(found.shapes)
    assert name_maps.identify({"conv1.weight": np.zeros(1)}, maps.values()) == (None, 0)


# ---------------------------------------------------------------- files
@pytest.mark.torch
@pytest.mark.parametrize("name", [pytest.param("rtdetr_r18vd", marks=pytest.mark.slow), "rtdetrv2_r18vd"])
def test_six_directions_through_files_are_exact(name, tmp_path):
    """The full R18: two circles through all three projects' files, each of the six directions once."""
    pytest.importorskip("torch", reason="writes a .pth")
    model = models.build(name)
    wanted = weights_of(model)
    save_paddle(wanted, tmp_path / "start.pdparams")
    circles = ([("torch", "a.pth"), ("hf", "a"), ("paddledet", "a.pdparams")],
               [("hf", "b"), ("torch", "b.safetensors"), ("paddledet", "b.pdparams")])
    for circle in circles:
        source, origin = tmp_path / "start.pdparams", "paddledet"
        for project, output in circle:
            found = convert_detector.convert(model, source, project, origin)
            convert_detector.write(found, tmp_path / output)
            source, origin = tmp_path / output, project
        assert_same(checkpoint_files.read(source).state, wanted)


@pytest.mark.torch
@pytest.mark.parametrize("version", VERSIONS)
def test_transformers_computes_the_same_from_what_we_write(version, tmp_path):
    pytest.importorskip("transformers", reason="compares with it")
    model = small(tmp_path, version)
    save_paddle(weights_of(model), tmp_path / "start.pdparams")
    found = convert_detector.convert(model, tmp_path / "start.pdparams", "hf")
    rows, what = verify_detector.check_parity(found)
    print(parity.table(rows))
    assert [row.name for row in rows] == ["boxes", "logits"] and max(row.error for row in rows) <= 1e-4
    assert "transformers' with the converted weights" in what
    convert_detector.write(found, tmp_path / "hf")
    settings = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert settings.get("decoder_method") == {"v1": None, "v2": "default", "v2_discrete": "discrete"}[version]


@pytest.mark.torch
@pytest.mark.parametrize("version", VERSIONS)
def test_we_compute_the_same_from_what_transformers_writes(version, tmp_path):
    """A network of theirs with random weights, saved by themselves."""
    torch = pytest.importorskip("torch", reason="makes the checkpoint")
    transformers = pytest.importorskip("transformers", reason="makes the checkpoint")
    model = small(tmp_path, version)
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "config.json").write_text(json.dumps(huggingface.config(model, ["ant", "bee", "cow"])))
    theirs = transformers.AutoModelForObjectDetection.from_config(
        transformers.AutoConfig.from_pretrained(tmp_path / "hf"))
    with torch.no_grad():
        for name, value in theirs.state_dict().items():
            if value.dtype == torch.float32 and "n_points_scale" not in name:
                seed = name_rules.canonical(name, "hf")
                seed = seed.replace("running_var", "_variance").replace("running_mean", "_mean")
                value.copy_(torch.from_numpy(golden_array(seed, tuple(value.shape))))
    theirs.save_pretrained(tmp_path / "hf")
    found = convert_detector.convert(model, tmp_path / "hf", "paddledet", "hf")
    assert found.classes == ["ant", "bee", "cow"]
    rows, what = verify_detector.check_parity(found)
    print(parity.table(rows))
    assert max(row.error for row in rows) <= 1e-4 and "reads from the source" in what


@pytest.mark.torch
def test_verify_sees_wrong_weights(tmp_path):
    pytest.importorskip("transformers", reason="compares with it")
    model = small(tmp_path, "v1")
    save_paddle(weights_of(model), tmp_path / "start.pdparams")
    found = convert_detector.convert(model, tmp_path / "start.pdparams", "hf")
    convert_detector.write(found, tmp_path / "hf")
    found = convert_detector.convert(model, tmp_path / "hf", "paddledet")
    name = "neck.fpn_blocks.0.conv1.bn._mean"
    found.state[name] = found.state[name] + 0.05
    with pytest.raises(UserError, match="parity lost: boxes"):
        verify_detector.check_parity(found)


@pytest.mark.torch
def test_what_training_scripts_save_around_the_weights(tmp_path):
    """lyuwenyu's .pth: averaged weights are preferred, others can be asked for."""
    torch = pytest.importorskip("torch", reason="writes the checkpoint")
    model = small(tmp_path, "v2")
    tensors = model.name_map("torch").from_paddle(weights_of(model))
    average = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    raw = {f"module.{name}": value + 1 if value.dtype == torch.float32 else value for name, value in average.items()}
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 3])
    torch.save({"date": "2024", "model": raw, "ema": {"module": average, "updates": 7, "warmups": 2000},
                "optimizer": optimizer.state_dict(), "lr_scheduler": schedule.state_dict()}, tmp_path / "all.pth")
    assert_same(convert_detector.convert(model, tmp_path / "all.pth", "paddledet").state, weights_of(model))
    plain = convert_detector.convert(model, tmp_path / "all.pth", "paddledet", part="model").state
    name = "neck.input_proj.0.1._mean"
    np.testing.assert_array_equal(plain[name], weights_of(model)[name] + 1)


@pytest.mark.torch
def test_pytorchs_anchor_buffers_are_made(tmp_path):
    torch = pytest.importorskip("torch", reason="computes them as lyuwenyu's decoder does")
    model = small(tmp_path, "v2")
    found = model.name_map("torch").from_paddle(weights_of(model))
    anchors = []
    for level, stride in enumerate((8, 16, 32)):
        h, w = 96 // stride, 64 // stride
        y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        centre = (torch.stack([x, y], -1) + 0.5) / torch.tensor([w, h], dtype=torch.float32)
        anchors.append(torch.cat([centre, torch.full_like(centre, 0.05 * 2.0 ** level)], -1).reshape(1, -1, 4))
    anchors = torch.cat(anchors, 1)
    valid = ((anchors > 0.01) & (anchors < 0.99)).all(-1, keepdim=True)
    anchors = torch.where(valid, torch.log(anchors / (1 - anchors)), torch.inf)
    np.testing.assert_array_equal(found["decoder.valid_mask"], valid.numpy())
    np.testing.assert_allclose(found["decoder.anchors"], anchors.numpy(), rtol=1e-6)
    assert found["decoder.anchors"].dtype == np.float32 and found["decoder.valid_mask"].dtype == np.bool_


def test_classes_follow_the_checkpoint(tmp_path):
    """A checkpoint for 5 classes through a config for 3; names from a file, from the metadata, or made up."""
    model, other = small(tmp_path, "v1"), small(tmp_path, "v1", classes=5)
    save_paddle(weights_of(other), tmp_path / "five.pdparams")
    found = convert_detector.convert(model, tmp_path / "five.pdparams", "hf")
    assert found.classes == [f"LABEL_{i}" for i in range(5)] and "--classes" in found.class_source
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\ne\n")
    found = convert_detector.convert(model, tmp_path / "five.pdparams", "hf", class_file=tmp_path / "labels.txt")
    convert_detector.write(found, tmp_path / "hf")
    assert json.loads((tmp_path / "hf/config.json").read_text())["id2label"]["4"] == "e"
    found = convert_detector.convert(model, tmp_path / "hf", "paddledet")
    convert_detector.write(found, tmp_path / "back.pdparams")
    again = convert_detector.convert(model, tmp_path / "back.pdparams", "torch")
    assert again.classes == ["a", "b", "c", "d", "e"] and again.class_source == "the checkpoint's"
    assert again.outgoing()["decoder.denoising_class_embed.weight"].shape == (6, 32)
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match="names 2 classes, but the checkpoint is for 5"):
        convert_detector.convert(model, tmp_path / "five.pdparams", "hf", class_file=tmp_path / "labels.txt")


def test_coco_names():
    assert len(class_names.of_coco()) == 80 and class_names.of_coco()[:2] == ["person", "bicycle"]


# ---------------------------------------------------------------- models and the tool
def test_models_are_found_by_short_names():
    for name, stem in (("rtdetr_r50vd", "rtdetr_r50vd_6x_coco"), ("rtdetr_r50vd_m", "rtdetr_r50vd_m_6x_coco"),
                       ("rtdetrv2_r18vd", "rtdetrv2_r18vd_120e_coco"),
                       ("rtdetrv2_r18vd_dsp", "rtdetrv2_r18vd_dsp_3x_coco"),
                       ("rtdetr_swin_L_384", "rtdetr_swin_L_384_3x_coco")):
        assert models.find(name).stem == stem
    with pytest.raises(UserError, match="did you mean .*rtdetr_r50vd"):
        models.find("rtdetr_r50")


@pytest.mark.parametrize("more, words", [(", eval_idx: 0", "decoder layer 1 of 2"),
                                         (", query_pos_head_inv_sig: true", "query_pos_head_inv_sig")])
def test_networks_that_transformers_lacks(tmp_path, more, words):
    model = small(tmp_path, "v1", more=more)
    save_paddle(weights_of(model), tmp_path / "start.pdparams")
    with pytest.raises(UserError, match=f"has no v1: .*{words}"):
        convert_detector.convert(model, tmp_path / "start.pdparams", "hf")
    found = convert_detector.convert(model, tmp_path / "start.pdparams", "torch")
    rows, said = verify_detector.check_parity(found)
    assert rows == [] and "no network was run" in said


def call(tool, monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["convert_weights.py", *map(str, args)])
    tool("convert_weights").main()


@pytest.mark.torch
def test_the_tool(tmp_path, tool, monkeypatch, capsys):
    pytest.importorskip("transformers", reason="--verify runs it")
    model = small(tmp_path, "v2")
    source = save_paddle(weights_of(model), tmp_path / "start.pdparams")
    call(tool, monkeypatch, "detector", "--model", tmp_path / "v2.yml", "--from", "paddledet", "--to", "torch", source,
         tmp_path / "out.safetensors", "--verify")
    said = capsys.readouterr().out
    for words in ("matched 436, missing 0, unexpected 0", "come back to the last bit; made anew: anchors",
                  "lyuwenyu/RT-DETR is no installable package", "\nlogits "):
        assert words in said, said
    with pytest.raises(UserError, match="has lyuwenyu/RT-DETR .*names, not PaddleDetection's: --from torch"):
        call(tool, monkeypatch, "detector", "--model", tmp_path / "v2.yml", "--from", "paddledet", "--to", "hf",
             tmp_path / "out.safetensors", tmp_path / "hf")


def test_nothing_is_written_where_verify_fails(tmp_path, tool, monkeypatch):
    model = small(tmp_path, "v1")
    source = save_paddle(weights_of(model), tmp_path / "start.pdparams")

    def differ(*_):
        raise UserError("parity lost: boxes")
    monkeypatch.setattr(verify_detector, "check_parity", differ)
    with pytest.raises(UserError, match="parity lost"):
        call(tool, monkeypatch, "detector", "--model", tmp_path / "v1.yml", "--to", "hf", source, tmp_path / "hf",
             "--verify")
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("args, words", [
    (["--to", "hf", "a.pdparams", "b.safetensors"], "should be a folder"),
    (["--to", "torch", "a.pdparams", "b.pdparams"], "should end in .pth or .safetensors"),
])
def test_wrong_outputs(tool, monkeypatch, args, words):
    with pytest.raises(UserError, match=words):
        call(tool, monkeypatch, "detector", "--model", "rtdetr_r18vd", *args)


def test_a_folder_of_transformers_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match="holds none of model.safetensors"):
        checkpoint_files.read(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(UserError, match="no index of weights"):
        checkpoint_files.read(tmp_path)
