# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""One tiny data set in every layout that people have: by hand, as their tools write it."""
import json
import shutil

from .data_sets import NAMES, SIZE, write_images

BOXES = {0: [(0, 5, 6, 15, 18)], 1: [(1, 0, 0, 20, 15), (0, 10, 3, 40, 30)], 2: [], 3: [(1, 4, 9, 12, 27)]}
SPLITS = {"train": [0, 1, 2], "val": [3]}
WIDTH, HEIGHT = SIZE


def pictures(folder, numbers, names="{}.jpg"):
    """Copies of the pictures of these numbers, in ``folder``; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder.parent / f".{folder.name}"
    write_images(kept, 4)
    for number in numbers:
        shutil.copy(kept / f"{number}.jpg", folder / names.format(number))
    shutil.rmtree(kept)
    return [names.format(number) for number in numbers]


def coco(path, numbers, names="{}.jpg", categories=None, **more):
    """Write COCO's JSON."""
    categories = categories or [{"id": place, "name": name} for place, name in enumerate(NAMES)]
    ids = {category["name"]: category["id"] for category in categories}
    annotations = [{"id": 10 * number + place, "image_id": number, "category_id": ids[NAMES[kind]],
                    "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0, **more}
                   for number in numbers for place, (kind, x1, y1, x2, y2) in enumerate(BOXES[number], 1)]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"categories": categories, "annotations": annotations, "images": [
        {"id": number, "file_name": names.format(number), "width": WIDTH, "height": HEIGHT} for number in numbers]}))


def xml(path, number, folder=""):
    """Write VOC's XML."""
    objects = "".join(
        f"<object><name>{NAMES[kind]}</name><difficult>{int(number == 0)}</difficult><bndbox><xmin>{x1}</xmin>"
        f"<ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
        for kind, x1, y1, x2, y2 in BOXES[number])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"<annotation><filename>{folder}{number}.jpg</filename><size><width>{WIDTH}</width><height>{HEIGHT}"
                    f"</height><depth>3</depth></size>{objects}</annotation>")


def labels(path, number):
    """Write YOLO's text; none for a background."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if BOXES[number]:
        path.write_text("".join(
            f"{kind} {(x1 + x2) / 2 / WIDTH:.6f} {(y1 + y2) / 2 / HEIGHT:.6f} {(x2 - x1) / WIDTH:.6f} "
            f"{(y2 - y1) / HEIGHT:.6f}\n" for kind, x1, y1, x2, y2 in BOXES[number]))


def coco_folders(root):
    """COCO 2017's own names."""
    for split, numbers in SPLITS.items():
        pictures(root / f"{split}2017", numbers)
        coco(root / "annotations" / f"instances_{split}2017.json", numbers)
        (root / "annotations" / f"captions_{split}2017.json").write_text('{"images": [], "annotations": []}')


def roboflow_coco(root):
    """Roboflow's export: its group of classes is a class, too."""
    group = [{"id": 0, "name": "animals", "supercategory": "none"},
             *({"id": place, "name": name, "supercategory": "animals"} for place, name in enumerate(NAMES, 1))]
    for split, numbers in SPLITS.items():
        folder = root / {"val": "valid"}.get(split, split)
        pictures(folder, numbers)
        coco(folder / "_annotations.coco.json", numbers, categories=group)


def label_studio(root):
    """Label Studio's export: paths of its own machine, and one set."""
    pictures(root / "images", BOXES, "ab-{}.jpg")
    coco(root / "result.json", BOXES, "../../label-studio/data/media/upload/1/ab-{}.jpg")


def one_json(root):
    """One file with any name."""
    pictures(root / "photos" / "a", BOXES)
    coco(root / "mine.json", BOXES, "a/{}.jpg")


def voc(root):
    """Pascal VOC's own folders."""
    pictures(root / "JPEGImages", BOXES)
    for number in BOXES:
        xml(root / "Annotations" / f"{number}.xml", number)
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for split, numbers in SPLITS.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{number}\n" for number in numbers))
    (root / "ImageSets" / "Main" / "cat_train.txt").write_text("0 1\n1 -1\n")


def voc_devkit(root):
    """The same, as it is unpacked: a folder of years."""
    voc(root / "VOCdevkit" / "VOC2007")


def voc_pairs(root):
    """A picture and its XML beside each other, in folders of splits (Roboflow's VOC)."""
    for split, numbers in SPLITS.items():
        pictures(root / split, numbers)
        for number in numbers:
            xml(root / split / f"{number}.xml", number)


def voc_folders(root):
    """A folder of pictures and one of XML, not divided."""
    pictures(root / "images", BOXES)
    for number in BOXES:
        xml(root / "xmls" / f"{number}.xml", number)


def voc_lists(root):
    """PaddleDetection's lists."""
    pictures(root / "images", BOXES)
    for number in BOXES:
        xml(root / "xml" / f"{number}.xml", number)
    for split, numbers in SPLITS.items():
        (root / f"{split}.txt").write_text("".join(f"images/{number}.jpg xml/{number}.xml\n" for number in numbers))
    (root / "label_list.txt").write_text("\n".join(NAMES) + "\n")


def yolo(root):
    """Ultralytics' folders, with a data.yaml."""
    for split, numbers in SPLITS.items():
        pictures(root / "images" / split, numbers)
        for number in numbers:
            labels(root / "labels" / split / f"{number}.txt", number)
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nval: [images/val]\nnames: {0: cat, 1: dog}\n")


def roboflow_yolo(root):
    """Roboflow's export: '../' that its folders do not have, a test set that is not there."""
    for split, numbers in SPLITS.items():
        folder = root / {"val": "valid"}.get(split, split)
        pictures(folder / "images", numbers)
        for number in numbers:
            labels(folder / "labels" / f"{number}.txt", number)
    (root / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 2\n"
                                    "names: ['cat', 'dog']\n")


def yolo_lists(root):
    """Lists of pictures, and labels beside them; the folder that 'path' names is another program's."""
    pictures(root / "all", BOXES)
    for number in BOXES:
        labels(root / "all" / f"{number}.txt", number)
    for split, numbers in SPLITS.items():
        (root / f"{split}.txt").write_text("".join(f"./all/{number}.jpg\n" for number in numbers))
    (root / "mine.yml").write_text("path: ../datasets/mine\ntrain: train.txt\nval: val.txt\nnames: [cat, dog]\n")


def yolo_plain(root):
    """No YAML: a list of names, one set."""
    pictures(root / "images", BOXES)
    for number in BOXES:
        labels(root / "labels" / f"{number}.txt", number)
    (root / "classes.txt").write_text("cat\ndog\n")


def csv(root):
    """A box a line, with a column for the split; a line without a box is a background."""
    lines = ["filename,width,height,class,xmin,ymin,xmax,ymax,split"]
    for split, numbers in SPLITS.items():
        for number in numbers:
            for kind, *box in BOXES[number] or [("", "", "", "", "")]:
                name = NAMES[kind] if kind != "" else ""
                lines.append(f"{number}.jpg,{WIDTH},{HEIGHT},{name},{','.join(map(str, box))},{split}")
    pictures(root / "images", BOXES)
    (root / "boxes.csv").write_text("\n".join(lines) + "\n")


def roboflow_csv(root):
    """Roboflow's CSV: a file in each folder of a split; backgrounds are not in it."""
    for split, numbers in SPLITS.items():
        folder = root / {"val": "valid"}.get(split, split)
        pictures(folder, [number for number in numbers if BOXES[number]])
        lines = [f"{number}.jpg,{WIDTH},{HEIGHT},{NAMES[kind]},{x1},{y1},{x2},{y2}" for number in numbers
                 for kind, x1, y1, x2, y2 in BOXES[number]]
        (folder / "_annotations.csv").write_text("\n".join(["filename,width,height,class,xmin,ymin,xmax,ymax", *lines]))


#: name of a case -> (its writer, its layout, whether it has splits)
CASES = {"coco": (coco_folders, "COCO", True), "roboflow coco": (roboflow_coco, "COCO", True),
         "label studio": (label_studio, "COCO", False), "one json": (one_json, "COCO", False),
         "voc": (voc, "VOC", True), "devkit": (voc_devkit, "VOC", True), "pairs": (voc_pairs, "VOC", True),
         "images and xml": (voc_folders, "VOC", False), "lists": (voc_lists, "VOC lists", True),
         "yolo": (yolo, "YOLO", True), "roboflow yolo": (roboflow_yolo, "YOLO", True),
         "yolo lists": (yolo_lists, "YOLO", True), "yolo plain": (yolo_plain, "YOLO", False),
         "csv": (csv, "CSV", True), "roboflow csv": (roboflow_csv, "CSV", True)}
