# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The detector against transformers' RTDetrForObjectDetection with the same random weights."""
import numpy as np
import paddle
import pytest
from support.detector_cases import (
    build_detector,
    eval_batch,
    frozen_norm_train,
    golden_image,
    golden_state,
    golden_targets,
    in_same_order,
    raw_outputs,
    train_batch,
    under_names_of,
)

from ppdet_ext.weights import relative_error

torch = pytest.importorskip("torch", reason="compares with torch")
transformers = pytest.importorskip("transformers", reason="compares with transformers' RTDetr")

pytestmark = pytest.mark.torch

CASES = {
    "r18": {
        "ours": {"ResNet": {"depth": 18}, "HybridEncoder": {"expansion": 0.5},
                 "RTDETRTransformer": {"num_decoder_layers": 3}},
        "resnet": {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]},
        "theirs": {"encoder_in_channels": [128, 256, 512], "hidden_expansion": 0.5, "decoder_layers": 3},
    },
    "r50": {
        "ours": {"ResNet": {"depth": 50}, "HybridEncoder": {"expansion": 1.0},
                 "RTDETRTransformer": {"num_decoder_layers": 6}},
        "resnet": {"layer_type": "bottleneck", "depths": [3, 4, 6, 3], "hidden_sizes": [256, 512, 1024, 2048]},
        "theirs": {"encoder_in_channels": [512, 1024, 2048], "hidden_expansion": 1.0, "decoder_layers": 6},
    },
}


@pytest.fixture(scope="module", params=["r18", pytest.param("r50", marks=pytest.mark.slow)])
def pair(request):
    """Our detector and theirs with equal weights, both in eval mode."""
    case = CASES[request.param]
    sections = {**case["ours"], "RTDETRTransformer": {**case["ours"]["RTDETRTransformer"], "num_denoising": 0}}
    ours = build_detector(**sections)
    ours.eval()
    backbone = transformers.RTDetrResNetConfig(embedding_size=64, out_features=["stage2", "stage3", "stage4"],
                                               **case["resnet"])
    theirs = transformers.RTDetrForObjectDetection(transformers.RTDetrConfig(
        backbone_config=backbone, num_labels=80, num_denoising=0, eval_size=None, anchor_image_size=None,
        **case["theirs"]))
    weights = {name: torch.from_numpy(np.array(array))
               for name, array in under_names_of(theirs, golden_state(ours.state_dict())).items()}
    report = theirs.load_state_dict(weights, strict=False)
    # without denoising queries they have no embedding for them; everything else must be there on both sides
    assert [name for name in report.unexpected_keys if "denoising_class_embed" not in name] == []
    assert [name for name in report.missing_keys if "num_batches_tracked" not in name] == []
    return ours, theirs.eval()


@pytest.mark.parametrize("size", [(640, 640), (480, 608)])
def test_logits_and_boxes(pair, size):
    ours, theirs = pair
    with torch.no_grad():
        reference = theirs(pixel_values=torch.from_numpy(golden_image(*size)))
    ref_boxes, ref_logits = reference.pred_boxes.numpy(), reference.logits.numpy()
    boxes, logits = in_same_order(*raw_outputs(ours, eval_batch(*size)), ref_boxes)
    errors = relative_error(boxes, ref_boxes), relative_error(logits, ref_logits)
    print(f"max|d|/max|ref|: boxes {errors[0]:.1e}, logits {errors[1]:.1e}")
    assert max(errors) <= 1e-4


def test_losses(pair):
    ours, theirs = pair
    boxes, classes = golden_targets(80, 2)
    labels = [{"boxes": torch.from_numpy(b), "class_labels": torch.from_numpy(c[:, 0].astype("int64"))}
              for b, c in zip(boxes, classes)]
    with torch.no_grad():
        reference = theirs(pixel_values=torch.from_numpy(golden_image(320, 320, 2)), labels=labels).loss_dict
    with paddle.no_grad():
        losses = frozen_norm_train(ours)(train_batch(320, 320, 2))
    for term, name in {"class": "vfl", "bbox": "bbox", "giou": "giou"}.items():
        last = float(reference[f"loss_{name}"])
        before = sum(float(v) for key, v in reference.items() if key.startswith(f"loss_{name}_aux"))
        found = float(losses[f"loss_{term}"]), float(losses[f"loss_{term}_aux"])
        errors = np.abs(np.array(found) / (last, before) - 1)
        print(f"{term}: relative error {errors[0]:.1e}, auxiliary layers {errors[1]:.1e}")
        assert errors.max() <= 1e-3
