# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Swaps of real, tiny detectors: by command and in a training, back again, and out to the other projects."""
import json

import numpy as np
import paddle
import pytest
from support.golden import golden_image
from support.small_checkpoints import assert_same, save_paddle, small, weights_of

from ppdet_ext.checkpoints import checkpoint_files, convert_detector, models, name_rules, stamp, verify_detector
from ppdet_ext.errors import UserError
from ppdet_ext.swap import teacher
from ppdet_ext.swap.swapping import swap
from ppdet_ext.weights import parity

pytestmark = pytest.mark.slow

# the neck and decoder of the small R18, one decoder layer more
LITE = """\
_BASE_: ['{base}']
hidden_dim: 32
eval_size: [96, 64]
num_classes: 3
TimmBackbone: {{arch: tf_efficientnet_lite0, pretrained: false}}
HybridEncoder:
  hidden_dim: {hidden}
  expansion: 0.5
  encoder_layer:
    {{name: TransformerLayer, d_model: {hidden}, nhead: 4, dim_feedforward: 48, dropout: 0., activation: gelu}}
RTDETRTransformer: {{num_queries: 20, num_decoder_layers: 3, dim_feedforward: 40, nhead: 4}}
"""


def values(net):
    return {name: value.numpy().copy() for name, value in net.state_dict().items()}


def lite(tmp_path, hidden=32):
    path = tmp_path / "lite.yml"
    path.write_text(LITE.format(base=models.CONFIGS / "_base_/rtdetr.yml", hidden=hidden))
    return models.build(str(path))


@pytest.mark.torch
def test_there_and_back_from_every_project_and_out_again(tmp_path):
    """R18 to Lite0 from each project's file, back to R18, and that into both other projects' networks."""
    pytest.importorskip("transformers", reason="compares with it")
    old = small(tmp_path, "v1")
    wanted = weights_of(old)
    save_paddle(wanted, tmp_path / "old.pdparams")
    for project, output in (("paddledet", "a.pdparams"), ("torch", "a.safetensors"), ("hf", "hf")):
        convert_detector.write(convert_detector.convert(old, tmp_path / "old.pdparams", project), tmp_path / output)
        new = lite(tmp_path)
        before = values(new.net)
        report = swap(new.net, tmp_path / output)
        after = values(new.net)
        assert (report.project, report.backbone_kept) == (project, False) and len(report.names("kept")) > 250
        for row in report.rows:
            if row.what == "kept":
                np.testing.assert_array_equal(after[row.name], wanted[row.name], row.name)
            elif row.what == "made":
                np.testing.assert_array_equal(after[row.name], before[row.name], row.name)
        made = {name.split(".")[3] for name in report.names("made") if name.startswith("transformer.decoder.")}
        assert made == {"2"} and all(name.startswith("backbone.") for name in report.names("dropped"))
    back = small(tmp_path, "v1")
    save_paddle(after, tmp_path / "lite.pdparams")
    report = swap(back.net, tmp_path / "lite.pdparams")
    assert not report.backbone_kept and report.counts["dropped"] > 200
    save_paddle(values(back.net), tmp_path / "back.pdparams")
    for project in ("torch", "hf"):
        found = convert_detector.convert(back, tmp_path / "back.pdparams", project)
        rows, _ = verify_detector.check_parity(found)
        print(parity.table(rows))
        assert max(row.error for row in rows) <= 1e-4 and found.returned == len(found.state)


@pytest.mark.torch
def test_a_teacher_from_another_project_gives_that_networks_features(tmp_path):
    """Features after input_proj of the teacher, read from each project's file, against those of transformers itself."""
    torch = pytest.importorskip("torch", reason="runs transformers' network")
    pytest.importorskip("transformers", reason="compares with it")
    old = small(tmp_path, "v1")
    save_paddle(weights_of(old), tmp_path / "old.pdparams")
    for project, output in (("paddledet", "a.pdparams"), ("torch", "a.safetensors"), ("hf", "hf")):
        convert_detector.write(convert_detector.convert(old, tmp_path / "old.pdparams", project), tmp_path / output)
    theirs, reference = verify_detector.load(tmp_path / "hf"), []
    for projection in theirs.model.encoder_input_proj:
        projection.register_forward_hook(lambda layer, given, found: reference.append(found.numpy()))
    image = golden_image(96, 64)
    with torch.no_grad():
        theirs(pixel_values=torch.from_numpy(image))
    for output in ("a.pdparams", "a.safetensors", "hf"):
        found = teacher.build(tmp_path / output, tmp_path / "v1.yml")
        levels = found.features(paddle.to_tensor(image), found.normalization)
        rows = [parity.compare(f"{output}, level {number}", level.numpy(), wanted)
                for number, (level, wanted) in enumerate(zip(levels, reference, strict=True))]
        print(parity.table(rows))
        assert max(row.error for row in rows) <= 1e-5


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_swap_to_the_same_backbone_changes_nothing(version, tmp_path):
    old = small(tmp_path, version)
    state = old.net.state_dict()
    for name, value in weights_of(old).items():
        state[name].set_value(value)
    wanted = values(old.net)
    save_paddle(wanted, tmp_path / "old.pdparams")
    new = small(tmp_path, version)
    report = swap(new.net, tmp_path / "old.pdparams")
    assert report.backbone_kept and set(report.counts) == {"kept"} and report.all_swaps == ()
    assert_same(values(new.net), wanted)
    image = {"image": paddle.to_tensor(golden_image(96, 64))}
    for ours, theirs in zip(*(verify_detector.raw_outputs(one.net, image) for one in (new, old))):
        np.testing.assert_array_equal(ours, theirs)
    own = small(tmp_path, version)
    before = values(own.net)
    report = swap(own.net, tmp_path / "old.pdparams", keep_backbone=False)
    assert "starts from its own weights" in report.notes[-1] and report.counts["made"] > 100
    for name in before:
        if name.startswith("backbone."):
            np.testing.assert_array_equal(own.net.state_dict()[name].numpy(), before[name])


def test_what_cannot_be_swapped_leaves_the_new_detector_alone(tmp_path):
    wanted = weights_of(small(tmp_path, "v1"))
    save_paddle(wanted, tmp_path / "old.pdparams")
    save_paddle({name[len("backbone."):]: value for name, value in wanted.items() if name.startswith("backbone.")},
                tmp_path / "backbone.pdparams")
    new, wide = lite(tmp_path), lite(tmp_path, 64)
    before = values(new.net)
    for model, file, settings, words in (
            (new, "backbone.pdparams", {}, "holds no RT-DETR to keep: it has no neck.input_proj.0.0.weight"),
            (wide, "old.pdparams", {}, "has 32 as hidden_dim of the neck, the new detector 64.*HybridEncoder.hid"),
            (new, "old.pdparams", {"keep_backbone": True}, "keep_backbone: true, but the new backbone is not the ch"),
            (new, "nowhere.pdparams", {}, "the detector to swap from: there is no weight file '.*nowhere.pdparams'")):
        with pytest.raises(UserError, match=words) as error:
            swap(model.net, tmp_path / file, **settings)
        assert "\n" not in str(error.value)
    assert_same(values(new.net), before)


def test_classes_of_the_same_name_keep_their_rows(tmp_path):
    five = small(tmp_path, "v1", classes=5)
    wanted = weights_of(five)
    path = save_paddle(wanted, tmp_path / "five.pdparams")
    stamp.write(path, stamp.Stamp("aa", 1, 2, (stamp.WEIGHTS,), stamp.Facts(tuple("abcde"), backbone="resnet18")))
    new = lite(tmp_path)
    report = swap(new.net, path, own_names=["e", "x", "b"])
    bias, labels = (new.net.state_dict()[name].numpy() for name in (
        "transformer.enc_score_head.bias", "transformer.denoising_class_embed.weight"))
    np.testing.assert_array_equal(bias[[0, 2]], wanted["transformer.enc_score_head.bias"][[4, 1]])
    np.testing.assert_array_equal(labels[[0, 2]], wanted["transformer.denoising_class_embed.weight"][[4, 1]])
    assert set(report.names("reset")) == {name for name in wanted if name_rules.class_axis(name) is not None}
    assert any("2 of 3 classes: e (0) from e (4), b (2) from b (1)" in note for note in report.notes)
    assert report.classes == ("e", "x", "b") and report.old_backbone == "resnet18"


def test_by_command_and_in_a_training(tiny_config, tmp_path, tool):
    """Lite0's detector by the command to resnet18, and in a training; resumed, it is not swapped again."""
    folder = tmp_path / "output"
    tool("train").main(["-c", str(tiny_config), "-o", "epoch=1"])
    old = folder / "tiny" / "model_final.pdparams"
    new = tmp_path / "new.yml"
    new.write_text("_BASE_: [tiny.yml]\nTimmBackbone: {arch: resnet18, pretrained: false}\nreport: true\n")
    tool("swap_backbone").main(["--from", str(old), "-c", str(new), "-o", str(tmp_path / "swapped.pdparams")])
    facts = stamp.read(tmp_path / "swapped.pdparams").facts
    trained = stamp.read(old).facts
    own = {"file": "model_final.pdparams", "sha256": checkpoint_files.read(old).sha256,
           "old_backbone": "tf_efficientnet_lite0", "new_backbone": "resnet18"}
    assert facts.swaps == (own,) and facts.backbone == "resnet18" and facts.classes == trained.classes
    assert facts.mean != trained.mean and facts.size == (64, 64)
    tool("eval").main(["-c", str(new), "-o", f"weights={tmp_path / 'swapped.pdparams'}",
                       f"output_eval={tmp_path / 'eval'}"])
    words = ["-c", str(new), "-o", "epoch=1", f"pretrain_weights={old}", "swap_backbone=true"]
    tool("train").main(words)
    ended = stamp.read(folder / "new" / "model_final.pdparams").facts
    assert ended.swaps == (own,) and ended.backbone == "resnet18"
    told = json.loads((folder / "new" / "report.json").read_text())
    assert told["swap"]["counts"]["kept"] > 50 and "with backbone resnet18" in told["started_from"]
    assert "更换骨干网络" in (folder / "new" / "report.html").read_text()
    tool("train").main([*words, "epoch=2", "-r", "auto"])
    assert stamp.read(folder / "new" / "model_final.pdparams").facts.swaps == (own,)
    for words, said in ((["--from", str(old), "-c", str(new), "-o", str(old)], "is the trained detector itself"),
                        (["--from", str(old), "-c", str(new), "-o", str(tmp_path / "a.pth")], "should end in .pdp")):
        with pytest.raises(UserError, match=said):
            tool("swap_backbone").main(words)
