# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pages: all of a run and of a comparison in one file, names are text, nothing is asked for outside of it."""
import base64
import html.parser
import re

import cv2
import numpy as np
import pytest

from ppdet_ext.report import (
    box_tables,
    class_results,
    error_kinds,
    evaluation_part,
    figures,
    page,
    run_page,
    run_part,
    thumbnails,
)

EVIL = "<script>alert(1)</script>"
NAMES = [EVIL, "猫", "$x_1$", "_line"]


class Reader(html.parser.HTMLParser):
    """Tags, addresses and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.styles, self.texts, self.languages = set(), [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            if name in ("src", "href", "action", "data", "srcset", "poster", "xlink:href"):
                self.addresses.append(value)
            assert not name.startswith("on"), f"{tag} {name}"
            if name == "style":
                self.styles.append(value)
            if name == "lang" and tag in ("span", "p"):
                self.languages.append(value)

    def handle_data(self, data):
        self.texts.append(data)


def assert_closed(text):
    """The page asks for nothing; what its pictures are."""
    reader = Reader(text)
    assert not reader.tags & {"script", "iframe", "object", "embed", "link", "base", "form"}
    assert all(address.startswith("data:image/") for address in reader.addresses)
    assert "default-src 'none'" in text and "url(" not in text and "@import" not in text
    assert reader.languages.count("en") >= reader.languages.count("zh") > 5
    return reader, [base64.b64decode(address.split(",")[1]) for address in reader.addresses]


@pytest.fixture(scope="module")
def errors(tmp_path_factory):
    """Six images with two objects each of four classes: one is found, one is called by the next class's name."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    content = {"images": [], "annotations": [], "categories": [{"id": i, "name": n} for i, n in enumerate(NAMES)]}
    found = []
    for image in range(6):
        name = f"{image}{EVIL[:8]}.jpg"
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (60, 80 + 900 * (image == 1), 3)).astype("uint8"))
        content["images"].append({"id": image, "file_name": name})
        for number, box in enumerate(([5, 5, 30, 30], [40, 10, 33, 40])):
            label = (image + number) % 4
            content["annotations"].append({"id": 2 * image + number + 1, "image_id": image, "category_id": label,
                                           "bbox": box, "area": box[2] * box[3], "iscrowd": 0})
            found.append({"image_id": image, "category_id": (label + (number and image > 1)) % 4, "bbox": box,
                          "score": 0.9 - image / 100})
    truth = box_tables.Truth.of(content)
    found = box_tables.Found.of(found, truth)
    paths = {image: folder / f"{image}{EVIL[:8]}.jpg" for image in range(5)}
    paths[4] = folder / "none.jpg"
    return error_kinds.analyse(truth, found), paths


@pytest.fixture(scope="module")
def evaluation(errors):
    errors, paths = errors
    return evaluation_part.evaluation_part(errors, class_results.class_results(errors.truth, errors.found), paths)


def metrics_lines():
    """As a run writes them: None for what is no number, a step twice after a resume."""
    terms = dict.fromkeys([f"term {n}" for n in range(12)], 1.0)
    lines = [{"kind": "train", "step": step, "epoch": 0, "images_per_second": 10.0, "cpu_percent": 90,
              "share": {"data": 0.1, "forward": 0.4}, "memory": {"resident_mb": 900, "peak_mb": 1000 + step},
              "grad_norm": None if step == 2 else 1.5, "lr": {"backbone": 1e-4}, "loss": {**terms, "loss": 3.0 / step},
              "update_ratio": {"backbone": 1e-3}} for step in (1, 2, 3, 2)]
    lines += [{"kind": "warning", "rule": "data", "step": 2, "message": f"slow {EVIL}"},
              {"kind": "eval", "step": 3, "epoch": 0, "metrics": {"AP": 0.2, "AP50": 0.3}, "raw": {"AP": 0.1}}]
    return [*lines, {"step": 9}, {"kind": "train", "step": 7, "loss": None, "memory": None}]


def test_a_runs_page_holds_all_and_names_are_text(evaluation, tmp_path):
    rows = [{"epoch": 0, "loss": 3.0, "losses": {"a": 1.0}, "learning_rate": 0.1, "seconds": 75,
             "ap": {"AP": 0.25, "AP50": None}}]
    run = run_part.run_part(rows, metrics_lines())
    made = run_page.Page(
        f"x {EVIL}", run_page.TRAINING, [(("started from", "起点"), "https://me:secret@host/x")],
        {"AP": 0.25, "AP50": 0.5, "AP_small": None}, run, evaluation, [(("licence", "许可证"), f"{EVIL}")],
        config=f"key: {EVIL}\n", next=[f"python tools/eval.py {EVIL}"])
    path = run_page.write(made, tmp_path)
    text = path.read_text(encoding="utf-8")
    assert path.name == "report.html" and [p.name for p in tmp_path.iterdir() if p.suffix == ".html"] == [path.name]
    reader, contents = assert_closed(text)
    assert len(text) < 600_000
    words = " ".join(reader.texts)
    for expected in ("***@host", f"slow {EVIL}", f"key: {EVIL}", "1 min 15 s", "0.250", "Python", "猫", "$x_1$",
                     "localisation", "定位", "警告", "1,003.0"):
        assert expected in words.replace("1,003 ", "1,003.0 "), expected
    assert EVIL not in text and "secret" not in text
    pictures = [content for content in contents if content.startswith(b"\xff\xd8")]
    drawings = [content.decode() for content in contents if content.startswith(b"<?xml")]
    assert len(pictures) + len(drawings) == len(contents) and len(drawings) == 14
    assert not any("<script" in drawing for drawing in drawings)
    assert any("&lt;script" in drawing for drawing in drawings) and any("猫" in drawing for drawing in drawings)
    assert any(">term 8<" in drawing and ">loss<" in drawing and ">term 9<" not in drawing for drawing in drawings)
    assert any(">$x_1$<" in drawing for drawing in drawings) and any("> _line  " in drawing for drawing in drawings)
    # image 5 has no file, that of image 4 is not there; the others are worst or best
    sides = [max(cv2.imdecode(np.frombuffer(one, "uint8"), 1).shape) for one in pictures]
    assert sorted(sides) == [80, 80, 80, 400]


def test_what_a_page_says_of_the_boxes(evaluation):
    assert evaluation.objects == 12 and evaluation.images == 6
    assert {row["kind"][0]: row["all"] for row in evaluation.errors} == {
        "right": 8, "classification": 4, "localisation": 0, "both": 0, "duplicate": 0, "background": 0, "missed": 0}
    assert [(row["name"], row["objects"]) for row in evaluation.classes] == list(zip(NAMES, (3, 4, 3, 2)))
    assert sum(row["count"] for row in evaluation.confusions) == 4
    worst = evaluation.worst[0]  # image 2: class 2 is found, class 3 is called by class 0's name
    assert worst.note[0].endswith("1 right, 1 wrong, 1 not found")
    assert [(box.text, box.colour, box.broken) for box in worst.boxes] == [
        ("$x_1$ 0.88", thumbnails.COLOURS[error_kinds.CORRECT], False),
        (f"{EVIL} 0.88", thumbnails.COLOURS[error_kinds.CLASSIFICATION], False)]
    assert [one.note[0][0] for one in evaluation.best] == ["0", "1"]


def test_a_picture_that_cannot_be_read_is_left_out_and_named(errors, log):
    errors, paths = errors
    scores = error_kinds.image_scores(errors)
    assert len(thumbnails.thumbnails(errors, scores, paths)) == 4 and len(scores) == 6
    assert log.text.count("a picture is left out") == 1 and "none.jpg" in log.text


def test_a_comparisons_page_has_its_rows_marked():
    figure = figures.lines({EVIL: ([1, 2], [3, 4])}, "ms")
    rows = [{"name": EVIL, "ap": 0.41234, "parameters": 25_600_000, "front": True},
            {"name": "b", "ap": None, "parameters": 1234.5, "front": False, "more": float("nan")}]
    text = page.comparison_page(rows, figures=[page.Picture.of(figure, ("speed", "速度"))] * 2, marked="front",
                                notes=[(f"on {EVIL}", "两核"), ("two", "二"), ("three", "三"), ("four", "四")])
    reader, contents = assert_closed(text)
    assert len(contents) == 2 and EVIL not in text and len(re.findall('<tr class="marked">', text)) == 1
    assert {EVIL, "0.412", "25,600,000", "1,234", "✓", "–", "more"} <= set(reader.texts)
    text = page.comparison_page(rows, columns={"name": ("backbone", "骨干网络")})
    assert "25,600,000" not in text and "骨干网络" in text


def test_long_lines_are_averaged_and_many_classes_become_others():
    x, y = figures._fewer(np.arange(1000.0), np.where(np.arange(1000) < 3, np.nan, 1.0))
    assert len(x) == len(y) == 334 and np.isnan(y[0]) and (y[1:] == 1).all()
    matrix = np.diag(np.full(31, 5))
    matrix[7, 9], matrix[30, 2] = 3, 1
    fewer, names = figures._fewer_classes(matrix, [f"c{i}" for i in range(30)])
    assert fewer.shape == (21, 21) and fewer.sum() == matrix.sum() and names[-1] == "11 others" and "c9" in names
    assert fewer[names.index("c7"), names.index("c9")] == 3


def test_a_run_without_anything_has_a_page():
    text = run_page.as_html(run_page.Page("x", run_page.EVALUATION, run=run_part.run_part([], [])))
    assert "Versions" in text and "<img" not in text
    assert figures.as_svg(figures.lines({"a": ([], [])}, "x", log=True)).startswith(b"<?xml")
