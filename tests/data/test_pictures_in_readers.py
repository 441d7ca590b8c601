# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The training reader takes pictures as deploy does: every kind, whole ones only, and what is wrong by name."""
import os

import cv2
import numpy as np
import pytest
from ppdet.core.workspace import create
from ppdet.data.transform import operators
from support import data_sets, pictures

from ppdet_ext.data import checks, images
from ppdet_ext.deploy import image_files, media
from ppdet_ext.errors import UserError


def reader_over(tmp_path, replace, mosaic=False):
    """The batches of a COCO set whose pictures ``replace(folder)`` has changed."""
    root = data_sets.write_coco(tmp_path / "set")
    replace(root / "images")
    values = data_sets.coco_values(root)
    values["TrainReader"]["shuffle"] = False
    if mosaic:
        values["TrainReader"].update(mosaic_epoch=9, sample_transforms=[
            {"Decode": {}}, {"Mosaic": {"input_dim": [32, 32], "enable_mixup": True}}, {"Permute": {}}])
    data_sets.load(tmp_path, values)
    return create("TrainReader")(create("TrainDataset")(), 0)


@pytest.mark.parametrize("kind", pictures.PILLOW)
def test_decode_gives_what_deploy_reads(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("OpenCV decodes it"))
    path = tmp_path / "photo.jpg"
    path.write_bytes(pictures.by_pillow(pictures.smooth(), kind))
    for transform in (operators.Decode(), operators.DecodeCache()):
        sample = transform({"im_file": str(path), "im_id": np.array([1])})
        np.testing.assert_array_equal(sample["image"], media.read_image(path))
        assert sample["h"] == 48 and sample["w"] == 64 and "im_file" not in sample
        assert list(sample["im_shape"]) == [48, 64] and list(sample["scale_factor"]) == [1, 1]
    chip = operators.SniperDecodeCrop()({"im_file": str(path), "chip": [8, 4, 40, 24]})
    np.testing.assert_array_equal(chip["image"], media.read_image(path)[4:24, 8:40])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
def test_decode_gives_the_pixels_that_ppdet_gives(suffix, tmp_path):
    content = pictures.by_opencv(pictures.smooth(), suffix)
    (tmp_path / "a.x").write_bytes(content)
    wanted = cv2.cvtColor(cv2.imdecode(np.frombuffer(content, np.uint8), 1), cv2.COLOR_BGR2RGB)
    for given in ({"im_file": str(tmp_path / "a.x")}, {"image": content}, {"image": wanted}):
        sample = operators.Decode()({**given, "keep_ori_im": 1, "h": 7, "w": 64})
        np.testing.assert_array_equal(sample["image"], wanted)
        np.testing.assert_array_equal(sample["ori_image"], wanted[..., ::-1])
        assert sample["h"] == 48


@pytest.mark.parametrize("content, words", [
    (lambda good: good[:len(good) // 2], "cut off: the end of the JPEG is missing"),
    (lambda good: pictures.with_size(good, 60_000, 60_000), "60000x60000 are more pixels than the 134217728 allowed"),
    (lambda good: b"no image", "broken, or not an image"),
    (None, "a folder, a pipe or a device"),
])
@pytest.mark.parametrize("mosaic", [False, True])
def test_a_picture_that_cannot_be_trained_on_stops_the_reader_by_name(content, words, mosaic, tmp_path):
    def replace(folder):
        for path in folder.iterdir():
            good = path.read_bytes()
            path.unlink()
            path.write_bytes(content(good)) if content else os.mkfifo(path)

    with pytest.raises(UserError, match=f"image '.*/images/..jpg.*{words}") as caught:
        list(reader_over(tmp_path, replace, mosaic))
    assert "\n" not in str(caught.value)


def test_the_look_at_headers_is_the_readers(tmp_path, caplog):
    image_files._said.clear()
    good, deep, bomb = (tmp_path / name for name in ("good.webp", "deep.png", "bomb.png"))
    good.write_bytes(pictures.by_pillow(pictures.smooth(), "WEBP", 6))
    deep.write_bytes(pictures.by_opencv(pictures.smooth().astype("uint16") * 16, ".png"))
    images.check_headers([good, deep], [(48, 64), (64, 48)])
    line, = [record.getMessage() for record in caplog.records]
    assert "deep.png' has 16 bits per channel, of which 12 are used" in line
    bomb.write_bytes(pictures.png_header(20_000, 20_000))
    with pytest.raises(UserError, match="bomb.png' is unreadable: 20000x20000 are more pixels"):
        images.check_headers([good, bomb], [(48, 64), (20_000, 20_000)])


def test_inference_leaves_out_what_its_reader_cannot_take(tmp_path, caplog):
    for name, size in (("good.png", (48, 64)), ("thin.png", (1, 5000))):
        (tmp_path / name).write_bytes(pictures.by_opencv(np.zeros((*size, 3), "uint8"), ".png"))
    values = data_sets.coco_values(data_sets.write_coco(tmp_path / "set"))
    values["TestReader"]["sample_transforms"][1] = {"Resize": {"target_size": [32, 32], "keep_ratio": True}}
    data_sets.load(tmp_path, values)
    paths = [str(tmp_path / name) for name in ("thin.png", "good.png")]
    prepare = create("TestReader")._sample_transforms
    assert checks.readable_images(paths, prepare) == paths[1:]
    assert [record for record in caplog.records if "thin.png': 5000x1: " in record.getMessage()]
