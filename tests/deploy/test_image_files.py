# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Image files are recognised by their first bytes, measured before they are decoded, and read alike everywhere."""
import os
import subprocess
import sys
import tracemalloc

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile
from support import pictures
from support.paths import REPO

from ppdet_ext.deploy import DeployError, file_names, image_files, image_formats, media, preprocess, video
from ppdet_ext.deploy.image_formats import UnreadableImage


@pytest.fixture
def said(caplog):
    """What is said about 16 bits, as in a new process."""
    image_files._said.clear()
    return lambda: [record.getMessage() for record in caplog.records]


# ---- which decoder

@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp"])
@pytest.mark.parametrize("grey", [False, True])
def test_pixels_of_8_bits_are_opencvs(suffix, grey):
    image = pictures.smooth()
    data = pictures.by_opencv(image[..., 0] if grey else image, suffix)
    wanted = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(image_files.decode_image(data), wanted)


@pytest.mark.parametrize("kind", pictures.PILLOW)
def test_other_kinds_do_not_reach_opencv_whatever_their_name(kind, tmp_path, monkeypatch):
    settings = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100}}.get(kind, {})
    path = tmp_path / "photo.jpg"
    path.write_bytes(pictures.by_pillow(pictures.smooth(), kind, **settings))
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("OpenCV decodes it"))
    found = media.read_image(path)
    assert found.shape == (48, 64, 3) and found.dtype == np.uint8 and found.flags.writeable
    assert np.abs(found.astype(int) - pictures.smooth()).mean() < 2
    assert image_files.image_header(path) == (64, 48, 8)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("turned", [3, 6])
def test_pictures_are_turned_upright(kind, turned):
    image = pictures.smooth()
    stored = np.rot90(image, {3: 2, 6: 1}[turned])
    found = image_files.decode_image(pictures.by_pillow(np.ascontiguousarray(stored), kind, turned))
    assert found.shape == image.shape and np.abs(found.astype(int) - image).mean() < 10


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", *pictures.PILLOW])
@pytest.mark.parametrize("turned", [1, 3, 8])
def test_the_upright_size_is_that_of_the_pixels(kind, turned, tmp_path):
    path = tmp_path / "photo"
    path.write_bytes(pictures.by_pillow(pictures.smooth(), kind, turned))
    width, height, orientation = image_files.upright_size(path)
    assert image_files.read_image(path).shape[:2] == (height, width)
    assert orientation == turned or kind not in ("JPEG", "PNG", "WEBP")


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_what_pillow_lacks_is_one_line(kind, monkeypatch):
    data = pictures.by_pillow(pictures.smooth(), kind)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UnreadableImage, match="which needs Pillow: pip install pillow"):
        image_files.decode_image(data)
    monkeypatch.undo()
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    monkeypatch.setattr(Image, "open", lambda *_, **__: (_ for _ in ()).throw(KeyError(kind)))
    with pytest.raises(UnreadableImage, match=f"(?i){kind}, which this Pillow cannot read"):
        image_files.decode_image(data)


def test_pillow_is_not_needed_for_jpeg_png_and_bmp(tmp_path):
    for suffix in (".jpg", ".png", ".bmp"):
        (tmp_path / f"a{suffix}").write_bytes(pictures.by_opencv(pictures.smooth(), suffix))
    code = ("import sys, importlib.util; sys.modules['PIL'] = None\n"
            f"spec = importlib.util.spec_from_file_location('deploy', '{REPO}/ppdet_ext/deploy/__init__.py', "
            f"submodule_search_locations=['{REPO}/ppdet_ext/deploy'])\n"
            "module = sys.modules['deploy'] = importlib.util.module_from_spec(spec); spec.loader.exec_module(module)\n"
            "from deploy import media\nprint([media.read_image(path).shape for path in sys.argv[1:]])")
    done = subprocess.run([sys.executable, "-c", code, *map(str, sorted(tmp_path.iterdir()))], capture_output=True,
                          text=True, timeout=120)
    assert done.stdout.strip() == str([(48, 64, 3)] * 3), done.stderr


# ---- 16 bits

@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("colour", [True, False])
@pytest.mark.parametrize("bits, factor", [(12, 16), (10, 4), (16, 257)])
def test_pictures_of_12_bits_in_16_are_not_black(suffix, colour, bits, factor, said):
    tifffile = pytest.importorskip("tifffile")
    image = np.clip(pictures.smooth().astype(int) * 2 - 60, 0, 255).astype("uint16")  # up to 255
    deep = (image if colour else image[..., 0]) * np.uint16(factor)
    if suffix == "png":
        data = pictures.by_opencv(deep, ".png")
    else:
        tifffile.imwrite(file := pictures.io.BytesIO(), deep, photometric="rgb" if colour else "minisblack")
        data = file.getvalue()
    for _ in range(2):
        found = image_files.decode_image(data, "deep")
        np.testing.assert_array_equal(found, image if colour else np.repeat(image[..., :1], 3, 2))
    assert len(said()) == (0 if bits == 16 else 1)
    assert all(f"'deep' has 16 bits per channel, of which {bits} are used" in line for line in said())


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", None])
def test_compressed_tiffs_of_16_bits(compression, said):
    tifffile = pytest.importorskip("tifffile")
    deep = pictures.smooth().astype("uint16") * 16
    deep[0, 0] = 4095
    if compression == "tiff_lzw":  # Pillow writes grey only
        data, wanted = pictures.by_pillow(deep[..., 0], "TIFF", 6, compression=compression), np.rot90(deep[..., 0], -1)
        wanted = np.repeat(wanted[..., None], 3, 2)
    else:
        tifffile.imwrite(file := pictures.io.BytesIO(), deep, photometric="rgb", byteorder=">",
                         compression="zlib" if compression else None)
        data, wanted = file.getvalue(), deep
    np.testing.assert_array_equal(image_files.decode_image(data), wanted >> 4)


def test_what_a_tiff_says_of_its_bits_goes_before_its_values(said):
    tifffile = pytest.importorskip("tifffile")
    dark = np.full((8, 8), 4000, np.uint16)
    for largest, wanted in ((65535, 4000 >> 8), (16383, 4000 >> 6), (4095, 4000 >> 4), (1023, 4000 >> 8)):
        tifffile.imwrite(file := pictures.io.BytesIO(), dark, extratags=[(281, "H", 1, largest, True)])
        assert image_files.decode_image(file.getvalue()).max() == wanted, largest


@pytest.mark.parametrize("kind", ["float", "planes"])
def test_tiffs_that_cannot_be_read_rightly_are_refused(kind):
    tifffile = pytest.importorskip("tifffile")
    file, deep = pictures.io.BytesIO(), pictures.smooth().astype("uint16") * 16
    if kind == "float":
        tifffile.imwrite(file, deep[..., 0].astype("float32") / 4096)
    else:
        tifffile.imwrite(file, deep.transpose(2, 0, 1).copy(), photometric="rgb", planarconfig="separate")
    with pytest.raises(UnreadableImage, match="32 bits and no known range|16 bits per colour that is not read"):
        image_files.decode_image(file.getvalue())


# ---- broken and hostile files

@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", *pictures.PILLOW])
def test_a_picture_that_is_cut_off_is_an_error(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # ppdet's trainer sets it
    data = pictures.by_pillow(pictures.smooth(), kind)
    for length in (len(data) // 3, len(data) * 2 // 3, len(data) - 12):
        (tmp_path / "cut.x").write_bytes(data[:length])
        with pytest.raises(UnreadableImage, match="cut.x") as caught:
            image_files.read_image(tmp_path / "cut.x")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_without_its_end_is_cut_off_and_one_with_a_film_after_it_is_not(progressive):
    image = pictures.smooth()
    thumbnail = pictures.by_opencv(image[:16, :16], ".jpg")
    # a whole JPEG inside the metadata has an end of its own
    data = pictures.by_pillow(image, "JPEG", progressive=progressive, exif=b"Exif\0\0" + thumbnail)
    for length in (len(data) - 1, len(data) - 2, len(data) // 2 + len(thumbnail) // 2):
        with pytest.raises(UnreadableImage, match="cut off: the end of the JPEG is missing"):
            image_files.decode_image(data[:length])
    whole = image_files.decode_image(data)
    np.testing.assert_array_equal(image_files.decode_image(data + b"film \xff\xda\xff\xd8" * 10), whole)
    tables = data.index(b"\xff\xdb", len(thumbnail) + 30)
    np.testing.assert_array_equal(image_files.decode_image(data[:tables] + b"noise" + data[tables:]), whole)


def test_scans_of_a_jpeg_are_counted():
    data = pictures.by_pillow(pictures.smooth(), "JPEG", progressive=True)
    start = data.rindex(b"\xff\xda")
    with pytest.raises(UnreadableImage, match="a JPEG of 1.. scans; at most 100"):
        image_files.decode_image(data[:-2] + data[start:-2] * 120 + data[-2:])


@pytest.mark.parametrize("content, words", [
    (b"", "the file is empty"), (b"<html>404</html>", "broken, or not an image"), (b"BMW is a car", "broken"),
    (b"\xff\xd8\xff" + b"\0" * 100_000, "broken"), (b"RIFF\1\0\0\0WEBP", "broken"),
    (b"II*\0\xff\xff\xff\x7f", "broken"), (b"\xff\xd8\xff\xe0\0\0" * 9, "broken"),
])
def test_what_is_no_picture_is_one_line(content, words):
    for read in (image_files.decode_image, lambda data: image_files.image_header(write(data))):
        with pytest.raises(UnreadableImage, match=words) as caught:
            read(content)
        assert "\n" not in str(caught.value)


def write(data):
    path = os.path.join(os.environ["PYTEST_FOLDER"], "x")
    with open(path, "wb") as file:
        file.write(data)
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTEST_FOLDER", str(tmp_path))


BOMBS = {
    "png": lambda: pictures.png_header(20_000, 20_000),
    "bmp": lambda: pictures.bmp_header(20_000, -20_000),
    "jpeg": lambda: pictures.with_size(pictures.by_opencv(pictures.smooth(), ".jpg"), 60_000, 60_000),
    "gif": lambda: b"GIF89a" + b"\xff" * 4 + pictures.by_pillow(pictures.smooth(), "GIF")[10:],
    "ppm": lambda: b"P6 20000 20000 255\n" + bytes(99),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_too_many_pixels_are_refused_by_the_header(kind, monkeypatch):
    data = BOMBS[kind]()
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("it is decoded"))
    tracemalloc.start()
    with pytest.raises(UnreadableImage, match=r"\d+x\d+ are more pixels than the 134217728 allowed; PPDET_EXT_MAX_PIX"):
        image_files.decode_image(data, "bomb")
    assert tracemalloc.get_traced_memory()[1] < 2e6
    tracemalloc.stop()
    with pytest.raises(UnreadableImage, match="are more pixels than"):
        image_files.image_header(write(data))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_limit_can_be_set(kind, monkeypatch):
    data = pictures.by_pillow(pictures.smooth(), kind)
    monkeypatch.setenv(image_formats.LIMIT, str(48 * 64))
    assert image_files.decode_image(data).shape == (48, 64, 3)
    monkeypatch.setenv(image_formats.LIMIT, str(48 * 64 - 1))
    with pytest.raises(UnreadableImage, match="64x48 are more pixels than the 3071 allowed"):
        image_files.decode_image(data)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow's own limit does not count, and stays
    monkeypatch.delenv(image_formats.LIMIT)
    assert image_files.decode_image(data).shape == (48, 64, 3) and Image.MAX_IMAGE_PIXELS == 100
    for wrong in ("0", "-1", "many", "1e9", "9" * 5000):
        monkeypatch.setenv(image_formats.LIMIT, wrong)
        with pytest.raises(DeployError, match="PPDET_EXT_MAX_PIXELS is .* must be a whole number"):
            image_files.decode_image(data)


def test_a_file_far_longer_than_its_picture_is_not_read(tmp_path):
    for suffix in (".jpg", ".png"):
        path = tmp_path / f"long{suffix}"
        path.write_bytes(pictures.by_opencv(pictures.smooth(), suffix))
        os.truncate(path, 1 << 36)  # holes: it takes no space
        with pytest.raises(UnreadableImage, match="far too long for its 64x48 pixels"):
            image_files.read_image(path)
    path = tmp_path / "long.webp"
    path.write_bytes(pictures.by_pillow(pictures.smooth(), "WEBP"))
    os.truncate(path, 1 << 36)
    with pytest.raises(UnreadableImage, match="a WebP file of more than 256 MiB"):
        image_files.read_image(path)


@pytest.mark.parametrize("step", [
    {"type": "Resize", "target_size": 30000}, {"type": "Resize", "target_size": [30000, 30000], "keep_ratio": False},
    {"type": "Pad", "size": [30000, 30000]}, {"type": "Pad", "size_divisor": 30000},
    {"type": "PadStride", "stride": 30000},
])
def test_a_model_that_wants_pictures_of_endless_size_is_refused(step):
    with pytest.raises(DeployError, match=f"Preprocess: {step['type']}: .* not .?30000"):
        preprocess.build([step])


def test_a_picture_that_a_step_cannot_take_is_named():
    steps = preprocess.build([{"type": "Resize", "target_size": 32, "keep_ratio": True}])
    thin = np.zeros((1, 5000, 3), np.uint8)
    with pytest.raises(image_formats.PictureError, match="cannot prepare 'thin.png' of 1x5000: Resize makes nothing"):
        preprocess.apply(steps, thin, "thin.png")


# ---- what lies in a folder, and what is written

def test_a_folder_with_more_than_pictures(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "zero.bmp").symlink_to("/dev/zero")
    (tmp_path / "nothing.gif").symlink_to("nowhere")
    wanted = ["a.JPG", "b.webp", "c.tif", "d.tiff", "e.jp2", "f.avif", "g.gif", "h.ppm"]
    for name in (*wanted, ".hidden", "notes.txt", "raw.heic", "README"):
        (tmp_path / name).touch()
    lines = []
    assert [path.name for path in media.find_images(image_dir=tmp_path, tell=lines.append)] == wanted
    assert [line for line in lines if "pipe.jpg" in line and "a pipe, a device" in line]
    assert len(lines) == 5 and "3 of the files" in lines[-1] and "('.heic', '.txt', no suffix)" in lines[-1]
    for name in ("pipe.jpg", "folder.png", "zero.bmp"):
        with pytest.raises(UnreadableImage, match=f"{name}' .a folder, a pipe or a device, not a file"):
            image_files.read_image(tmp_path / name)
        with pytest.raises(DeployError, match="is not a file"):
            media.find_images(image_file=tmp_path / name)


def test_pictures_of_one_name_do_not_replace_each_other(tmp_path):
    sources = ["a/x.jpg", "b/x.jpg", "b/X.JPG", "b/x (2).jpg", "c/photo", "d/photo.png"]
    assert [path.name for path in media.image_targets(sources, tmp_path)] == [
        "x.jpg", "x (2).jpg", "X (3).JPG", "x (2) (2).jpg", "photo.png", "photo (2).png"]
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.jpg").touch()
    with pytest.raises(DeployError, match="would overwrite '.*b/x.jpg'"):
        media.image_targets([tmp_path / "a/x.jpg", tmp_path / "b/x.jpg"], tmp_path / "b")


@pytest.mark.parametrize("text, wanted", [
    ("cat", "cat"), ("traffic light", "traffic light"), ("自行车", "自行车"), ("../../etc/passwd", "_.._etc_passwd"),
    ("/tmp/x", "_tmp_x"), ("..", "_"), ("", "_"), ("a\0b\nc\x1b[2Jd", "a_b_c_[2Jd"), ("c:\\x", "c__x"),
    ("\u202egpj", "_gpj"), ("é" * 300, "é" * 100),
])
def test_names_that_are_safe_for_files(text, wanted, tmp_path):
    assert file_names.safe_name(text) == wanted
    path = tmp_path / f"{file_names.safe_name(text)}_precision_recall_curve.jpg"
    path.touch()
    assert path.parent == tmp_path and [path] == list(tmp_path.iterdir())


def test_different_names_are_different_files():
    names = [file_names.safe_name(text) for text in ("a/b", "a_b", "A_B", "a:b", "a_b (2)", "e\u0301", "é")]
    found = file_names.distinct_names(names)
    assert found[0] == "a_b" and len({name.casefold() for name in found}) == len(names)


def test_a_picture_is_no_video(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(pictures.by_pillow(pictures.smooth(), "WEBP"))
    with pytest.raises(DeployError, match="clip.mp4' is a picture .WebP.; use --image_file"):
        video.Video(path)
