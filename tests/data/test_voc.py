# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One's own data set by the change of docs/custom_dataset.md, in VOC layout and in COCO format."""
import pytest
import yaml
from ppdet.core.workspace import create
from ppdet.data.transform import Decode
from support import data_sets
from support.paths import CONFIGS

from ppdet_ext.config import keys
from ppdet_ext.data import checks
from ppdet_ext.errors import UserError

DATASETS = CONFIGS / "datasets"


def own_config(tmp_path, bases, text):
    path = tmp_path / "own.yml"
    path.write_text(f"_BASE_: {[str(DATASETS / base) for base in bases]}\n{text}\n")
    return data_sets.config_file.load(path)


def voc_config(tmp_path, root):
    """The change of the document, on top of a config for the sample set: num_classes and where the set lies."""
    return own_config(tmp_path, ["digits_detection.yml", "voc.yml"], f"""
num_classes: 2
TrainDataset: {{dataset_dir: {root}, anno_path: train.txt}}
EvalDataset: {{dataset_dir: {root}, anno_path: train.txt}}
TestDataset: {{dataset_dir: {root}}}""")


def test_own_voc_set(tmp_path):
    cfg = voc_config(tmp_path, data_sets.write_voc(tmp_path / "set"))
    keys.check_keys(cfg)
    for mode in ("train", "eval", "test"):
        checks.check(cfg, mode)
    dataset = create("TrainDataset")()
    dataset.check_or_download_dataset()
    dataset.parse_dataset()
    assert len(dataset) == 3
    assert dataset.roidbs[0]["gt_bbox"].tolist() == [[5, 6, 15, 18]]
    assert [int(record["gt_class"][0, 0]) for record in dataset.roidbs] == [0, 1, 0]
    reader = create("TrainReader")
    reader._sample_transforms.transforms_cls = [Decode()]
    batch = next(iter(reader(dataset, 0)))
    assert batch["image"].shape[1:] == [30, 40, 3]


@pytest.mark.parametrize("base", ["digits_detection.yml", "coco_detection.yml"])
def test_own_coco_set(tmp_path, base):
    root = data_sets.write_coco(tmp_path / "set")
    same = f"{{dataset_dir: {root}, image_dir: images, anno_path: annotations/train.json}}"
    cfg = own_config(tmp_path, [base], f"""
num_classes: 2
TrainDataset: {same}
EvalDataset: {same}
TestDataset: {{dataset_dir: {root}, anno_path: annotations/train.json}}""")
    keys.check_keys(cfg)
    for mode in ("train", "eval", "test"):
        checks.check(cfg, mode)
    dataset = create("TrainDataset")()
    dataset.parse_dataset()
    assert len(dataset) == 3


def failure(tmp_path, root):
    with pytest.raises(UserError) as caught:
        checks.check(voc_config(tmp_path, root), "train")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("break_it, words", [
    (lambda root: (root / "train.txt").unlink(), "TrainDataset: image list '"),
    (lambda root: (root / "train.txt").write_text(""), "is empty"),
    (lambda root: (root / "train.txt").write_text("images/0.jpg\n"), "must be '<image> <xml>'"),
    (lambda root: (root / "train.txt").write_bytes(b"images/\xe9.jpg xml/0.xml\n"), "train.txt' (not UTF-8 text)"),
    (lambda root: (root / "label_list.txt").write_bytes(b"caf\xe9\n"), "label_list.txt' (not UTF-8 text)"),
    (lambda root: (root / "xml/1.xml").write_text("<?xml version='1.0' encoding='none-such'?><a/>"),
     "xml/1.xml' is not XML"),
    (lambda root: (root / "label_list.txt").unlink(), "TrainDataset.label_list: label list '"),
    (lambda root: (root / "label_list.txt").write_text("cat\ncow\n"), "object 1 has the unknown class 'dog'"),
    (lambda root: (root / "label_list.txt").write_text("background\ncat\ndog\n"),
     "label_list.txt' is 'background', which is no class here, and evaluation and export would leave it out; delete "
     "the line (num_classes: 2)"),
    (lambda root: (root / "label_list.txt").write_text("cat\ndog\ncow\n"), "num_classes is 2, but TrainDataset has 3"),
    (lambda root: (root / "images/1.jpg").unlink(), "train.txt' line 2: '"),
    (lambda root: (root / "xml/1.xml").unlink(), "xml/1.xml' is missing"),
    (lambda root: (root / "xml/1.xml").write_text("<a>"), "xml/1.xml' is not XML"),
    (lambda root: (root / "xml/1.xml").write_text("<annotation/>"), "<size><width> of <annotation> is missing"),
    (lambda root: (root / "images/1.jpg").write_bytes(b"x"), "images/1.jpg' is unreadable"),
])
def test_wrong_voc_sets(tmp_path, break_it, words):
    root = data_sets.write_voc(tmp_path / "set")
    break_it(root)
    assert words in failure(tmp_path, root)


def test_box_outside(tmp_path):
    root = data_sets.write_voc(tmp_path / "set", boxes=[(5, 6, 15, 18), (41, 2, 50, 9)])
    assert "object 2 ('cat') has the box [41, 2, 50, 9], outside the 40x30 image" in failure(tmp_path, root)


@pytest.mark.parametrize("name", ["digits_detection.yml", "coco_detection.yml", "voc.yml"])
def test_configs_are_accepted_by_ppdet(name):
    cfg = data_sets.config_file.load(DATASETS / name)
    keys.check_keys(cfg)
    values = yaml.safe_load((DATASETS / name).read_text())
    for section in ("TrainDataset", "EvalDataset", "TestDataset"):
        dataset = create(section)()
        assert type(dataset).__name__ == values[section]["name"]
        assert dataset.get_anno() == f"{values[section]['dataset_dir']}/{values[section]['anno_path']}"
