# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The detector's parts by themselves: attention, denoising, matching, losses, odd batches, and wrong wiring."""
import numpy as np
import paddle
import pytest
from paddle import inference
from ppdet.modeling.shape_spec import ShapeSpec
from support.detector_cases import build_detector, eval_batch, frozen_norm_train, golden_targets, train_batch

from ppdet_ext.detector import DINOLoss, HungarianMatcher, HybridEncoder
from ppdet_ext.detector import boxes as box_arithmetic
from ppdet_ext.detector.anchors import make_anchors
from ppdet_ext.detector.attention import SAMPLING, StoredScaleAttention, points_of_levels
from ppdet_ext.detector.boxes import cxcywh_to_xyxy, inverse_sigmoid, iou_and_giou, pairwise_giou, xyxy_to_cxcywh
from ppdet_ext.detector.denoising import attention_mask, contrastive_denoising, noisy_boxes
from ppdet_ext.detector.flat_attention import sample_flat
from ppdet_ext.detector.hybrid_encoder import double_size, sincos_position_embedding
from ppdet_ext.detector.outputs import DenoisingMeta
from ppdet_ext.errors import UserError
from ppdet_ext.weights import relative_error

SMALL = {"RTDETRTransformer": {"num_queries": 60, "num_denoising": 20}, "num_classes": 10}


def targets_of(counts, num_classes=10):
    """Boxes and classes for images with this many boxes each."""
    rng = np.random.default_rng(5)
    boxes = [np.concatenate([rng.uniform(0.2, 0.8, (n, 2)), rng.uniform(0.02, 0.3, (n, 2))], 1) for n in counts]
    return [b.astype("float32") for b in boxes], [rng.integers(0, num_classes, (n, 1)).astype("int32") for n in counts]


class OfFixedShapes(paddle.nn.Layer):
    """Attention over maps of known shapes, as a layer: Paddle 2.6 loses what a nested function closes over."""

    def __init__(self, attention, shapes):
        super().__init__()
        self.attention, self.shapes = attention, shapes

    def forward(self, query, reference_points, value):
        return self.attention(query, reference_points, value, self.shapes)


class TestAttention:
    def sample(self, core):
        """Value and gradients of a random case with points inside, outside and far outside of the maps."""
        paddle.seed(3)
        shapes = [(9, 7), (5, 4), (2, 3)]
        inputs = [paddle.randn([2, 63 + 20 + 6, 4, 8]), paddle.rand([2, 11, 4, 6, 2]) * 1.6 - 0.3,
                  paddle.rand([2, 11, 4, 6])]
        inputs[1][0, 0, 0, 0] = 1e12
        for tensor in inputs:
            tensor.stop_gradient = False
        out = core(inputs[0], shapes, inputs[1], inputs[2], [1, 3, 2])
        (out * paddle.arange(out.size, dtype="float32").reshape(out.shape).sin()).sum().backward()
        return [out.numpy()] + [tensor.grad.numpy() for tensor in inputs if tensor.grad is not None]

    def by_flat(self, value, shapes, locations, weights, points):
        """sample_flat as the others: offsets from the picture's corner in units of half its size."""
        boxes = paddle.to_tensor([0.0, 0, 1, 1]).tile([*locations.shape[:2], 1, 1])
        return sample_flat(value.flatten(2), shapes, locations.flatten(2) * 2, boxes, weights, points,
                           paddle.full([sum(points)], 0.5))

    @pytest.mark.parametrize("method, gradients", [("default", 3), ("discrete", 2)])
    def test_both_ways_agree_with_gradients(self, method, gradients):
        on_gpu, on_cpu = (self.sample(core) for core in [*SAMPLING[method], self.by_flat][:2])
        assert len(on_gpu) == len(on_cpu) == 1 + gradients  # discrete locations get none
        errors = [relative_error(a, b) for a, b in zip(on_cpu, on_gpu)]
        print("max|d|/max|ref|: value and gradients", [f"{e:.1e}" for e in errors])
        assert max(errors) <= 1e-5

    def test_looked_up_rows_are_not_kept(self):
        """Between forward and backward pass, less is held than the rows of the four pixels around every point."""
        value, offsets, weights = paddle.randn([1, 4, 64]), paddle.randn([1, 50, 2 * 32]), paddle.rand([1, 50, 2, 16])
        for tensor in (value, offsets, weights):
            tensor.stop_gradient = False
        before = paddle.base.core.host_memory_stat_current_value("Allocated", 0)
        out = sample_flat(value, [(2, 2)], offsets, paddle.rand([1, 50, 1, 4]), weights, [16], paddle.full([16], 0.5))
        held = paddle.base.core.host_memory_stat_current_value("Allocated", 0) - before
        rows = 50 * 2 * 16 * 4 * 32 * 4
        assert held < rows / 2, f"{held} bytes; the rows are {rows}"
        out.sum().backward()

    @pytest.mark.parametrize("method", SAMPLING)
    def test_exported_equals_eager(self, method):
        """Points of their own for each level, any batch size, boxes that reach out of the picture, no grid_sample."""
        attention, shapes = StoredScaleAttention(16, 2, [3, 1], method), [(4, 3), (2, 2)]
        attention.sampling_offsets.weight.set_value(paddle.randn([16, 16]))
        attention.attention_weights.weight.set_value(paddle.randn([16, 8]))
        inputs = [paddle.randn([2, 5, 16]), paddle.rand([2, 5, 1, 4]), paddle.randn([2, 16, 16])]
        spec = [paddle.static.InputSpec([None, *tensor.shape[1:]]) for tensor in inputs]

        exported = paddle.jit.to_static(OfFixedShapes(attention, shapes), input_spec=spec, full_graph=True)
        assert relative_error(exported(*inputs).numpy(), attention(*inputs, shapes).numpy()) <= 1e-5
        assert "grid_sample" not in str(exported.forward.main_program)

    @pytest.mark.skipif(paddle.__version__.startswith("2."), reason="about the oneDNN passes of Paddle 3")
    @pytest.mark.parametrize("method", SAMPLING)
    def test_exported_runs_in_onednn(self, method, tmp_path):
        """oneDNN's passes lack a transpose of whole numbers, and take a floor in place that is needed again (3.3.1)."""
        attention, shapes = StoredScaleAttention(16, 2, [3, 1], method), [(4, 3), (2, 2)]
        attention.sampling_offsets.weight.set_value(paddle.randn([16, 16]))
        inputs = [paddle.randn([2, 5, 16]), paddle.rand([2, 5, 1, 4]), paddle.randn([2, 16, 16])]
        spec = [paddle.static.InputSpec([None, *tensor.shape[1:]]) for tensor in inputs]
        network = paddle.jit.to_static(OfFixedShapes(attention, shapes), input_spec=spec, full_graph=True)
        paddle.jit.save(network, str(tmp_path / "model"))
        config = inference.Config(str(tmp_path / "model.json"), str(tmp_path / "model.pdiparams"))
        config.disable_gpu()
        config.enable_mkldnn()
        predictor = inference.create_predictor(config)
        for name, tensor in zip(predictor.get_input_names(), inputs):
            predictor.get_input_handle(name).copy_from_cpu(tensor.numpy())
        predictor.run()
        found = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
        assert relative_error(found, attention(*inputs, shapes).numpy()) <= 1e-5

    def test_points_of_levels(self):
        assert points_of_levels(4, 3) == [4, 4, 4] and points_of_levels([1, 2], 2) == [1, 2]
        with pytest.raises(UserError, match=r"num_decoder_points is \[4, 4\]"):
            points_of_levels([4, 4], 3)

    def test_discrete_sampling_by_hand(self):
        """A level of 2 x 3 pixels that hold their own number, and one of 1 x 1: size * location, rounded and cut."""
        value = paddle.to_tensor([0, 1, 2, 3, 4, 5, 100], "float32").reshape([1, 7, 1, 1])
        places = [[0.0, 0.0], [0.4, 0.3], [0.1, 0.2], [7.0, -7.0], [0.3, 0.9]]
        picked = [0, 1 + 3, 0, 2, 100]  # 0.4 * 3 = 1.2 -> 1 and 0.3 * 2 = 0.6 -> 1; 0.3 -> 0 and 0.4 -> 0
        weights = [1.0, 10.0, 0.5, 3.0, 0.1]
        for core in SAMPLING["discrete"]:
            out = core(value, [(2, 3), (1, 1)], paddle.to_tensor(places).reshape([1, 1, 1, 5, 2]),
                       paddle.to_tensor(weights).reshape([1, 1, 1, 5]), [4, 1])
            assert float(out) == pytest.approx(np.dot(picked, weights))


class TestBoxes:
    def test_forms_are_inverse(self):
        boxes = paddle.rand([5, 4])
        assert np.allclose(xyxy_to_cxcywh(cxcywh_to_xyxy(boxes)).numpy(), boxes.numpy(), atol=1e-6)

    @pytest.mark.parametrize("target, predicted", [
        ([0.5, 0.5, 6e-7, 6e-7], [0.5, 0.5, 0.2, 0.2]),          # 0.0004 pixels of 640: its sides are lost in float32
        ([0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0]),
        ([0.7, 0.3, 1e-9, 0.2], [0.7, 0.3, 1e-9, 0.2]),
        ([0.25, 0.25, 0.5, 0.5], [0.75, 0.75, 0.5, 0.5]),        # they touch
        ([0.25, 0.25, 0.5, 0.5], [0.25, 0.25, 0.5, 0.0]),
    ])
    def test_gradients_are_finite_however_thin_the_boxes(self, target, predicted):
        predicted = paddle.to_tensor([predicted])
        predicted.stop_gradient = False
        iou, giou = iou_and_giou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(paddle.to_tensor([target])))
        (iou + giou).sum().backward()
        assert np.isfinite([float(iou), float(giou), *predicted.grad.numpy().ravel()]).all()

    def test_the_guard_changes_no_bit_of_ordinary_boxes(self):
        def plain(low, high):
            return (high - low).clip(min=0).prod(axis=-1)

        rng, found = np.random.default_rng(0), []
        arrays = [np.concatenate([rng.random((500, 2)), rng.uniform(0.001, 0.6, (500, 2))], 1).astype("float32")
                  for _ in range(2)]
        for area in (box_arithmetic._area, plain):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(box_arithmetic, "_area", area)
                a, b = map(paddle.to_tensor, arrays)
                a.stop_gradient = False
                values = iou_and_giou(cxcywh_to_xyxy(a), cxcywh_to_xyxy(b))
                (values[0] - 2 * values[1]).sum().backward()
            found.append([tensor.numpy().view("int32") for tensor in (*values, a.grad)])
        for guarded, unguarded in zip(*found):
            np.testing.assert_array_equal(guarded, unguarded)

    def test_iou_by_hand(self):
        a, b = paddle.to_tensor([[0.0, 0, 2, 2]]), paddle.to_tensor([[1.0, 1, 3, 3]])
        iou, giou = iou_and_giou(a, b)
        assert float(iou) == pytest.approx(1 / 7)
        assert float(giou) == pytest.approx(1 / 7 - 2 / 9)

    def test_pairwise_equals_pair_by_pair(self):
        boxes = np.random.default_rng(0).uniform(0.1, 0.9, (6, 4)).astype("float32")
        corners = cxcywh_to_xyxy(paddle.to_tensor(boxes))
        _, giou = iou_and_giou(corners[:3], corners[3:])
        assert np.allclose(np.diag(pairwise_giou(boxes[:3], boxes[3:])), giou.numpy(), atol=1e-6)

    def test_inverse_sigmoid_is_finite_at_the_ends(self):
        ends = inverse_sigmoid(paddle.to_tensor([0.0, 0.5, 1.0])).numpy()
        assert ends == pytest.approx([-11.5129, 0, 11.5129], abs=1e-3)


class TestDenoising:
    def make(self, counts=(2, 0, 3), noise=1.0, labels=0.5, **settings):
        boxes, classes = targets_of(counts)
        table = paddle.arange(10, dtype="float32").unsqueeze(-1).tile([1, 4])
        return boxes, classes, contrastive_denoising(
            [paddle.to_tensor(c) for c in classes], [paddle.to_tensor(b) for b in boxes], 10, 7, table,
            **{"num_denoising": 6, "label_noise_ratio": labels, "box_noise_scale": noise, **settings})

    def test_positives_hold_each_box_once_a_group(self):
        boxes, classes, made = self.make(noise=1e-6, labels=0.0)
        assert made.meta.groups == 2 and made.meta.split == [12, 7]
        for image, index in enumerate(made.meta.positives):
            assert len(index) == 2 * len(classes[image])
            content = made.content.numpy()[image, index, 0]
            assert content.tolist() == np.tile(classes[image][:, 0], 2).tolist()
            restored = paddle.nn.functional.sigmoid(made.raw_boxes).numpy()[image, index]
            assert np.allclose(restored, np.tile(boxes[image], [2, 1]), atol=1e-3)

    def test_negatives_move_further_than_positives(self):
        # away from the image's border, where corners would be clipped
        boxes = paddle.to_tensor([[0.5, 0.5, 0.1, 0.2], [0.45, 0.5, 0.2, 0.1]]).tile([50, 1]).unsqueeze(0)
        negative = np.arange(100) % 4 >= 2
        moved = cxcywh_to_xyxy(noisy_boxes(boxes, negative, 1.0)) - cxcywh_to_xyxy(boxes)
        shift = (moved.abs() / (boxes[..., 2:] / 2).tile([1, 1, 2])).numpy()[0]
        assert (shift[~negative] <= 1 + 1e-4).all()
        assert (shift[negative] >= 1 - 1e-4).all() and (shift[negative] <= 2 + 1e-4).all()

    def test_queries_do_not_see_noisy_ground_truth(self):
        mask = attention_mask(group_size=2, groups=3, num_queries=4).numpy()
        assert mask.shape == (10, 10)
        assert not mask[6:, :6].any() and mask[:, 6:].all()
        assert mask[:2, :2].all() and not mask[:2, 2:6].any()

    def test_off_or_nothing_to_denoise(self):
        assert self.make(num_denoising=0)[2] is None
        assert self.make(counts=(0, 0))[2] is None


class TestMatcher:
    def test_each_box_gets_its_own_prediction(self):
        boxes, classes = targets_of([3])
        predicted = np.concatenate([targets_of([4])[0][0] * 0.5, boxes[0]])[None]
        logits = np.full((1, 7, 10), -4.0, "float32")
        logits[0, np.arange(4, 7), classes[0][:, 0]] = 2.0
        matcher = HungarianMatcher(use_focal_loss=True)
        (source, target), = matcher(paddle.to_tensor(predicted), paddle.to_tensor(logits),
                                    [paddle.to_tensor(boxes[0])], [paddle.to_tensor(classes[0])])
        assert dict(zip(target.numpy().tolist(), source.numpy().tolist())) == {0: 4, 1: 5, 2: 6}

    def test_nan_is_said(self):
        boxes, classes = (([paddle.to_tensor(a) for a in arrays]) for arrays in targets_of([2]))
        bad = paddle.full([1, 5, 4], float("nan"))
        with pytest.raises(UserError, match="diverged"):
            HungarianMatcher(use_focal_loss=True)(bad, paddle.zeros([1, 5, 10]), boxes, classes)


class TestLoss:
    def test_focal_loss_when_varifocal_is_off(self):
        loss = DINOLoss(num_classes=10, matcher=HungarianMatcher(use_focal_loss=True), use_focal_loss=True)
        boxes, classes = targets_of([2])
        logits = paddle.zeros([1, 1, 2, 10])
        terms = loss(paddle.to_tensor(boxes[0])[None, None], logits, [paddle.to_tensor(boxes[0])],
                     [paddle.to_tensor(classes[0])])
        # at p = 1/2 each element costs alpha_t * 1/4 * log 2; two positives and eighteen negatives over two boxes
        expected = (2 * 0.25 + 18 * 0.75) * 0.25 * np.log(2) / 2
        assert float(terms["loss_class"]) == pytest.approx(expected, rel=1e-5)
        assert float(terms["loss_bbox"]) == pytest.approx(0, abs=1e-6)

    def test_denoising_terms_box_by_box(self):
        """Three images, one of them empty: each layer's terms equal sums over single boxes and single scores."""
        boxes, classes = targets_of([2, 0, 1])
        groups, classes_count = 2, 10
        paddle.seed(1)
        dn_boxes, dn_logits = paddle.rand([2, 3, 8, 4]) * 0.5 + 0.2, paddle.randn([2, 3, 8, classes_count])
        meta = DenoisingMeta([np.array([0, 1, 4, 5]), np.array([], "int64"), np.array([0, 4])], groups, [8, 5])
        loss = DINOLoss(classes_count, HungarianMatcher(use_focal_loss=True), use_focal_loss=True, use_vfl=True)
        gt = [paddle.to_tensor(b) for b in boxes], [paddle.to_tensor(c) for c in classes]
        terms = loss(paddle.rand([2, 3, 5, 4]), paddle.randn([2, 3, 5, classes_count]), *gt, dn_out_bboxes=dn_boxes,
                     dn_out_logits=dn_logits, dn_meta=meta)

        wanted = np.zeros((2, 3))
        for layer in range(2):
            for image, positives in enumerate(meta.positives):
                prob = 1 / (1 + np.exp(-dn_logits.numpy()[layer, image].astype("float64")))
                cost = -0.75 * prob**2 * np.log(1 - prob)
                for k, query in enumerate(positives):
                    target, label = boxes[image][k % len(boxes[image])], int(classes[image][k % len(boxes[image])])
                    predicted = dn_boxes.numpy()[layer, image, query]
                    pair = [cxcywh_to_xyxy(paddle.to_tensor(b[None])) for b in (predicted, target)]
                    iou, giou = (float(value) for value in iou_and_giou(*pair))
                    p = prob[query, label]
                    cost[query, label] = -iou * (iou * np.log(p) + (1 - iou) * np.log(1 - p))
                    wanted[layer, 1:] += 5 * np.abs(predicted - target).sum(), 2 * (1 - giou)
                wanted[layer, 0] += cost.sum()
        wanted /= 3 * groups
        found = [[float(terms[f"loss_{t}{aux}_dn"]) for t in ("class", "bbox", "giou")] for aux in ("_aux", "")]
        assert np.allclose(found, wanted, rtol=1e-4)

    @pytest.mark.parametrize("index", [0, -1])
    def test_one_matching_for_the_auxiliary_layers(self, index):
        boxes, classes = targets_of([3])
        gt = [paddle.to_tensor(boxes[0])], [paddle.to_tensor(classes[0])]
        layers, logits = paddle.rand([4, 1, 6, 4]), paddle.randn([4, 1, 6, 10])
        matcher = HungarianMatcher(use_focal_loss=True)
        shared = DINOLoss(10, matcher, use_focal_loss=True, use_uni_match=True, uni_match_ind=index)
        own = matcher.match(layers, logits, *gt)
        same = [[tuple(part.tolist() for part in pair) for pair in images] for images in own]
        found = [[tuple(part.tolist() for part in pair) for pair in images]
                 for images in shared.match(layers, logits, *gt)]
        assert found == [same[:-1][index]] * 3 + [same[-1]]

    def test_softmax_scores_are_refused(self):
        with pytest.raises(UserError, match="use_focal_loss: true"):
            DINOLoss(matcher=HungarianMatcher(), use_focal_loss=False)


@pytest.fixture(scope="module")
def small_detector():
    return build_detector(**SMALL)


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (300, 0), (300, 5)], ids=str)
def test_odd_batches_train(small_detector, counts):
    """No box at all, one image with 300 boxes (more than queries), and both in one batch: finite losses, gradients."""
    model = small_detector
    model.train()
    model.clear_gradients()
    losses = model(train_batch(96, 128, 2, targets=targets_of(counts)))
    losses["loss"].backward()
    assert all(np.isfinite(float(value)) for value in losses.values())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) > 100 and all(bool(paddle.isfinite(g).all()) for g in gradients)
    assert (float(losses["loss_bbox"]) > 0) == (sum(counts) > 0)


def test_every_parameter_learns(small_detector):
    model = frozen_norm_train(small_detector)
    model.clear_gradients()
    model(train_batch(128, 128, 2, targets=targets_of([3, 2])))["loss"].backward()
    dead = [name for name, p in model.named_parameters() if not p.stop_gradient and p.grad is None]
    assert dead == []


def test_detections_are_in_pixels_of_the_original_image(small_detector):
    model = small_detector
    model.eval()
    batch = eval_batch(128, 128)
    with paddle.no_grad():
        same = model(batch)["bbox"].numpy()
        batch["scale_factor"] = paddle.to_tensor([[0.5, 0.25]])
        larger = model(batch)["bbox"].numpy()
    assert np.allclose(larger[:, 2:], same[:, 2:] * [4, 2, 4, 2], atol=1e-2)
    assert (np.diff(same[:, 1]) <= 1e-7).all()


def test_training_without_ground_truth(small_detector):
    small_detector.train()
    with pytest.raises(UserError, match="gt_bbox"):
        small_detector(eval_batch(64, 64))


def test_wrong_strides_name_what_is_wanted():
    shapes = [ShapeSpec(channels=64, stride=4), ShapeSpec(channels=128, stride=16)]
    with pytest.raises(UserError, match=r"double.*\[4, 16\].*\[64, 128\]"):
        HybridEncoder(**HybridEncoder.from_config(None, shapes))


def test_attention_in_a_level_that_is_not_there():
    shapes = [ShapeSpec(channels=64, stride=16), ShapeSpec(channels=128, stride=32)]
    with pytest.raises(UserError, match=r"use_encoder_idx \[2\]: the backbone gives 2 levels, 0 to 1"):
        HybridEncoder(**HybridEncoder.from_config(None, shapes), use_encoder_idx=[2])


def test_image_that_is_no_multiple_of_the_stride(small_detector):
    small_detector.eval()
    with pytest.raises(UserError, match="multiples of 32"):
        small_detector(eval_batch(100, 128))


@pytest.mark.parametrize("settings, words", [
    ({"nhead": 5}, "multiple of nhead 5"), ({"eval_idx": 3}, "eval_idx 3 names no layer")])
def test_wrong_decoder_sizes(settings, words):
    with pytest.raises(UserError, match=words):
        build_detector(RTDETRTransformer=settings)


def test_more_queries_than_positions(small_detector):
    small_detector.eval()
    with pytest.raises(UserError, match="num_queries is 60 but"):
        small_detector(eval_batch(32, 32))


def test_doubling_equals_interpolate():
    x = paddle.randn([2, 3, 5, 4])
    assert (double_size(x) == paddle.nn.functional.interpolate(x, scale_factor=2)).all()


def test_anchors_are_centred_on_cells():
    anchors, valid = make_anchors(((4, 2),))
    boxes = 1 / (1 + np.exp(-anchors))
    assert valid.all() and np.allclose(boxes[:3], [[.25, .125, .05, .05], [.75, .125, .05, .05], [.25, .375, .05, .05]])


def test_position_embedding_rows_first():
    table = sincos_position_embedding(2, 3, 8)[0]
    assert table.shape == (6, 8)
    row, column = np.array([1, 0.01]), np.array([2, 0.02])
    assert np.allclose(table[5], np.concatenate([np.sin(row), np.cos(row), np.sin(column), np.cos(column)]))


def test_golden_targets_differ_between_images():
    boxes, _ = golden_targets(80, 4)
    assert [len(b) for b in boxes] == [5, 1, 9, 3]
