# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Each fault of a data set is found by its own check alone, and what is mended is found no more."""
import numpy as np
import pytest
from support.checked_sets import BOXES, HEIGHT, WIDTH, Spoilt, again, kinds

from ppdet_ext.datasets import dataset_checks, recommended
from ppdet_ext.datasets.check_kinds import KINDS, SERIOUS, WARNING
from ppdet_ext.datasets.picture_set import KINDS as PROBLEMS
from ppdet_ext.datasets.picture_set import Box, Problem


def share(x1, y1, x2, y2):
    return x1 / WIDTH, y1 / HEIGHT, x2 / WIDTH, y2 / HEIGHT


def as_size(x1, y1, x2, y2):
    """What COCO's reader makes of corners that were written as x, y, width, height."""
    return x1, y1, x1 + x2, y1 + y2


def only_cats(spoilt, split, count=None):
    for number, picture in enumerate(spoilt.data.splits[split][:count]):
        spoilt.picture(number, split, boxes=picture.boxes[:1])


def rare(spoilt):
    for number in range(20):
        spoilt.add(*((1, x, 400, x + 15, 415) for x in range(0, 600, 20)), number=number)


def leak(count):
    def spoil(spoilt):
        for number in range(count):
            spoilt.like(number, "val", number, keys=("look", "small"))
    return spoil


def copy_with_fewer_boxes(spoilt):
    spoilt.like(3, "train", 2)
    spoilt.picture(2, boxes=())


def stored_on_its_side(spoilt):
    spoilt.file(0, width=HEIGHT, height=WIDTH, orientation=6)


# kind -> what spoils the set, what else is found, and what is found after --fix
CASES = {
    "picture": (lambda s: s.file(0, reason="cut off", width=0, height=0), {}, set()),
    "turned": (stored_on_its_side, {"exif": 1}, {"exif"}),
    "exchanged": (lambda s: s.picture(0, width=HEIGHT, height=WIDTH), {}, set()),
    "resized": (lambda s: s.file(0, width=WIDTH // 2, height=HEIGHT // 2), {}, set()),
    "other_size": (lambda s: s.picture(0, width=WIDTH + 40), {}, set()),
    "exif": (lambda s: s.file(0, orientation=3), {}, {"exif"}),
    "background": (lambda s: s.picture(0, boxes=()), {}, {"background"}),
    "shares": (lambda s: s.all_boxes(share, ["val"]), {}, set()),
    "corners": (lambda s: s.all_boxes(as_size, ["train"]), {}, set()),
    "reversed": (lambda s: s.box(110, 140, 10, 20), {}, set()),
    "outside": (lambda s: s.box(WIDTH + 5, 0, WIDTH + 50, 40), {}, set()),
    "over": (lambda s: s.box(-30, 20, 110, 140), {}, set()),
    "no_area": (lambda s: s.box(10, 20, 10, 90), {}, set()),
    "tiny": (lambda s: s.box(10, 20, 12, 90), {}, {"tiny"}),
    "same_box": (lambda s: s.add((0, 11, 20, 110, 141)), {}, set()),
    "two_classes": (lambda s: s.add((1, 11, 20, 110, 141)), {}, {"two_classes"}),
    "copies": (copy_with_fewer_boxes, {"background": 1}, set()),
    "copies_across": (lambda s: s.like(0, "val", 0), {}, set()),
    "near": (lambda s: s.like(1, "train", 0, keys=("look", "small")), {}, {"near"}),
    "near_across": (leak(2), {}, {"near"}),
    "nothing": (lambda s: [s.picture(n, "val", boxes=()) for n in range(10)], {"background": 10},
                {"nothing", "background"}),
    "untrained": (lambda s: only_cats(s, "train"), {}, {"untrained"}),
    "unmeasured": (lambda s: only_cats(s, "val"), {}, {"unmeasured"}),
    "unused": (lambda s: setattr(s.data, "names", ("cat", "dog", "cow")), {}, {"unused"}),
    "few": (lambda s: only_cats(s, "train", 28), {}, {"few"}),
    "imbalance": (rare, {}, {"imbalance"}),
    "counted": (lambda s: s.add(*((0, x, y, x + 9, y + 9) for x in range(0, 600, 20) for y in range(400, 460, 15))),
                {}, {"counted"}),
}


def test_a_good_set_is_only_given_advice():
    subject = Spoilt().check()
    assert kinds(subject) == {} and subject.passed and subject.changes == []
    assert subject.verdict() == "OK: 2 notes"


@pytest.mark.parametrize("kind", CASES)
def test_one_fault_is_one_finding(kind):
    spoil, also, left = CASES[kind]
    spoilt = Spoilt()
    spoil(spoilt)
    subject = spoilt.check()
    found = kinds(subject)
    assert set(found) == {kind, *also}, found
    assert found.items() >= also.items()
    assert all(finding.kind in KINDS and finding.count > 0 for finding in subject.findings)
    assert bool(KINDS[kind].mended[0]) == bool([change for change in subject.changes if change.kind == kind])
    assert set(kinds(again(subject))) == left


def test_every_kind_has_a_case():
    assert set(KINDS) == {*CASES, *PROBLEMS, "crowded", "input_size", "num_queries"}
    assert all(all(words) for kind in KINDS.values() for words in (kind.title, kind.advice))
    assert all(bool(kind.mended[0]) == bool(kind.mended[1]) for kind in KINDS.values())


def test_what_the_reader_tells_is_counted_by_kind():
    spoilt = Spoilt()
    spoilt.problems = [Problem("id", "'/data/a.json'", f"number {n}") for n in range(9)] + [Problem("box", "", "odd")]
    subject = spoilt.check()
    assert kinds(subject) == {"id": 9, "box": 1} and not subject.passed
    found = next(finding for finding in subject.findings if finding.kind == "id")
    assert found.places[0] == "'a.json': number 0" and len(found.places) == 6
    assert len(subject.changes) == 10 and subject.verdict().startswith("FAILED: 2 serious, 2 notes; ids that")


@pytest.mark.parametrize("orientation, turned", [
    (5, (20, 10, 140, 110)), (6, (HEIGHT - 140, 10, HEIGHT - 20, 110)),
    (7, (HEIGHT - 140, WIDTH - 110, HEIGHT - 20, WIDTH - 10)), (8, (20, WIDTH - 110, 140, WIDTH - 10))])
def test_boxes_are_turned_as_their_picture_is(orientation, turned):
    """The corner of the stored picture at (10, 20) is where Pillow puts it."""
    from PIL import Image, ImageOps

    stored = np.zeros((HEIGHT, WIDTH), np.uint8)
    x1, y1, x2, y2 = BOXES[0]
    stored[y1:y2, x1:x2] = 255
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = orientation
    rows, columns = np.nonzero(np.asarray(ImageOps.exif_transpose(image)))
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == turned
    spoilt = Spoilt()
    spoilt.file(0, width=HEIGHT, height=WIDTH, orientation=orientation)
    box = spoilt.check().mended().splits["train"][0].boxes[0]
    assert (box.x1, box.y1, box.x2, box.y2) == turned


def test_boxes_come_out_as_they_were_meant():
    for spoil in (lambda s: s.all_boxes(share), lambda s: s.all_boxes(as_size), lambda s: s.box(110, 140, 10, 20)):
        spoilt = Spoilt()
        spoil(spoilt)
        for picture in spoilt.check().mended().splits["train"]:
            np.testing.assert_allclose([(box.x1, box.y1, box.x2, box.y2) for box in picture.boxes], BOXES)


def test_a_mended_picture_has_its_real_size_and_its_boxes_scaled():
    spoilt = Spoilt()
    spoilt.file(0, width=WIDTH // 2, height=HEIGHT // 2)
    picture = spoilt.check().mended().splits["train"][0]
    assert (picture.width, picture.height) == (WIDTH // 2, HEIGHT // 2)
    assert (picture.boxes[1].x1, picture.boxes[1].y2) == (150, 165)


def test_leaked_pictures_go_to_the_training_set_unless_they_are_too_many():
    for count, moved in ((2, 2), (3, 0)):  # of ten; a quarter is the most
        spoilt = Spoilt()
        leak(count)(spoilt)
        subject = spoilt.check()
        sizes = {split: len(pictures) for split, pictures in subject.mended().splits.items()}
        assert sizes == {"train": 30 + moved, "val": 10 - moved}
        found = next(finding for finding in subject.findings if finding.kind == "near_across")
        assert found.severity == SERIOUS and (found.count, found.of) == (count, 10)
        assert len(found.examples) == 2 * count
    spoilt = Spoilt()
    spoilt.data.splits["val"] *= 3  # the same files again: one of 30 is a warning
    for split in ("train", "val"):
        for number in range(len(spoilt.data.splits[split])):
            path = spoilt.data.splits[split][number].path.with_name(f"{split}-{number}.jpg")
            spoilt.facts[path] = spoilt.facts[spoilt.data.splits[split][number].path]
            spoilt.picture(number, split, path=path)
            rng = np.random.default_rng(number + 100 * (split == "val"))
            spoilt.file(number, split, look=int(rng.integers(2**62)), digest=str(path),
                        small=rng.integers(0, 256, 256, np.uint8).tobytes())
    leak(1)(spoilt)
    found, = (finding for finding in spoilt.check().findings if finding.kind == "near_across")
    assert found.severity == WARNING


def test_of_copies_the_one_with_most_boxes_stays_and_training_keeps_its_own():
    spoilt = Spoilt()
    copy_with_fewer_boxes(spoilt)
    spoilt.like(0, "val", 2)
    splits = spoilt.check().mended().splits
    assert "2.jpg" not in [picture.path.name for picture in splits["train"]] and len(splits["train"]) == 29
    assert "0.jpg" not in [picture.path.name for picture in splits["val"]] and len(splits["val"]) == 9


def test_crowds_are_no_objects():
    spoilt = Spoilt()
    crowd = Box(0, *BOXES[0], crowd=True)
    spoilt.picture(0, boxes=(*spoilt.data.splits["train"][0].boxes, crowd))
    subject = spoilt.check(queries=2)
    assert kinds(subject) == {}
    assert kinds(spoilt.check(queries=1)) == {"crowded": 40}
    assert subject.mended().splits["train"][0].boxes[2].crowd


def test_many_boxes_are_compared_in_parts_as_in_one(monkeypatch):
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 50, (300, 4))
    boxes[:, 2:] += boxes[:, :2] + 100
    whole = dataset_checks._overlapping(boxes)
    monkeypatch.setattr(dataset_checks, "ROWS", 7)
    np.testing.assert_array_equal(whole, dataset_checks._overlapping(boxes))
    assert len(whole[0]) > 3 and (whole[0] < whole[1]).all()


def test_recommended_numbers():
    def size(side, width=640, height=480):
        return recommended.input_size(np.array([[0, 0, side, side]] * 9, float), np.array([[width, height]] * 9, float),
                                      np.array([[width, height]], float))
    assert size(100).value == 256  # large objects: the least
    assert size(12).value == 576 and "at least 12 x 12" in size(12).text[0]  # 12 pixels of a root of 640 * 480
    assert size(4).value == 1280 and "--slice_infer" in size(4).text[0]
    assert size(2, 320, 240).value == 640  # twice the picture, not more
    assert recommended.input_size(*np.zeros((3, 0, 4))) is None
    assert [recommended.num_queries(np.array([most])).value for most in (1, 60, 180, 1000)] == [100, 150, 400, 900]
    assert "cut such pictures" in recommended.num_queries(np.array([1000])).text[0]
    assert recommended.num_queries(np.array([0])) is None
