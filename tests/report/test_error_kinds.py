# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Kinds of errors on boxes made by hand, and the AP50 behind them against pycocotools'."""
import contextlib
import io

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ppdet_ext.errors import UserError
from ppdet_ext.report import error_kinds as kinds
from ppdet_ext.report.box_tables import MOST, Found, Truth
from ppdet_ext.report.class_results import class_results
from ppdet_ext.report.error_kinds import (
    BACKGROUND,
    BOTH,
    CLASSIFICATION,
    CORRECT,
    DUPLICATE,
    IGNORED,
    LOCALISATION,
    MISSED,
)

CAT, DOG = 7, 3  # category ids; sorted by id dog is class 0, cat is class 1
BOX = (100, 100, 40, 40)


def content(*objects, images=1, crowd=()):
    """A COCO file's content: objects are (image, category, box)."""
    return {"images": [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(images, 0, -1)],
            "categories": [{"id": CAT, "name": "cat"}, {"id": DOG, "name": "dog"}, {"id": 9, "name": "no object"}],
            "annotations": [{"id": n, "image_id": image, "category_id": category, "bbox": list(box),
                             "area": box[2] * box[3], "iscrowd": int(n - 1 in crowd)}
                            for n, (image, category, box) in enumerate(objects, 1)]}


def results(*found):
    """A bbox.json's content: (image, category, box, score)."""
    return [{"image_id": image, "category_id": category, "bbox": list(box), "score": score}
            for image, category, box, score in found]


def errors_of(truth, *found):
    truth = Truth.of(truth)
    return kinds.analyse(truth, Found.of(results(*found), truth))


def moved(overlap):
    """BOX moved to the right, so far that its IoU with BOX is ``overlap``."""
    x, y, w, h = BOX
    return x + w * (1 - overlap) / (1 + overlap), y, w, h


@pytest.mark.parametrize("category, box, kind", [
    (CAT, BOX, CORRECT), (CAT, moved(0.5), CORRECT), (DOG, BOX, CLASSIFICATION), (DOG, moved(0.5), CLASSIFICATION),
    (CAT, moved(0.49), LOCALISATION), (CAT, moved(0.101), LOCALISATION), (DOG, moved(0.49), BOTH),
    (DOG, moved(0.101), BOTH), (CAT, moved(0.099), BACKGROUND), (DOG, moved(0.099), BACKGROUND),
    (CAT, (300, 300, 20, 20), BACKGROUND)])
def test_one_detection_of_one_object(category, box, kind):
    errors = errors_of(content((1, CAT, BOX)), (1, category, box, 0.9))
    assert errors.kind.tolist() == [kind]
    about = kind if kind in (CORRECT, CLASSIFICATION, LOCALISATION) else MISSED
    assert errors.threshold == (0.9 if kind == CORRECT else 0.5) and errors.object_kind.tolist() == [about]
    table = kinds.counts(errors)
    assert {one: row["all"] for one, row in table.items() if row["all"]} == \
        ({kind: 1} if about != MISSED else {kind: 1, MISSED: 1})
    assert table[kind]["medium" if box == BOX or box[0] < 200 else "small"] == 1


def test_the_second_of_an_object_is_a_duplicate_and_order_is_by_score():
    errors = errors_of(content((1, CAT, BOX)), (1, CAT, moved(0.6), 0.8), (1, CAT, BOX, 0.7))
    assert errors.kind.tolist() == [CORRECT, DUPLICATE] and errors.target.tolist() == [0, 0]
    assert errors.taker.tolist() == [0] and errors.threshold == 0.8 and errors.shown.tolist() == [True, False]


def test_an_object_that_an_error_is_about_is_not_missed():
    truth = content((1, CAT, BOX), (1, CAT, (300, 100, 40, 40)), (1, DOG, (500, 100, 40, 40)))
    errors = errors_of(truth, (1, DOG, BOX, 0.9), (1, CAT, (300, 115, 40, 40), 0.8), (1, CAT, (300, 120, 40, 40), 0.7))
    assert errors.kind.tolist() == [CLASSIFICATION, LOCALISATION, LOCALISATION]
    assert errors.object_kind.tolist() == [CLASSIFICATION, LOCALISATION, MISSED]


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong():
    truth = content((1, CAT, (0, 0, 200, 200)), (1, CAT, (400, 100, 40, 40)), crowd=[0])
    errors = errors_of(truth, (1, CAT, BOX, 0.9), (1, CAT, (400, 100, 40, 40), 0.8), (1, DOG, BOX, 0.85))
    assert errors.kind.tolist() == [IGNORED, BACKGROUND, CORRECT]  # sorted by score
    assert errors.object_kind.tolist() == [IGNORED, CORRECT]
    assert sum(row["all"] for row in kinds.counts(errors).values()) == 2
    assert kinds.confusion(errors).tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]


def test_costs_are_what_mending_a_kind_brings():
    # cats at 1 and 3 and a dog at 2; the dog is called a cat, one cat is found badly, one is found
    truth = content((1, CAT, BOX), (2, DOG, BOX), (3, CAT, BOX), images=3)
    errors = errors_of(truth, (1, CAT, BOX, 0.9), (2, CAT, BOX, 0.8), (3, CAT, moved(0.3), 0.7))
    half = 51 / 101  # recall reaches a half: 51 of pycocotools' 101 points
    assert kinds.ap50(errors) == pytest.approx(half / 2)
    cost = kinds.costs(errors)
    assert cost[CLASSIFICATION] == pytest.approx((half + 1) / 2 - half / 2)
    cat = (51 + 50 * 2 / 3) / 101  # the third of three detections is right, after one that is wrong
    assert cost[LOCALISATION] == pytest.approx(cat / 2 - half / 2)
    assert {kind for kind, value in cost.items() if value} == {CLASSIFICATION, LOCALISATION}


def test_missed_background_and_duplicates_cost():
    truth = content((1, CAT, BOX), (1, CAT, (300, 100, 40, 40)))
    errors = errors_of(truth, (1, CAT, (500, 300, 40, 40), 0.9), (1, CAT, BOX, 0.8))
    assert kinds.ap50(errors) == pytest.approx(51 / 101 / 2)
    cost = kinds.costs(errors)
    assert cost[BACKGROUND] == pytest.approx(51 / 101 / 2) and cost[MISSED] == pytest.approx(0.5 - 51 / 101 / 2)
    truth = content((1, CAT, BOX), (2, CAT, BOX), images=2)
    errors = errors_of(truth, (1, CAT, BOX, 0.9), (1, CAT, BOX, 0.8), (2, CAT, BOX, 0.7))
    assert kinds.costs(errors)[DUPLICATE] == pytest.approx(50 / 3 / 101)
    assert kinds.ap50(errors_of(content((1, CAT, BOX)))) == 0  # nothing found
    assert kinds.costs(errors_of(content((1, CAT, BOX))))[MISSED] == 1


def test_the_confusion_matrix_prefers_the_own_class():
    # a cat and a dog in one place: each takes its own, though the cat's box fits the dog better
    truth = content((1, CAT, BOX), (1, DOG, moved(0.8)), (2, DOG, BOX), (2, CAT, (300, 10, 40, 40)), images=2)
    errors = errors_of(truth, (1, CAT, moved(0.8), 0.9), (1, DOG, BOX, 0.8), (2, CAT, BOX, 0.85),
                       (2, CAT, (500, 10, 40, 40), 0.95))
    assert errors.threshold == 0.8
    matrix = kinds.confusion(errors)
    assert not matrix[2].any() and not matrix[:, 2].any()  # the class without objects
    #                                                    dog cat missed
    assert matrix[[0, 1, 3]][:, [0, 1, 3]].tolist() == [[1, 1, 0],   # dog
                                                        [0, 1, 1],   # cat
                                                        [0, 1, 0]]   # background


def test_the_worst_image_comes_first():
    truth = content((1, CAT, BOX), (2, CAT, BOX), (2, CAT, (300, 10, 40, 40)), (3, CAT, BOX), images=5)
    errors = errors_of(truth, (1, CAT, BOX, 0.9), (2, CAT, BOX, 0.9), (4, CAT, BOX, 0.9))
    scores = kinds.image_scores(errors)
    assert [(one.image, one.right, one.wrong, one.missing) for one in scores] == [
        (2, 0, 0, 1), (3, 0, 1, 0), (1, 1, 0, 1), (0, 1, 0, 0)]
    assert [one.f1 for one in scores] == [0, 0, pytest.approx(2 / 3), 1]


def scene(rng, images=12):
    """Objects, some of them crowds, and detections: right ones, moved ones, of the wrong class, and noise."""
    objects, found, crowd = [], [], []
    for image in range(1, images + 1):
        for _ in range(rng.integers(0, 7)):
            box = (*rng.uniform(0, 400, 2), *rng.uniform(5, 150, 2))
            category = [CAT, DOG][rng.integers(2)]
            if rng.random() < 0.1:
                crowd.append(len(objects))
            objects.append((image, category, box))
            for _ in range(rng.integers(0, 4)):
                near = tuple(np.array(box) * rng.uniform(0.8, 1.25, 4))
                found.append((image, category if rng.random() < 0.8 else CAT, near, round(rng.random(), 2)))
        found += [(image, DOG, (*rng.uniform(0, 400, 2), *rng.uniform(5, 150, 2)), rng.random())
                  for _ in range(rng.integers(0, 3))]
    return content(*objects, images=images, crowd=crowd), found


@pytest.mark.parametrize("seed", range(6))
def test_ap_is_pycocotools(seed):
    truth, found = scene(np.random.default_rng(seed))
    if seed == 5:  # more than count, of one class in one image
        found += [(1, DOG, (5, 5, 10, 10), 0.3 + n / 1e4) for n in range(MOST + 20)]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(results(*found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    errors = errors_of(truth, *found)
    assert kinds.ap50(errors) == pytest.approx(evaluation.stats[1], abs=1e-12)
    classes = class_results(errors.truth, errors.found)
    assert [one.name for one in classes] == ["dog", "cat", "no object"]
    for one, precision in zip(classes, np.moveaxis(evaluation.eval["precision"][..., 0, -1], -1, 0)):
        np.testing.assert_array_equal(one.precision, precision[0])
        if precision.max() >= 0:
            assert (one.ap, one.ap50) == (precision.mean(), precision[0].mean())
        else:
            assert (one.ap, one.ap50) == (None, None)
    assert all(cost >= 0 for kind, cost in kinds.costs(errors).items() if kind != LOCALISATION)
    assert kinds.confusion(errors)[:-1].sum() == (~errors.truth.crowd).sum()


def test_detections_of_other_images_are_one_line_and_empty_sets_are_no_error():
    truth = content((1, CAT, BOX))
    with pytest.raises(UserError, match="other images than the annotations: 1 of 2"):
        errors_of(truth, (1, CAT, BOX, 0.9), (8, CAT, BOX, 0.9))
    for truth in (content(), content(images=0), {**content((1, CAT, BOX)), "categories": []}):
        errors = errors_of(truth)
        assert np.isnan(kinds.ap50(errors)) and kinds.image_scores(errors) == [] and not kinds.confusion(errors).any()
