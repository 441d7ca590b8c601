# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""No frame of a video vanishes without a word, and its flags do what they do for pictures."""
import contextlib
import functools
import http.server
import json
import threading

import cv2
import numpy as np
import pytest
from support import known_network

from ppdet_ext.deploy import DeployError, session, slicing, video
from ppdet_ext.deploy.command_line import parse_args

resource = pytest.importorskip("resource")
SHADES = (250, 25, 200, 50, 150, 100)


@pytest.fixture(scope="module")
def known_model(tmp_path_factory):
    return known_network.save(tmp_path_factory.mktemp("model") / "known")


def frame(shade, width=64, height=48):
    return np.full((height, width, 3), shade, np.uint8)


@pytest.fixture
def clip(tmp_path):
    """Six grey frames of 64x48, each a key frame."""
    path = tmp_path / "in" / "clip.avi"
    path.parent.mkdir()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, (64, 48))
    for shade in SHADES:
        writer.write(frame(shade))
    writer.release()
    return path


@pytest.fixture
def detect(known_model, tmp_path, capfd):
    """``detect(source, flags ...)``: (exit code, what was printed); results go to tmp_path/out."""
    def run(source, *flags):
        code = 0
        try:
            session.run(parse_args(["--model_dir", str(known_model), "--output_dir", str(tmp_path / "out"),
                                    "--video_file", str(source), *flags]))
        except SystemExit as left:
            code = left.code
        return code, capfd.readouterr().out
    return run


def frames_of(path):
    return list(video.Video(path))


def boxes_by_frame(path):
    found = {}
    for record in json.loads(path.read_text()):
        found.setdefault(record["image_id"], []).append((record["category_id"], record["score"], *record["bbox"]))
    return found


# ---- frames

def test_frames_of_another_size_are_in_the_written_video(detect, tmp_path):
    sizes = [(64, 48)] * 3 + [(32, 40)] * 3
    path = tmp_path / "changes.mjpeg"
    path.write_bytes(b"".join(cv2.imencode(".jpg", frame(100, *size))[1].tobytes() for size in sizes))
    code, out = detect(path, "--save_results")  # the scores are too low to draw
    assert code == 0 and out.count("frame 4 is 32x40, the video 64x48") == out.count("another size") == 1
    written = frames_of(tmp_path / "out" / "changes.mjpeg.mp4")
    assert [each.shape for each in written] == [(48, 64, 3)] * 6
    # 32x40 becomes 38x48, with black beside it
    assert written[4][:, 16:48].min() > 75 and written[4][:, :8].max() < 25 and written[0].min() > 75
    left, top = known_network.SHARES[:2] * (32, 40)
    np.testing.assert_allclose(boxes_by_frame(tmp_path / "out" / "bbox.json")[4][0][2:4], (left, top), rtol=1e-4)


def test_odd_sides_lose_no_pixel(tmp_path):
    bright = frame(0, 63, 47)
    bright[:, -1] = bright[-1] = 255
    with video.video_writer(tmp_path / "odd.avi", 10, (63, 47)) as write:
        write(bright)
    written, = frames_of(tmp_path / "odd.avi")
    assert written.shape == (48, 64, 3) and written[-1].min() > 200 and written[:, -1].min() > 200


@pytest.mark.parametrize("kept, code", [(0.7, session.SOME_FAILED), (1.0, 0)])
def test_a_cut_video_ends_with_a_line_and_a_code(detect, clip, tmp_path, kept, code):
    whole = clip.read_bytes()
    start = whole.index(b"movi")
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole[:start + round((whole.index(b"idx1") - start) * kept)] if kept < 1 else whole)
    found, out = detect(cut)
    seen = len(frames_of(tmp_path / "out" / "cut.avi"))
    assert found == code and (0 < seen < 6) == (code != 0)
    assert (f"ended after {seen} of the 6 frames" in out) == (code != 0)


@pytest.mark.parametrize("count, fps, seen, many", [
    (6, 10, 4, True), (6, 10, 6, False), (0, 25, 100, False), (3000, 30, 2980, False), (3000, 30, 2960, True)])
def test_an_inexact_header_is_no_failure(clip, count, fps, seen, many):
    source = video.Video(clip)
    source.count, source.fps = count, fps
    assert source.many_missing(seen) is many


def test_a_frame_that_cannot_be_prepared_stays_in_the_video(detect, clip, tmp_path, monkeypatch):
    prepare = session.Predictor._prepare

    def failing(self, image, index, ready, on_unreadable):
        if abs(int(image[0, 0, 0]) - SHADES[2]) < 5:
            on_unreadable(image, DeployError("too thin"))
        else:
            prepare(self, image, index, ready, on_unreadable)

    monkeypatch.setattr(session.Predictor, "_prepare", failing)
    code, out = detect(clip)
    assert code == session.SOME_FAILED and "skipped: too thin" in out and "skipped 1 of 6 frames" in out
    assert len(frames_of(tmp_path / "out" / "clip.avi")) == 6


# ---- the writer

@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
@pytest.mark.parametrize("most", [0, 300, 60_000])
def test_a_full_disk_is_an_error_and_keeps_what_was_there(tmp_path, suffix, most):
    path = tmp_path / f"x{suffix}"
    path.write_text("before")

    def write_noise():
        with video.video_writer(path, 10, (128, 96)) as write:
            for each in np.random.default_rng(0).integers(0, 256, (20, 96, 128, 3), np.uint8):
                write(each)

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        with pytest.raises(DeployError, match="cannot write video.*disk"):
            write_noise()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


def test_where_results_go(tmp_path):
    for source, name in (("a/clip.webm", "clip.webm.mp4"), ("a/clip.MOV", "clip.MOV"), ("a/clip", "clip.mp4"),
                         (3, "output.mp4"), ("rtsp://u:p@h:554/live/1?token=t", "1.mp4"),
                         ("http://h/..%2f..%2fx.avi?x=/y.mp4", "x.avi"), ("https://h", "_.mp4")):
        assert video.video_target(source, tmp_path) == tmp_path / name
    (tmp_path / "own.mp4").touch()
    with pytest.raises(DeployError, match="would overwrite"):
        video.video_target(tmp_path / "own.mp4", tmp_path)


# ---- flags

@pytest.mark.parametrize("batch", ["1", "4"])
def test_results_are_saved_by_frame_whatever_the_batch(detect, clip, tmp_path, batch):
    code, out = detect(clip, "--save_results", "--batch_size", batch)
    assert code == 0 and f"per batch (ms), mean/median of the other {-(-6 // int(batch)) - 1}: " in out
    found = boxes_by_frame(tmp_path / "out" / "bbox.json")
    assert sorted(found) == [1, 2, 3, 4, 5, 6]
    box = known_network.SHARES * (64, 48, 64, 48)
    for number, shade in enumerate(SHADES, 1):
        assert [row[0] for row in found[number]] == [0, 1, 2]
        np.testing.assert_allclose(found[number][0][1:], [shade / 255, box[0], box[1], *(box[2:] - box[:2])], atol=0.02)


def test_frames_are_cut_into_slices(detect, clip, tmp_path):
    detect(clip, "--save_results", "--slice_infer", "--slice_size", "32", "24", "--overlap_ratio", "0", "0",
           "--combine_method", "concat")
    found = boxes_by_frame(tmp_path / "out" / "bbox.json")
    corners = slicing.windows((48, 64), (32, 24), (0, 0))
    assert [len(rows) for rows in found.values()] == [3 * len(corners)] * 6
    np.testing.assert_allclose([row[2:4] for row in found[1][::3]],
                               [known_network.SHARES[:2] * (32, 24) + corner[:2] for corner in corners], atol=1e-3)


def test_benchmark_and_no_video(detect, clip, tmp_path):
    code, out = detect(clip, "--run_benchmark", "--batch_size", "3")
    assert code == 0 and "img_num: 300" in out and not (tmp_path / "out").exists()
    code, out = detect(clip, "--save_images=false")
    assert code == 0 and "detect frame: 6" in out and not (tmp_path / "out").exists()
    with pytest.raises(DeployError, match="leave out --slice_infer"):
        detect(clip, "--run_benchmark", "--slice_infer")


# ---- streams

@contextlib.contextmanager
def server(folder):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield serving.server_address[1]
        serving.shutdown()


@pytest.mark.net
def test_an_address_is_opened(detect, clip, tmp_path):
    with server(clip.parent) as port:
        code, out = detect(f"http://me:geheim@127.0.0.1:{port}/clip.avi?token=geheim", "--save_results")
        assert code == 0 and "geheim" not in out
        assert len(frames_of(tmp_path / "out" / "clip.avi")) == 6
        assert "geheim" not in (tmp_path / "out" / "bbox.json").read_text()
        with pytest.raises(DeployError, match=r"http://\*\*\*@127.0.0.1:\d+/none.avi\?\*\*\*'") as failed:
            detect(f"http://me:geheim@127.0.0.1:{port}/none.avi?token=geheim")
    assert "geheim" not in str(failed.value)


@pytest.mark.parametrize("source, words", [
    ("ftp://me:geheim@h/x.mp4", "addresses of 'ftp:' are not opened; give a file, or an address of http, https, rtsp"),
    ("concat:a|b", "is not a file"), ("file:///etc/passwd", "addresses of 'file:'"),
    ("RTSP://me:ge#heim@127.0.0.1:9/x?token=geheim", r"cannot open video 'RTSP://\*\*\*@127.0.0.1:9/x\?\*\*\*'"),
])
def test_what_cannot_be_opened_is_one_line_without_passwords(source, words, capfd):
    with pytest.raises(DeployError, match=words) as failed:
        video.Video(source)
    assert "heim" not in str(failed.value) + "".join(capfd.readouterr())
