# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""A corrected copy is whole or not there, never in place; the command says by its exit code whether all is well."""
import csv
import hashlib
import json
import subprocess
import sys

import pytest
from support import data_sets, layout_cases
from support.paths import REPO

from ppdet_ext.cli import check_dataset
from ppdet_ext.datasets import coco_file, fix, layouts, picture_facts
from ppdet_ext.datasets.check_subject import Subject
from ppdet_ext.errors import UserError
from ppdet_ext.report import check_page

EVIL = "<b>dog</b>"


def spoil(content):
    """An unreadable picture, a box outside, one over the border, an id twice, a name like markup."""
    content["annotations"][1]["bbox"] = [500, 6, 10, 12]
    content["annotations"][2]["bbox"] = [-5, 6, 20, 12]
    content["annotations"].append(dict(content["annotations"][2]))
    content["categories"][1]["name"] = EVIL


@pytest.fixture
def faulty(tmp_path):
    root = data_sets.write_coco(tmp_path / "set", spoil)
    path = root / "images" / "0.jpg"
    path.write_bytes(path.read_bytes()[:200])
    return root


def contents(folder):
    """{path below the folder: digest}."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def check(*words):
    """(exit code, the subject or None)."""
    try:
        return 0, check_dataset.main([str(word) for word in words])
    except SystemExit as left:
        return left.code, None


@pytest.fixture
def no_page(monkeypatch):
    """The page is another test's."""
    monkeypatch.setattr(check_page, "write", lambda *_: None)


def test_a_copy_holds_what_is_right_and_the_set_stays(faulty, tmp_path, capsys, no_page):
    before = contents(faulty)
    out, page = tmp_path / "out", tmp_path / "page"
    code, _ = check(faulty, "--fix", out, "--output_dir", page)
    assert code == 1 and contents(faulty) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "page", "set"]
    made = contents(out)
    assert set(made) == {"annotations/train.json", "fixes.csv", "train/1.jpg", "train/2.jpg"}
    assert all(made[f"train/{name}"] == before[f"images/{name}"] for name in ("1.jpg", "2.jpg"))
    assert (out / "train" / "1.jpg").stat().st_nlink == 1, "a link would be the data set's own file"
    read = layouts.read(out)  # strict: nothing is wrong there
    assert [len(picture.boxes) for picture in read.splits["train"]] == [0, 1] and read.names == ("cat", EVIL)
    box = read.splits["train"][1].boxes[0]
    assert (box.x1, box.y1, box.x2, box.y2) == (0, 6, 15, 18)
    rows = list(csv.DictReader((out / "fixes.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["kind"] for row in rows] == ["id", "picture", "outside", "over", "over", "same_box"]
    said = capsys.readouterr().out
    assert "cut at the border" in said and "a row for each of 6 changes" in said
    facts = json.loads((page / "check.json").read_text(encoding="utf-8"))
    assert facts["fixed"]["changes"] == {"id": 1, "picture": 1, "outside": 1, "over": 2, "same_box": 1}
    assert not facts["passed"] and facts["verdict"] in said
    assert {finding["kind"]: finding["count"] for finding in facts["findings"]}["picture"] == 1
    code, subject = check(out, "--output_dir", page)
    assert code == 0 and subject.passed and subject.changes == []
    assert not json.loads((page / "check.json").read_text(encoding="utf-8")).get("fixed")


def test_the_page_asks_for_nothing_and_names_are_text(faulty, tmp_path):
    assert check(faulty, "--output_dir", tmp_path)[0] == 1
    text = (tmp_path / "check.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text and "http" not in text.replace("http-equiv", "").replace(
        "http://www.w3.org", "") and "<script" not in text
    assert EVIL not in text and "&lt;b&gt;dog" in text
    assert text.count("data:image/jpeg") >= 2 and text.count('stroke="#d02f2f"') >= 2
    for words in ("无法读取或不完整的图片", "boxes outside of their pictures"):
        assert words in text


@pytest.mark.parametrize("place, words", [
    ("set", "not empty"), ("set/new", "lies in the data set"), (".", "not empty"), ("full", "not empty")])
def test_no_copy_in_place_or_over_something(faulty, tmp_path, place, words):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=words):
        check(faulty, "--fix", tmp_path / place, "--output_dir", tmp_path / "page")
    assert contents(tmp_path) == before


def test_a_copy_that_fails_leaves_nothing(faulty, tmp_path, monkeypatch):
    def full(*_):
        raise UserError("no space")
    monkeypatch.setattr(coco_file, "write", full)
    before = contents(tmp_path)
    with pytest.raises(UserError, match="no space"):
        check(faulty, "--fix", tmp_path / "out", "--output_dir", tmp_path / "page")
    assert contents(tmp_path) == before and not (tmp_path / "out").exists()


@pytest.mark.parametrize("layout, kept", [("COCO", "COCO"), ("VOC", "VOC"), ("VOC lists", "VOC"), ("YOLO", "YOLO"),
                                          ("CSV", "COCO")])
def test_a_copy_keeps_the_layout(layout, kept, tmp_path):
    next(write for write, name, _ in layout_cases.CASES.values() if name == layout)(tmp_path / "set")
    data = layouts.read(tmp_path / "set")
    facts = {picture.path: picture_facts.of_file(picture.path) for own in data.splits.values() for picture in own}
    fix.write(Subject(data, facts), tmp_path / "out")
    found = layouts.read(tmp_path / "out")
    assert found.layout == kept and found.names == data.names
    assert {split: len(own) for split, own in found.splits.items()} == {
        split: len(own) for split, own in data.splits.items()}


def test_the_command_needs_no_paddle_and_ends_with_its_code(faulty, tmp_path):
    script = ("import sys\nfrom ppdet_ext.cli import check_dataset, run\n"
              f"words = {[str(faulty), '--output_dir', str(tmp_path / 'page')]!r}\n"
              "try:\n    run(lambda: check_dataset.main(words))\n"
              "except SystemExit as left:\n    print('code', left.code, *{'paddle', 'ppdet'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", script], cwd=REPO, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[0] == f"COCO in '{faulty}': 3 pictures, 2 classes", done.stderr
    assert done.stdout.splitlines()[-1] == "code 1" and done.stderr == ""


def test_queries_come_from_the_command_line_or_a_config(faulty, tmp_path, no_page):
    (tmp_path / "small.yml").write_text("_BASE_: [rtdetr_cspresnet.yml]\nRTDETRTransformer: {num_queries: 40}\n")
    for words, queries in (((), 300), (("--num_queries", 7), 7), (("-c", tmp_path / "small.yml"), 40)):
        assert check(faulty, *words, "--output_dir", tmp_path)[0] == 1
        assert json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))["num_queries"] == queries
