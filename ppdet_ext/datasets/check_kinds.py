# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What can be wrong with a data set: a row for each kind, with how grave it is, what to do, and what --fix does."""
from __future__ import annotations

from typing import NamedTuple

Words = tuple[str, str]  # English, Chinese
SERIOUS, WARNING, NOTE = "serious", "warning", "note"
SEVERITIES: dict[str, Words] = {SERIOUS: ("serious", "严重"), WARNING: ("warning", "警告"), NOTE: ("note", "说明")}
#: RT-DETR's own number, where no config says another
QUERIES = 300
NOT_MENDED: Words = ("", "")


class Kind(NamedTuple):
    """A row.

    Args:
        severity: SERIOUS, WARNING or NOTE, unless the check says otherwise.
        title: what is counted.
        advice: what to do by hand.
        mended: what ``--fix`` does; NOT_MENDED where it does nothing.
    """

    severity: str
    title: Words
    advice: Words
    mended: Words = NOT_MENDED


_BY_HAND: Words = ("mend the annotation file at the places named", "按所列位置修正标注文件")
_LEFT_OUT: Words = ("left out", "不写入")

KINDS: dict[str, Kind] = {
    # of the annotation files, as the readers tell it (picture_set.KINDS)
    "file": Kind(SERIOUS, ("annotation files that cannot be read", "无法读取的标注文件"), _BY_HAND, _LEFT_OUT),
    "missing": Kind(SERIOUS, ("pictures or their annotations that are not there", "缺失的图片或标注"),
                    ("put the files there, or take the entries out", "补上文件，或删除相应条目"), _LEFT_OUT),
    "stray": Kind(SERIOUS, ("paths that lead out of the folder", "指向目录之外的路径"),
                  ("move the files into the folder", "把文件移入数据集目录"), _LEFT_OUT),
    "class": Kind(SERIOUS, ("classes that are unknown, or there twice", "未知或重复的类别"), _BY_HAND, _LEFT_OUT),
    "id": Kind(SERIOUS, ("ids that are missing, there twice, or lead nowhere", "缺失、重复或无所指的编号"), _BY_HAND,
               ("numbered anew; what leads nowhere is left out", "重新编号；无所指的不写入")),
    "box": Kind(SERIOUS, ("boxes that are not four numbers of the layout's unit", "格式或单位不对的框"), _BY_HAND,
                _LEFT_OUT),
    "value": Kind(SERIOUS, ("other values that are missing or of the wrong kind", "缺失或类型不对的其他取值"), _BY_HAND,
                  _LEFT_OUT),
    # pictures
    "picture": Kind(SERIOUS, ("pictures that cannot be read, or are cut off", "无法读取或不完整的图片"),
                    ("copy them again, or take them out", "重新拷贝，或移除"), _LEFT_OUT),
    "turned": Kind(SERIOUS, ("pictures turned by EXIF, but annotated as stored",
                             "按 EXIF 转正、却按存储方向标注的图片"),
                   ("take the orientation out of the files (exiftool -Orientation= FOLDER)",
                    "去掉文件中的方向信息 (exiftool -Orientation= FOLDER)"),
                   ("sizes and boxes are turned", "尺寸和框一并转正")),
    "exchanged": Kind(SERIOUS, ("pictures annotated with width and height exchanged", "宽高标注颠倒的图片"),
                      ("exchange the two in the annotations", "在标注中对调宽高"), ("exchanged", "对调")),
    "resized": Kind(SERIOUS, ("pictures that were resized after they were annotated", "标注之后又缩放过的图片"),
                    ("scale the boxes, or take the pictures as they were", "缩放框，或换回原图"),
                    ("boxes are scaled", "框随之缩放")),
    "other_size": Kind(WARNING, ("pictures of another size than annotated", "实际尺寸与标注不符的图片"),
                       ("look whether their boxes fit", "检查框是否对得上"),
                       ("the real size is written, boxes stay", "写入实际尺寸，框不变")),
    "exif": Kind(NOTE, ("pictures with an EXIF orientation", "带 EXIF 方向信息的图片"),
                 ("training turns them upright, and boxes count as drawn on the upright picture; look at one",
                  "训练时会转正，框按转正后的图片计；请看一张确认")),
    "background": Kind(NOTE, ("pictures without objects", "没有目标的图片"),
                       ("right where there is nothing to find; else label them", "确实没有目标则无妨，否则请补标")),
    # boxes
    "shares": Kind(SERIOUS, ("boxes written as shares of the picture, not pixels", "以比例而非像素书写的框"),
                   ("multiply by width and height", "乘以宽和高"), ("turned into pixels", "换算为像素")),
    "corners": Kind(SERIOUS, ("boxes written as two corners, not x, y, width, height",
                              "写成两个角点而非 x, y, 宽, 高的框"),
                    ("write [x1, y1, x2 - x1, y2 - y1]", "改写为 [x1, y1, x2 - x1, y2 - y1]"),
                    ("read as corners", "按角点理解")),
    "reversed": Kind(SERIOUS, ("boxes with corners the wrong way round", "角点颠倒的框"),
                     ("exchange the corners", "对调角点"), ("exchanged", "对调")),
    "outside": Kind(SERIOUS, ("boxes outside of their pictures", "完全在图片之外的框"),
                    ("take them out", "删除"), _LEFT_OUT),
    "over": Kind(WARNING, ("boxes that reach over the border", "超出图片边界的框"),
                 ("training cuts them at the border", "训练时会在边界处裁剪"), ("cut at the border", "在边界处裁剪")),
    "no_area": Kind(WARNING, ("boxes without an area", "没有面积的框"),
                    ("take them out; training leaves them out", "删除；训练时会略去"), _LEFT_OUT),
    "tiny": Kind(WARNING, ("boxes with a side below 3 pixels", "边长不足 3 像素的框"),
                 ("mostly slips of the mouse; look at some", "多为误点，请查看几个")),
    "same_box": Kind(WARNING, ("objects that are annotated twice", "重复标注的目标"),
                     ("take one out of each pair", "每对删去一个"), ("one of each is kept", "每对保留一个")),
    "two_classes": Kind(WARNING, ("objects that have two classes", "同时标为两个类别的目标"),
                        ("decide for one", "择其一")),
    # copies
    "copies": Kind(WARNING, ("copies of pictures within a split", "同一划分内的重复图片"),
                   ("keep one of each", "各保留一张"), ("one of each is kept, the one with most boxes",
                                                       "各保留一张，取框最多的")),
    "copies_across": Kind(SERIOUS, ("pictures of val or test that are in the training set, too",
                                    "同时在训练集中的验证或测试图片"),
                          ("take them out of val and test: AP would be too good", "从验证和测试集移除：否则 AP 虚高"),
                          ("taken out of val and test", "从验证和测试集移除")),
    "near": Kind(NOTE, ("pictures that look like others of their split", "与同一划分内其他图片近似的图片"),
                 ("frames of one film count several times; thin them out", "同一视频的相邻帧会被重复计入，可抽稀")),
    "near_across": Kind(WARNING, ("pictures of val or test that look like training pictures",
                                  "与训练图片近似的验证或测试图片"),
                        ("divide by film, place or day, so that AP tells about new pictures",
                         "按视频、地点或日期划分，使 AP 反映新图片"),
                        ("moved to the set that they look like", "移到与之近似的那个集合")),
    # classes
    "nothing": Kind(SERIOUS, ("splits without any box", "没有任何框的划分"), ("label them", "请标注")),
    "untrained": Kind(SERIOUS, ("classes of val or test without a training box", "训练集中没有框的验证或测试类别"),
                      ("divide anew, by class", "按类别重新划分")),
    "unmeasured": Kind(WARNING, ("classes of the training set without a box in val or test",
                                 "验证或测试集中没有框的训练类别"),
                       ("divide anew, by class: their AP is not measured", "按类别重新划分：其 AP 无从测量")),
    "unused": Kind(WARNING, ("classes without any box", "没有任何框的类别"),
                   ("take them out of the list, or label some", "从列表中移除，或补标")),
    "few": Kind(WARNING, ("classes with fewer than 10 training boxes", "训练框不足 10 个的类别"),
                ("label more of them", "补标")),
    "imbalance": Kind(WARNING, ("classes far rarer than the most common one", "远少于最常见类别的类别"),
                      ("label more of the rare ones, or repeat their pictures", "补标稀少类别，或重复其图片")),
    # against the detector
    "crowded": Kind(WARNING, ("pictures with more objects than the detector has queries", "目标数超过查询数的图片"),
                    ("raise num_queries, or cut the pictures into smaller ones", "增大 num_queries，或把图片切小")),
    "counted": Kind(NOTE, ("pictures with more than 100 objects of a class", "同类目标超过 100 个的图片"),
                    ("COCO's AP counts 100 detections of a class in a picture", "COCO 的 AP 每图每类只计 100 个检测")),
    "input_size": Kind(NOTE, ("recommended input size", "建议的输入尺寸"),
                       ("the side of the pictures in TrainReader, EvalReader and TestReader",
                        "即 TrainReader、EvalReader、TestReader 中的图片边长")),
    "num_queries": Kind(NOTE, ("recommended number of queries", "建议的查询数"),
                        ("num_queries of the detector; 300 suits as well where it is less",
                         "即检测器的 num_queries；少于 300 时用 300 亦可")),
}
