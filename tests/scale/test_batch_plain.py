# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Batch jobs without Ray: forms of input, shards, the manifest, what a worker writes, how results are put together."""
import json
import os
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from support import known_onnx
from support.paths import REPO

from ppdet_ext.deploy import Options, engines
from ppdet_ext.errors import UserError
from ppdet_ext.scale import batch_job, batch_worker, picture_lists, ray_session, shard_files
from ppdet_ext.scale.batch_job import Job
from ppdet_ext.scale.batch_worker import Trail, Worker
from ppdet_ext.scale.picture_lists import Shard

RUN = "0123abcd"


class Stub:
    """A predictor that finds, per class, the mean of that channel; it notes how many pictures came together."""

    def __init__(self, fails=()):
        self.batches, self.fails = [], fails

    def predict(self, images, on_unreadable):
        self.batches.append(len(images))
        for image in images:
            if image.shape[0] in self.fails:
                on_unreadable(image, ValueError("cannot be prepared"))
        return [None if image.shape[0] in self.fails else {"boxes": known_onnx.boxes_of(image)} for image in images]


@pytest.fixture
def pictures(tmp_path):
    """Five pictures: one in a folder, one that is none, one with odd letters; and what is no picture, or hidden."""
    folder = tmp_path / "pictures"
    (folder / "more").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.PNG", "more/c.png", "图 片.png")):
        image = np.full((20 + number, 30, 3), (0, 128, 255), np.uint8)
        (folder / name).write_bytes(cv2.imencode(".png", image)[1].tobytes())
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("x")
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / ".thumbs").mkdir()
    (folder / ".thumbs" / "t.png").write_bytes(b"x")
    (folder / "again").symlink_to(folder / "more")
    return folder


def job_of(output, **more):
    values = {"model_dir": "", "options": Options(batch_size=2), "output": str(output), "categories": [7, 8, 9],
              "threshold": 0.4, "form": "coco", "run": RUN}
    return Job(**{**values, **more})


def shards_of(source, size=2, **more):
    found = picture_lists.find(source, tell=str, **more)
    return list(found.shards(size, range(1, found.count + 1)))


def rows_of(output, form="coco"):
    read = {"coco": shard_files._read_lines, "parquet": shard_files._read_table}[form]
    return [row for path in sorted((output / "shards").iterdir()) for row in read(path)]


# ---- input

def test_a_folder_at_any_depth_without_what_is_hidden(pictures):
    told = []
    found = picture_lists.find(pictures, tell=told.append)
    assert found.names == ["a.png", "b.PNG", "broken.jpg", "more/c.png", "图 片.png"]
    assert "1 files" in told[0] and "1 links to folders" in told[1]
    assert found.digest() == picture_lists.find(pictures, tell=str).digest()
    (pictures / "d.png").write_bytes(b"")
    assert found.digest() != picture_lists.find(pictures, tell=str).digest()


def test_results_inside_the_input_are_no_input(pictures):
    (pictures / "out").mkdir()
    (pictures / "out" / "x.png").write_bytes(b"")
    assert "out/x.png" not in picture_lists.find(pictures, skip=pictures / "out", tell=str).names


def test_a_list_of_paths_relative_to_it(pictures, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"pictures/a.png\r\n\n{pictures}/b.PNG\npictures/more/../a.png\n图 片.png\n",
                      encoding="utf-8-sig")
    told = []
    shard, = list(picture_lists.find(listed, tell=told.append).shards(9, range(9)))
    assert shard.names == ["pictures/a.png", f"{pictures}/b.PNG", "图 片.png"] and "1 paths" in told[0]
    assert shard.paths == [str(pictures / "a.png"), str(pictures / "b.PNG"), str(tmp_path / "图 片.png")]


@pytest.mark.parametrize("make, words", [
    (lambda f: f / "no", "there is no"), (lambda f: f / "a.png", "is a picture; give its folder"),
    (lambda f: f / "none", "holds no picture"), (lambda f: f / "bytes", "neither parquet nor a list"),
    (lambda f: f / "x.parquet", "is no parquet file")])
def test_what_is_no_input_is_one_line(pictures, make, words):
    (pictures / "none").mkdir()
    (pictures / "bytes").write_bytes(b"\xff\xfe\x00")
    (pictures / "x.parquet").write_bytes(b"x")
    if "parquet" in words:
        pytest.importorskip("pyarrow", reason="pip install 'ppdet-ext[ray]'")
    with pytest.raises(UserError, match=words):
        picture_lists.find(make(pictures), tell=str)


def test_too_many_pictures_are_refused(pictures, monkeypatch):
    monkeypatch.setenv("PPDET_EXT_MAX_FILES", "4")
    with pytest.raises(UserError, match="more than 4 pictures.*PPDET_EXT_MAX_FILES"):
        picture_lists.find(pictures, tell=str)


def test_parquet_with_paths(pictures, tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pip install 'ppdet-ext[ray]'")
    from pyarrow import parquet

    parquet.write_table(pa.table({"n": [1, 2, 3], "path": ["pictures/a.png", None, "no.png"]}), tmp_path / "x.parquet")
    shard, = shards_of(tmp_path / "x.parquet", 9)
    assert shard.names == ["pictures/a.png", "x.parquet:1", "no.png"]
    worker = Worker(job_of(tmp_path / "out"), Stub())
    worker({"shard": [shard.to_text()]})
    assert [row.get("error") for row in rows_of(tmp_path / "out")] == [
        None, "the row has neither a path nor bytes", "No such file or directory"]
    with pytest.raises(UserError, match="no column 'pat'; did you mean path"):
        picture_lists.find(tmp_path / "x.parquet", "pat")


@pytest.mark.parametrize("struct", [False, True], ids=["bytes", "Hugging Face's"])
def test_parquet_with_pictures_shards_whole_row_groups(pictures, tmp_path, struct):
    pa = pytest.importorskip("pyarrow", reason="pip install 'ppdet-ext[ray]'")
    from pyarrow import parquet

    data = [(pictures / name).read_bytes() for name in ("a.png", "b.PNG", "broken.jpg", "more/c.png")]
    values = [{"bytes": each, "path": None} for each in data] if struct else data
    (tmp_path / "in").mkdir()
    parquet.write_table(pa.table({"image": values, "name": ["w", "x", "y", "z"]}), tmp_path / "in" / "1.parquet",
                        row_group_size=3)
    parquet.write_table(pa.table({"image": values[:2]}), tmp_path / "in" / "2.parquet", row_group_size=1)
    shards = shards_of(tmp_path / "in")
    assert [shard.names for shard in shards] == [["w", "x", "y"], ["z"], ["2.parquet:0", "2.parquet:1"]]
    assert [shard.groups for shard in shards] == [[0], [1], [0, 1]]
    stub = Stub()
    Worker(job_of(tmp_path / "out"), stub)({"shard": [shard.to_text() for shard in shards]})
    rows = rows_of(tmp_path / "out")
    assert [row["image_id"] for row in rows] == [1, 2, 3, 4, 5, 6] and rows[2]["error"] == "broken, or not an image"
    assert [row.get("height") for row in rows] == [20, 21, None, 22, 20, 21] and max(stub.batches) == 2


# ---- a worker

@pytest.mark.parametrize("form", ["coco", "parquet"])
def test_a_worker_writes_each_picture_once(pictures, tmp_path, form):
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="pip install 'ppdet-ext[ray]'")
    shards, output, stub = shards_of(pictures), tmp_path / "out", Stub(fails=[22])
    told = Worker(job_of(output, form=form), stub)({"shard": [shard.to_text() for shard in shards]})
    assert told == {"number": [0, 1, 2], "pictures": [2, 2, 1], "unreadable": [0, 2, 0], "boxes": [4, 0, 2],
                    "deaths": [0, 0, 0], "error": ["", "", ""]}
    rows = rows_of(output, form)
    assert [row["file_name"] for row in rows] == ["a.png", "b.PNG", "broken.jpg", "more/c.png", "图 片.png"]
    assert [row.get("error") for row in rows] == [None, None, "broken, or not an image", "cannot be prepared", None]
    found = shard_files.finish(output, form, [(shard.number, len(shard.ids)) for shard in shards], [{"id": 7}])
    assert (found.pictures, found.boxes, found.unreadable) == (5, 6, 2) and found.example.startswith("'broken.jpg'")
    if form == "coco":
        images = json.loads((output / "images.json").read_text())
        assert [image["id"] for image in images["images"]] == [1, 2, 3, 4, 5] and images["categories"] == [{"id": 7}]
        boxes = json.loads((output / "bbox.json").read_text())
        assert [(box["image_id"], box["category_id"]) for box in boxes] == [(i, c) for i in (1, 2, 5) for c in (7, 8)]
        truth = COCO()
        truth.dataset = {"images": images["images"], "annotations": [], "categories": [{"id": 7}, {"id": 8}]}
        truth.createIndex()
        assert len(truth.loadRes(str(output / "bbox.json")).anns) == 6  # what eval --json_eval does
        assert boxes[0]["bbox"] == pytest.approx([3, 4, 12, 8]) and boxes[0]["score"] == 1


def test_a_name_that_is_no_utf_8_goes_through(tmp_path):
    place = os.fsencode(tmp_path) + b"/\xff.png"
    try:
        with open(place, "wb") as file:
            file.write(cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes())
    except OSError:
        pytest.skip("this file system wants UTF-8")
    shard, = shards_of(tmp_path)
    Worker(job_of(tmp_path / "out"), Stub())({"shard": [shard.to_text()]})
    row, = rows_of(tmp_path / "out")
    assert row["file_name"] == "\\udcff.png" and row["height"] == 9


def test_a_mistake_in_a_worker_comes_back_as_text(tmp_path, pictures):
    job = job_of(tmp_path / "out", model_dir=str(tmp_path), options=Options(engine="onnxruntime"))
    told = Worker(job)({"shard": [shards_of(pictures)[0].to_text()]})
    assert "is no exported model" in told["error"][0] and not (tmp_path / "out").exists()


def test_a_picture_that_ends_its_process_is_left_out_at_the_third_time(pictures, tmp_path):
    class Deadly(Stub):
        def predict(self, images, on_unreadable):
            if any(image.shape[0] == 21 for image in images):
                raise SystemExit  # as a crash: nothing after it runs
            return super().predict(images, on_unreadable)

    shard, = shards_of(pictures, 9)
    for _ in range(3):
        with pytest.raises(SystemExit):
            Worker(job_of(tmp_path), Deadly())({"shard": [shard.to_text()]})
    told = Worker(job_of(tmp_path), Deadly())({"shard": [shard.to_text()]})
    rows = rows_of(tmp_path)
    assert told["error"] == [""] and told["deaths"] == [3] and [row.get("error") for row in rows] == [
        None, batch_worker.LOST, "broken, or not an image", None, None]
    assert not list((tmp_path / "shards").glob(".*"))


def test_a_trail_of_another_start_says_nothing(tmp_path):
    place = tmp_path / "trail"
    Trail(place, "former", deaths=5, lost=[1]).at(0, 1)
    assert Trail.after(place, RUN) == Trail(place, RUN)
    place.write_text('{"run": "0123')
    assert Trail.after(place, RUN) == Trail(place, RUN)


def test_where_every_picture_ends_the_process_the_job_ends(pictures, tmp_path):
    shard, = shards_of(pictures, 9)
    place = shard_files.shard_path(tmp_path, 0, "coco").with_name(".000000.trail")
    place.parent.mkdir()
    Trail(place, RUN, deaths=9, lost=list(range(batch_worker.MOST_LOST))).at(4, 5)
    told = Worker(job_of(tmp_path), Stub())({"shard": [shard.to_text()]})
    assert "is there memory for so many --workers" in told["error"][0]


# ---- the job's folder

@pytest.fixture
def asked(tmp_path, pictures):
    """``asked(threshold=0.3)``: a job's facts, of an exported model and the pictures."""
    pytest.importorskip("onnx", reason="pip install 'ppdet-ext[onnx]'")
    known_onnx.save(tmp_path / "model")

    def ask(source=pictures, precision="fp32", **more):
        model, options = engines.choose(tmp_path / "model", Options(engine="openvino", precision=precision))
        args = SimpleNamespace(**{"threshold": 0.5, "format": "coco", "anno_file": None, **more})
        return batch_job.facts(model, options, picture_lists.find(source, tell=str), args)
    pytest.importorskip("openvino", reason="pip install 'ppdet-ext[openvino]'")
    return ask


def test_the_same_job_goes_on_with_its_own_shards(asked, tmp_path):
    assert batch_job.begin(tmp_path / "out", asked(), 3) == 3
    assert batch_job.begin(tmp_path / "out", asked(), 5) == 3


def test_another_job_is_one_line(asked, tmp_path, pictures):
    batch_job.begin(tmp_path / "out", asked(), 3)
    for more, words in (({"threshold": 0.25}, "--threshold 0.5, not 0.25"), ({"format": "parquet"}, "--format coco"),
                        ({"precision": "bf16"}, "--precision fp32, not bf16")):
        with pytest.raises(UserError, match=words):
            batch_job.begin(tmp_path / "out", asked(**more), 3)
    (pictures / "new.png").write_bytes(b"")
    with pytest.raises(UserError, match="5 pictures in --input, not 6"):
        batch_job.begin(tmp_path / "out", asked(), 3)
    (pictures / "a.png").unlink()
    with pytest.raises(UserError, match=r"another --input \(its sha256 differs\)"):
        batch_job.begin(tmp_path / "out", asked(), 3)


def test_another_model_is_one_line(asked, tmp_path, pictures):
    batch_job.begin(tmp_path / "out", asked(), 3)
    with open(tmp_path / "model" / "model.onnx", "ab") as file:
        file.write(b"\0")
    with pytest.raises(UserError, match=r"another --model_dir \(its files differs\)"):
        batch_job.begin(tmp_path / "out", asked(), 3)


def test_a_folder_of_something_else_is_not_taken(tmp_path):
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "x").touch()
    with pytest.raises(UserError, match="shards without manifest.json"):
        batch_job.begin(tmp_path, {}, 3)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(UserError, match="no manifest of a batch job"):
        batch_job.begin(tmp_path, {}, 3)


@pytest.mark.parametrize("pictures, workers, wanted, size", [(10**6, 2, None, 256), (100, 2, None, 13), (1, 8, None, 1),
                                                             (100, 2, 50, 50)])
def test_each_worker_has_shards(pictures, workers, wanted, size):
    assert batch_job.size_of_shards(pictures, workers, wanted) == size


def test_numbers_of_a_coco_file(tmp_path):
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"images": [{"id": 30, "file_name": "a.png"}, {"id": 10, "file_name": "b.png"}],
                                 "categories": [{"id": 5, "name": "green"}, {"id": 3, "name": "red"}]}))
    assert batch_job.numbers(["b.png", "a.png"], ["red", "green"], str(truth)) == ([10, 30], [3, 5])
    assert batch_job.numbers(["b.png", "a.png"], ["red", "green"], None) == ([1, 2], [0, 1])
    with pytest.raises(UserError, match=r"1 of the 2 names of a picture, such as 'c.png'"):
        batch_job.numbers(["b.png", "c.png"], ["red"], str(truth))
    with pytest.raises(UserError, match=r"names of a class, such as 'blue'"):
        batch_job.numbers(["b.png"], ["blue"], str(truth))


@pytest.mark.parametrize("spoil, words", [(lambda path: path.write_text(path.read_text()[:-9]), "cannot be read"),
                                          (lambda path: path.write_text(""), "has 0 pictures in place of 2"),
                                          (lambda path: path.unlink(), "cannot be read")])
def test_a_shard_that_is_not_whole_is_named(pictures, tmp_path, spoil, words):
    shards = shards_of(pictures)
    Worker(job_of(tmp_path), Stub())({"shard": [shard.to_text() for shard in shards]})
    spoil(tmp_path / "shards" / "000000.jsonl")
    with pytest.raises(UserError, match=f"000000.jsonl' {words}.*does that shard again"):
        shard_files.finish(tmp_path, "coco", [(0, 2), (1, 2), (2, 1)], [])
    assert not (tmp_path / "bbox.json").exists()


def test_nothing_found_is_an_empty_list(tmp_path, pictures):
    Worker(job_of(tmp_path, threshold=1.1), Stub())({"shard": [shard.to_text() for shard in shards_of(pictures, 9)]})
    shard_files.finish(tmp_path, "coco", [(0, 5)], [])
    assert json.loads((tmp_path / "bbox.json").read_text()) == []
    assert len(json.loads((tmp_path / "images.json").read_text())["images"]) == 5


def test_a_shard_is_text_and_back():
    shard = Shard(3, [1, 2], ["a\udcff", "b"], [None, "b"])
    assert Shard.from_text(shard.to_text()) == shard and shard.to_text().isascii()
    assert replace(shard, number=4) != shard


def test_what_is_printed_past_python_goes_to_the_log(tmp_path):
    script = ("import os, sys\nfrom pathlib import Path\nfrom ppdet_ext.scale import ray_session\n"
              "with ray_session._printed_by_cpp(Path('log')):\n    os.write(2, b'from C++\\n')\n"
              "    print('ours', file=sys.stderr)\nprint('after', file=sys.stderr)\nos.write(2, b'end\\n')")
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": str(REPO)})
    assert done.stderr == "ours\nafter\nend\n" and (tmp_path / "log").read_text() == "from C++\n"


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(ray_session.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"ray, pyarrow are not installed\): pip install 'ppdet-ext\[ray\]'"):
        ray_session.require_ray("pyarrow")


def test_a_cluster_that_wants_a_token_is_told_from_none(tmp_path):
    class Ray:
        says = ""

        def init(self, **_):
            with open(log, "a") as file:
                file.write(self.says)
            raise ConnectionError("Failed to connect to Ray cluster\nsecond line")

        def shutdown(self):
            pass

    def said(log):
        with pytest.raises(UserError) as found:
            ray_session._init(Ray(), {"address": "a:1"}, 1, log)
        return str(found.value)

    log = tmp_path / "log"
    assert said(log) == "--address a:1: no Ray cluster answers there: Failed to connect to Ray cluster"
    Ray.says = "gcs_client.cc: RPC error: InvalidAuthToken: ...\n"
    assert said(log).startswith("--address a:1: the cluster asks for a token: set RAY_AUTH_MODE=token")
    Ray.says = ""  # what a former start has said is in the file still
    assert said(log) == "--address a:1: no Ray cluster answers there: Failed to connect to Ray cluster"
