# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What training or evaluation would not see, or would see in the wrong place, is said in one line or refused."""
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from ppdet.core.workspace import create
from support import data_sets, pictures

from ppdet_ext.data import checks, images
from ppdet_ext.errors import UserError


def coco(tmp_path, change=None, train=None, **top):
    """ppdet's config of a COCO set whose annotations ``change`` edits; ``train``: more of both data sets' settings."""
    values = data_sets.coco_values(data_sets.write_coco(tmp_path / "set", change), **top)
    for section in ("TrainDataset", "EvalDataset"):
        values[section].update(train or {})
    return data_sets.load(tmp_path, values)


def voc(tmp_path, change=None, **settings):
    """The same of a VOC set; ``change`` gets the roots of its three XML files."""
    root = data_sets.write_voc(tmp_path / "set")
    trees = [ElementTree.parse(root / "xml" / f"{number}.xml") for number in range(3)]
    if change:
        change([tree.getroot() for tree in trees])
    for number, tree in enumerate(trees):
        tree.write(root / "xml" / f"{number}.xml")
    data = {"name": "VOCDataSet", "dataset_dir": str(root), "anno_path": "train.txt", "label_list": "label_list.txt",
            "data_fields": ["image", "gt_bbox", "gt_class", "difficult"], **settings}
    return data_sets.load(tmp_path, data_sets.coco_values(root, metric="VOC", TrainDataset=data, EvalDataset=data))


def said(cfg, mode, log):
    """What the checks log; the ids of the classes are another test's."""
    log.clear()
    log.set_level("INFO", "ppdet.engine")
    checks.check(cfg, mode, validate=False)
    lines = [record.getMessage() for record in log.records]
    return "\n".join(line.partition("': ")[2] for line in lines)


def refused(cfg, mode="train"):
    with pytest.raises(UserError) as caught:
        checks.check(cfg, mode, validate=False)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def mark(key, *places):
    def change(content):
        for place in places:
            content["annotations"][place][key] = 1
    return change


def difficult(*places):
    def change(roots):
        for place in places:
            roots[place].find("object/difficult").text = "1"
    return change


def no_objects(*places):
    def change(roots):
        for place in places:
            roots[place].remove(roots[place].find("object"))
    return change


# ---------------------------------------------------------------- what is left out

@pytest.mark.parametrize("key, fates", [
    ("iscrowd", ("1 iscrowd: 1 (left out), 1 background images (left out; allow_empty: true keeps them)",
                 "1 iscrowd: 1 (neither hit nor miss), 1 background images (counted)")),
    ("ignore", ("1 ignore: 1 (left out), 1 background images (left out; allow_empty: true keeps them)",
                "1 ignore: 1 (counted, as pycocotools does it; iscrowd: 1 would leave them out)")),
])
def test_boxes_that_do_not_count_are_counted(key, fates, tmp_path, log):
    cfg = coco(tmp_path, mark(key, 1))
    for mode, fate in zip(("train", "eval"), fates):
        assert said(cfg, mode, log) == f"3 annotations in 3 images; of these {fate}"


def test_background_images_are_counted(tmp_path, log):
    cfg = coco(tmp_path, lambda content: content["annotations"].pop(0))
    assert said(cfg, "train", log).endswith("of these 1 background images (left out; allow_empty: true keeps them)")
    assert said(cfg, "eval", log).endswith("of these 1 background images (counted)")
    cfg["TrainDataset"]["allow_empty"] = True
    assert said(cfg, "train", log).endswith("of these 1 background images (kept)")


def test_crowds_that_are_asked_for_are_no_background(tmp_path, log):
    cfg = coco(tmp_path, mark("iscrowd", 0, 1, 2), {"load_crowd": True})
    assert said(cfg, "train", log).endswith("of these 3 iscrowd: 1 (kept)")


def test_voc_counts_as_well(tmp_path, log):
    def change(roots):
        difficult(0)(roots)
        no_objects(1)(roots)
        roots[2].find("object").append(roots[2].find("object/bndbox"))
    cfg = voc(tmp_path, change)
    assert said(cfg, "train", log) == ("2 annotations in 3 images; of these 1 difficult: 1 (learnt from), 1 background "
                                       "images (left out; allow_empty: true keeps them)")
    assert said(cfg, "eval", log) == ("2 annotations in 3 images; of these 1 difficult: 1 (neither hit nor miss), 2 "
                                      "background images (counted)")


@pytest.mark.parametrize("make, change, mode, words", [
    (coco, mark("iscrowd", 0, 1, 2), "train", "has no box to learn from: 3 annotations in 3 images, 3 iscrowd: 1; "
                                              "write iscrowd: 0 for single objects"),
    (coco, mark("iscrowd", 0, 1, 2), "eval", "has no box to measure AP with: 3 annotations in 3 images, 3 iscrowd: 1;"),
    (coco, mark("ignore", 0, 1, 2), "train", "3 ignore: 1; name another file in TrainDataset.anno_path"),
    (coco, lambda content: content["annotations"].clear(), "eval", "no box to measure AP with: 0 annotations in 3"),
    (voc, no_objects(0, 1, 2), "train", "has no box to learn from: 0 annotations in 3 images"),
    (voc, difficult(0, 1, 2), "eval", "has no box to measure AP with: 3 annotations in 3 images, 3 difficult: 1"),
])
def test_a_set_without_a_box_that_counts_is_refused(make, change, mode, words, tmp_path):
    assert words in refused(make(tmp_path, change), mode)


def test_predictions_alone_need_no_boxes(tmp_path):
    cfg = coco(tmp_path, lambda content: content["annotations"].clear(), save_prediction_only=True)
    checks.check(cfg, "eval")


@pytest.mark.parametrize("make, change", [(coco, lambda content: content["annotations"].pop(1)), (voc, no_objects(1))])
def test_evaluation_sees_background_images(make, change, tmp_path):
    cfg = make(tmp_path, change)
    cfg["EvalDataset"].update(allow_empty=False, empty_ratio=0.0)
    checks.keep_background(cfg)
    for section, count in (("TrainDataset", 2), ("EvalDataset", 3)):
        dataset = create(section)()
        dataset.parse_dataset()
        assert len(dataset) == count


def test_evaluation_sees_them_where_the_set_is_a_yaml_tag(tmp_path):
    root = data_sets.write_coco(tmp_path / "set", lambda content: content["annotations"].pop(1))
    (tmp_path / "tagged.yml").write_text(
        f"metric: COCO\nnum_classes: 2\nEvalDataset:\n  !COCODataSet\n    dataset_dir: {root}\n    image_dir: images\n"
        "    anno_path: annotations/train.json\n")
    cfg = data_sets.config_file.load(tmp_path / "tagged.yml")
    checks.keep_background(cfg)
    dataset = create("EvalDataset")()
    dataset.parse_dataset()
    assert len(dataset) == 3


def test_boxes_that_rounding_leaves_without_area_are_left_out(tmp_path, log):
    def thin(content):
        content["annotations"][0]["bbox"] = [5, 6, 0.0004, 12]
        content["annotations"][1]["bbox"] = [39.9999, 6, 5, 12]
        content["annotations"].append({**content["annotations"][1], "id": 9, "bbox": [5, 6, 7, 8]})
    cfg = coco(tmp_path, thin)
    assert "2 annotations have a bbox without area and are left out" in said(cfg, "train", log)
    dataset = create("TrainDataset")()
    dataset.parse_dataset()
    assert [record["gt_bbox"].tolist() for record in dataset.roidbs] == [[[5, 6, 12, 14]], [[5, 6, 15, 18]]]
    assert [len(record["gt_class"]) for record in dataset.roidbs] == [len(record["is_crowd"]) for record in
                                                                      dataset.roidbs] == [1, 1]


# ---------------------------------------------------------------- boxes in another form

def test_boxes_as_shares_are_refused(tmp_path):
    def shares(content):
        for annotation in content["annotations"]:
            annotation.update(bbox=[0.1, 0.2, 0.25, 0.4], area=0.1)
    message = refused(coco(tmp_path, shares))
    assert "all 3 boxes lie between 0 and 1, so they are shares of the picture; write [x, y, width, height] in pixels" \
        in message and "first: annotation id 100 of '0.jpg': [0.1, 0.2, 0.25, 0.4]" in message


def test_boxes_as_shares_are_refused_in_voc(tmp_path):
    def shares(roots):
        for root in roots:
            for side, share in zip(root.find("object/bndbox"), (0.1, 0.2, 0.3, 0.5)):
                side.text = str(share)
    message = refused(voc(tmp_path, shares))
    assert "all 3 boxes lie between 0 and 1" in message and "write <xmin>, <ymin>, <xmax>, <ymax> in pixels" in message


def corners(*boxes):
    def change(content):
        for annotation, box in zip(content["annotations"], boxes):
            annotation["bbox"] = list(box)
    return change


def test_boxes_as_two_corners_are_refused(tmp_path):
    message = refused(coco(tmp_path, corners((5, 6, 15, 18), (20, 10, 38, 28), (2, 3, 20, 29))))
    assert "2 of 3 boxes reach over the border, but as two corners [x1, y1, x2, y2] all lie within" in message


@pytest.mark.parametrize("boxes", [
    ((5, 6, 15, 18), (20, 10, 38, 28), (20, 3, 10, 10)),  # the last is no pair of corners
    ((0, 0, 43, 32), (0, 0, 42, 33), (0, 0, 44, 32)),  # whole pictures, drawn carelessly
])
def test_boxes_over_the_border_are_only_warned_of(boxes, tmp_path, log):
    assert "reach over the image's border and are clipped" in said(coco(tmp_path, corners(*boxes)), "train", log)


# ---------------------------------------------------------------- more objects than can be found

HEADS = {"architecture": "DETR", "DETR": {"transformer": "RTDETRTransformer", "post_process": "DETRPostProcess"},
         "RTDETRTransformer": {"num_queries": 3}, "DETRPostProcess": {"num_top_queries": 2}}


def crowd(count):
    def change(content):
        content["annotations"] += [{**content["annotations"][1], "id": 1000 + number} for number in range(count)]
    return change


def test_more_objects_than_queries(tmp_path, log):
    cfg = coco(tmp_path, crowd(3), **HEADS)
    line, = warnings(cfg, "train", log)
    assert "has up to 4 objects in a picture (4 of one class; fullest: '1.jpg'), but RTDETRTransformer.num_queries is " \
        "3: the others cannot be found" in line.getMessage()
    line, = warnings(cfg, "eval", log)
    assert "but DETRPostProcess.num_top_queries is 2, and RTDETRTransformer.num_queries is 3: the" in line.getMessage()
    cfg["RTDETRTransformer"]["num_queries"] = cfg["DETRPostProcess"]["num_top_queries"] = 4
    assert not warnings(cfg, "train", log) + warnings(cfg, "eval", log)


def test_more_objects_than_pycocotools_counts(tmp_path, log):
    cfg = coco(tmp_path, crowd(100))
    line, = warnings(cfg, "eval", log)
    assert "(101 of one class; fullest: '1.jpg'), but pycocotools counts 100 detections of a class" in line.getMessage()
    assert not warnings(cfg, "train", log)


def warnings(cfg, mode, log):
    log.clear()
    checks.check(cfg, mode, validate=False)
    return [record for record in log.records if record.levelname == "WARNING"]


# ---------------------------------------------------------------- sizes of other pictures

def exchange_coco(content):
    for image in content["images"]:
        image["width"], image["height"] = image["height"], image["width"]
    content["annotations"][1]["bbox"] = [32, 6, 7, 8]  # outside the size that is written


def exchange_voc(roots):
    for root in roots:
        width, height = root.find("size")
        width.text, height.text = height.text, width.text
    roots[1].find("object/bndbox/xmin").text, roots[1].find("object/bndbox/xmax").text = "32", "39"


@pytest.mark.parametrize("make, change", [(coco, exchange_coco), (voc, exchange_voc)])
def test_exchanged_sizes_are_refused_before_boxes_are_cut(make, change, tmp_path):
    message = refused(make(tmp_path, change))
    assert "3 of 3 images looked at have width and height exchanged in their annotations" in message
    assert "/images/0.jpg' is 40x30, its annotation says 30x40" in message


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_sizes_of_the_unturned_picture_are_refused(kind, tmp_path):
    path = tmp_path / "phone.jpg"
    path.write_bytes(pictures.by_pillow(pictures.smooth(), kind, 6))
    images.check_headers([path], [(48, 64)])
    with pytest.raises(UserError, match="1 of 1 images looked at are turned upright by their EXIF orientation, but .*"
                                        "phone.jpg' is 48x64, its annotation says 64x48"):
        images.check_headers([path], [(64, 48)])


def test_a_few_exchanged_sizes_are_warned_of(tmp_path, log):
    names = data_sets.write_images(tmp_path, 11)
    images.check_headers([tmp_path / name for name in names], [(40, 30)] * 10 + [(30, 40)])
    assert "1 of 11 images looked at have width and height exchanged" in log.text


def test_turns_that_a_size_does_not_show_are_told(tmp_path, log):
    log.set_level("INFO", "ppdet.engine")
    square = pictures.smooth()[:, :48]
    for name, picture, turned in (("over.jpg", pictures.smooth(), 3), ("square.jpg", square, 6)):
        (tmp_path / name).write_bytes(pictures.by_pillow(picture, "JPEG", turned))
    images.check_headers([tmp_path / "over.jpg", tmp_path / "square.jpg"], [(64, 48), (48, 48)])
    assert "2 of 2 images looked at have an EXIF orientation that does not show in their size" in log.text


# ---------------------------------------------------------------- outlines, and lists of Windows

@pytest.mark.parametrize("outlines", [[[[]]] * 3, [[[]], [[5, 6, 15, 6, 15, 18]], [[]]], [[], [[]], {"counts": []}]])
@pytest.mark.parametrize("allow_empty", [False, True])
def test_outlines_decide_nothing(outlines, allow_empty, tmp_path):
    def change(content):
        content["annotations"] += [{**annotation, "id": 200 + annotation["id"], "bbox": [1, 2, 3, 4]}
                                   for annotation in content["annotations"]]
        for annotation, outline in zip(content["annotations"], [*outlines, [[1, 2, 4, 2, 4, 6]], [], [[]]]):
            annotation["segmentation"] = outline
    coco(tmp_path, change, {"allow_empty": allow_empty})
    dataset = create("TrainDataset")()
    dataset.parse_dataset()
    assert [record["gt_bbox"].tolist() for record in dataset.roidbs] == [[[5, 6, 15, 18], [1, 2, 4, 6]]] * 3
    assert [np.ravel(record["gt_class"]).tolist() for record in dataset.roidbs] == [[0, 0], [1, 1], [0, 0]]


def test_outlines_stay_where_they_are_asked_for(tmp_path):
    outline = [[5, 6, 15, 6, 15, 18]]
    coco(tmp_path, lambda content: [item.update(segmentation=outline) for item in content["annotations"]],
         {"data_fields": ["image", "gt_bbox", "gt_class", "is_crowd", "gt_poly"]})
    dataset = create("TrainDataset")()
    dataset.parse_dataset()
    assert [record["gt_poly"] for record in dataset.roidbs] == [[outline]] * 3


def test_lists_may_begin_with_a_byte_order_mark(tmp_path):
    cfg = voc(tmp_path)
    for name in ("train.txt", "label_list.txt"):
        path = tmp_path / "set" / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    cfg["TestDataset"]["anno_path"] = "label_list.txt"
    for mode in ("train", "eval", "test"):
        checks.check(cfg, mode)


def test_a_json_may_begin_with_a_byte_order_mark(tmp_path):
    cfg = coco(tmp_path)
    path = tmp_path / "set/annotations/train.json"
    path.write_text(json.dumps(json.loads(path.read_text())), encoding="utf-8-sig")
    assert "begins with a byte order mark; save it as UTF-8 without one" in refused(cfg)
