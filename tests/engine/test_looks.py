# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""infer.py --visualize: what is drawn is what was read, on the right pixels, and drawing changes no result."""
import cv2
import numpy as np
import paddle
import pytest
from paddle import nn
from support.trainers import trainer_of

from ppdet_ext.cli import infer
from ppdet_ext.config import flags
from ppdet_ext.detector.attention import PPMSDeformableAttention, sample_by_grid
from ppdet_ext.detector.hybrid_encoder import HybridEncoder, TransformerLayer
from ppdet_ext.detector.postprocess import DETRPostProcess
from ppdet_ext.detector.self_attention import MultiHeadAttention
from ppdet_ext.engine import look_pictures
from ppdet_ext.engine.look_pictures import LEVELS, PANEL, Detection, Heat, Points, View
from ppdet_ext.engine.looks import KINDS, MOST_DETECTIONS, Looks, chosen
from ppdet_ext.engine.predict import predict
from ppdet_ext.errors import UserError

SHAPES = [(6, 8), (3, 4)]
WHOLE = Detection(0, "cat 0.90", 0, 0, 1, 1)


def part(**layers):
    """A layer that is no more than its parts."""
    made = nn.Layer()
    for name, layer in layers.items():
        setattr(made, name, layer)
    return made


class Pass(nn.Layer):
    """Gives what it gets."""

    def forward(self, x):
        return x


class HandMade(nn.Layer):
    """A 'detector' of one deformable attention: two queries, of which the second is the best."""

    def __init__(self):
        super().__init__()
        attention = PPMSDeformableAttention(8, 1, [1, 1])
        for layer in (attention.sampling_offsets, attention.attention_weights):
            layer.weight.set_value(paddle.zeros_like(layer.weight))
        # one point a map: an offset of 1 is half the box
        attention.sampling_offsets.bias.set_value(paddle.to_tensor([1.0, -2.0, -1.0, 9.0]))
        attention.attention_weights.bias.set_value(paddle.to_tensor([0.0, np.log(3.0)], "float32"))
        self.transformer = part(decoder=part(layers=nn.LayerList([part(cross_attn=attention)])))
        self.detr_head, self.post_process = Pass(), DETRPostProcess(num_top_queries=2, use_focal_loss=True)

    def forward(self, inputs):
        boxes = paddle.to_tensor([[[[0.1, 0.1, 0.1, 0.1]], [[0.5, 0.5, 0.5, 0.25]]]])
        self.transformer.decoder.layers[0].cross_attn(paddle.ones([1, 2, 8]), boxes, paddle.ones([1, 60, 8]), SHAPES)
        return self.detr_head((boxes, paddle.to_tensor([[[-3.0], [3.0]]]), None))


@pytest.fixture
def drawn(monkeypatch):
    """What the sheet of sampling points is given for HandMade, which saw a picture 200 wide, 100 high as 64x64."""
    given = []
    monkeypatch.setattr(look_pictures, "sampling", lambda *args: given.append(args))
    model = HandMade()
    with Looks(model, ["sampling"]) as looks:
        model({"image": paddle.zeros([1, 3, 64, 64])})
    looks.sheet("sampling", 0, np.zeros([100, 200, 3], np.uint8), np.array([0.64, 0.32]), [WHOLE])
    return given[0]


def test_known_sampling_points_land_on_known_pixels(drawn):
    picture, extent, _, [[points]], maps = drawn
    assert np.allclose(extent, (200, 100)) and maps == ["6x8", "3x4"]
    assert np.allclose(points.box, [0.5, 0.5, 0.5, 0.25]) and points.level.tolist() == [0, 1]
    # 0.5 + 1 * 0.25, 0.5 - 2 * 0.125; the other lies below the picture
    assert np.allclose(points.places, [[[0.75, 0.25], [0.25, 1.625]]]) and np.allclose(points.weights, [[0.25, 0.75]])
    view = View.of(0, 0, 200, 100)
    panel = look_pictures.draw_points(view.show(picture, (200, 100)), view, extent, points)
    coloured = (panel == LEVELS[0]).all(-1)
    rows, columns = np.nonzero(coloured)
    # pixel (150, 25) of the original, 1.6 times as large; the weight of 1/4 has half the radius
    assert panel.shape[1::-1] == (PANEL, 160)
    assert (columns.mean(), rows.mean()) == (240, 40) and columns.max() - columns.min() == look_pictures.RADIUS
    assert not (panel == LEVELS[1]).all(-1).any()
    assert look_pictures._title(points) == "layer 1, 75% outside"


def test_a_window_of_the_picture_keeps_points_at_their_pixels():
    picture = np.zeros([50, 90, 3], np.uint8)
    picture[31, 62] = 255
    view = View.of(40, 20, 80, 40)
    shown = view.show(picture, (90, 50))
    row, column = np.unravel_index(shown[..., 0].argmax(), shown.shape[:2])
    x, y = view.places(np.array([62.5, 31.5]))
    assert shown.shape == (160, 320, 3) and abs(column + 0.5 - x) <= 4 and abs(row + 0.5 - y) <= 4  # of 8 a pixel
    corner, opposite = view.places(np.array([[40, 20], [80, 40]]))
    assert corner.tolist() == [0, 0] and opposite.tolist() == [320, 160]


def test_heat_lies_over_its_cell_also_where_the_input_was_padded():
    # the network's input covers 400x200 pixels, of which the picture is 200x100: cell (0, 1) is its right half
    heat = Heat("", np.array([[0, 1, 0, 0], [0, 0, 0, 0.0]]), (0, 1))
    view = View.of(0, 0, 200, 100)
    panel = look_pictures._warm(np.zeros([160, 320, 3], np.uint8), view, (400, 200), heat).astype(int)
    red = panel[..., 0] - panel[..., 2]
    assert red[60, 240] > 50 and red[60, 60] < -50 and tuple(panel[100, 160]) == (255, 255, 255)


@pytest.mark.parametrize("sampling", ["default", "discrete"])
def test_the_points_shown_are_the_points_read(sampling):
    layer = PPMSDeformableAttention(16, 2, [2, 3], sampling)
    layer.sampling_offsets.weight.set_value(paddle.randn(layer.sampling_offsets.weight.shape) * 0.2)
    layer.attention_weights.weight.set_value(paddle.randn(layer.attention_weights.weight.shape))
    query, value, boxes = paddle.randn([2, 3, 16]), paddle.randn([2, 60, 16]), paddle.rand([2, 3, 1, 4]) * 0.5 + 0.2
    places, weights = layer.sampled(query, boxes, SHAPES)
    assert tuple(places.shape) == (2, 3, 2, 5, 2) and np.allclose(weights.sum(-1), 1)
    by_hand = sample_by_grid(layer.value_proj(value).reshape([2, 60, 2, 8]), SHAPES, places, weights, layer.points)
    np.testing.assert_allclose(layer.output_proj(by_hand), layer(query, boxes, value, SHAPES), atol=1e-5)


def test_the_shares_shown_are_the_shares_used():
    layer = MultiHeadAttention(16, 4)
    query, value = paddle.randn([2, 5, 16]), paddle.randn([2, 5, 16])
    joined = paddle.matmul(layer.shares(query, query), layer._project(value, 2)).transpose([0, 2, 1, 3]).flatten(2)
    np.testing.assert_allclose(layer.out_proj(joined), layer(query, query, value=value), atol=1e-6)


def test_attention_is_shown_for_the_cell_in_a_boxs_middle(monkeypatch):
    neck = HybridEncoder([4, 4], [8, 16], 8, [1], encoder_layer=TransformerLayer(8, 2, 8))
    given = []
    monkeypatch.setattr(look_pictures, "attention", lambda *args: given.append(args))
    model = part(neck=neck)
    model.forward = lambda inputs: neck([paddle.randn([1, 4, 8, 12]), paddle.randn([1, 4, 4, 6])])
    model.eval()
    with Looks(model, ["attention"]) as looks:
        model({"image": paddle.zeros([1, 3, 64, 96])})
    # 192x128: a cell of the coarse map is 32x32; the box's middle is (80, 48)
    box = Detection(0, "", 60, 40, 100, 56)
    looks.sheet("attention", 0, np.zeros([128, 192, 3], np.uint8), np.array([0.5, 0.5]), [box])
    [[heat]] = given[0][3]
    attention = neck.encoder[0].layers[0].self_attn
    query, key = looks.kinds["attention"]._inputs[id(attention)][:2]
    assert heat.cell == (1, 2) and heat.values.shape == (4, 6)
    np.testing.assert_allclose(heat.values.ravel(), attention.shares(query, key)[0, :, 8].mean(0), rtol=1e-5)
    assert not looks._model._forward_pre_hooks and not attention._forward_pre_hooks


V2 = ["DETR.transformer=RTDETRTransformerv2", *(f"RTDETRTransformerv2.{setting}" for setting in (
    "num_queries=20", "num_decoder_layers=2", "dim_feedforward=32", "nhead=2", "cross_attn_sampling_method=discrete"))]


@pytest.mark.parametrize("options", [[], V2], ids=["RT-DETR", "RT-DETRv2"])
def test_looking_changes_nothing_and_leaves_a_sheet_of_each_kind(options, tiny_config, small_digits, tmp_path):
    """A batch of two pictures, one of which has the name of the other's sheet."""
    trainer = trainer_of(tiny_config, ["TestReader.batch_size=2", *options], mode="test")
    picture = cv2.resize(cv2.imread(str(small_digits / "val" / "000000.jpg")), (96, 96))
    images = [str(tmp_path / name) for name in ("a.jpg", "A_sampling.png")]
    cv2.imwrite(images[0], picture)
    cv2.imwrite(images[1], picture[:40])
    plain = trainer.predict(images, output_dir=str(tmp_path / "plain"), visualize=False)
    seen = trainer.predict(images, output_dir=str(tmp_path / "seen"), looks=list(KINDS))
    assert [[(key, value.tobytes()) for key, value in batch.items()] for batch in plain] == [
        [(key, value.tobytes()) for key, value in batch.items()] for batch in seen]
    assert not list((tmp_path / "plain").iterdir())
    sizes = {path.name: cv2.imread(str(path)).shape[:2] for path in (tmp_path / "seen").iterdir()}
    assert set(sizes) == {"a.jpg", "A_sampling.png", "a_features.png", "A_sampling_features.png", "a_sampling (2).png",
                          "A_sampling_sampling.png", "a_attention.png", "A_sampling_attention.png"}
    # 96 pixels square and 96x40, scaled: the picture and the backbone's three maps; picture and layers
    assert sizes["a_features.png"] == (18 + 2 * 342, 4 * 324) and sizes["A_sampling_features.png"][0] < 18 + 2 * 180
    assert sizes["a_sampling (2).png"][0] == 36 + 342


def test_large_and_flat_pictures_make_sheets_of_bounded_size():
    points = Points("layer 1", np.array([0.5, 0.5, 0.1, 0.1]), np.full([1, 2, 2], 0.5), np.array([[0.5, 0.5]]),
                    np.array([0, 1]))
    heat = Heat("", np.array([[np.nan, 1], [2, 3]]))
    for height, width in ((3, 40000), (3000, 2), (1, 1)):
        picture, extent = np.zeros([height, width, 3], np.uint8), (float(width), float(height))
        sheets = [look_pictures.features(picture, extent, [[heat] * 3] * 2),
                  look_pictures.sampling(picture, extent, [WHOLE] * 2, [[points] * 2] * 2, ["2x2", "1x1"]),
                  look_pictures.attention(picture, extent, [WHOLE] * 2, [[heat]] * 2)]
        assert all(max(sheet.shape) <= 4 * (PANEL + look_pictures.GAP) for sheet in sheets)


def test_the_best_detections_are_chosen():
    boxes = np.array([[number, 0.9 - number / 10, 1, 2, 3, 4] for number in range(9)])
    assert [found.text for found in chosen(boxes, {0: "cat"}, 0.65)] == ["cat 0.90", "1 0.80", "2 0.70"]
    assert len(chosen(boxes, {}, 0.0)) == MOST_DETECTIONS
    assert [found.place for found in chosen(boxes, {}, 0.95)] == [0] and chosen(boxes[:0], {}, 0.5) == []


@pytest.mark.parametrize("kind, reason", [("features", "has no backbone"),
                                          ("sampling", "Layer with transformer Pass has none; --visualize features"),
                                          ("attention", "neck: HybridEncoder")])
def test_what_a_detector_has_not_is_said(kind, reason):
    with pytest.raises(UserError, match=reason):
        Looks(part(transformer=Pass()), [kind])


def test_slices_are_not_looked_into():
    with pytest.raises(UserError, match="leave out --slice_infer"):
        predict(None, [], slices=object(), looks=["sampling"])


def test_the_flag(capsys):
    assert tuple(KINDS) == flags.LOOKS
    assert flags.looks("sampling,features,sampling") == ("sampling", "features")
    assert flags.looks("False") is False and flags.looks("1") is True
    with pytest.raises(SystemExit, match="2"):
        infer.parse_args(["-c", "x.yml", "--visualize", "sampling,heads"])
    assert "neither true nor false nor some of features,sampling,attention" in capsys.readouterr().err
