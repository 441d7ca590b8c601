# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``mixing``: chance decides how many pictures are read, by share, in the epochs of the schedule."""
import numpy as np
import pytest
from support import data_sets

from ppdet_ext.data import mixing, reader_checks
from ppdet_ext.errors import UserError

DECODE = {"Decode": {}}


class Mosaic:
    enable_mixup = False

    def __call__(self, data, context=None):
        return {"made": "Mosaic", "pictures": len(data), "gt_score": 1}


class Mixup:
    def __call__(self, data, context=None):
        return {"made": "Mixup", "pictures": len(data), "gt_score": 1}


class DataSet:
    """As ppdet's, over ten records."""

    def __init__(self, mixes, transforms):
        self.mixing, self.roidbs, self._epoch, self._curr_iter = mixes, [{"id": n} for n in range(10)], 0, 0
        self.transforms = [mixing.Mixes(one, mixes) for one in transforms]

    def transform(self, data):
        self.read = len(data) if isinstance(data, list) else 1
        for one in self.transforms:
            data = one(data)
        return data

    def __len__(self):
        return 20

    __getitem__ = mixing.mix_by_share(lambda self, idx: "ppdet's own")


def data_set(shares, limits=None, transforms=None):
    transforms = transforms or (Mosaic(), Mixup())
    return DataSet(mixing.Mixing(shares, transforms, limits or {}) if shares else None, transforms)


def test_shares_are_kept_and_no_more_pictures_are_read_than_are_mixed():
    np.random.seed(0)
    dataset, found, ids = data_set({"Mosaic": 0.5, "Mixup": 0.2}), [], set()
    for place in range(600):
        made = dataset[place % 20]
        found.append((made.get("made", "one"), dataset.read, made.get("pictures", 1)))
        ids.add(made.get("id"))
        assert "gt_score" not in made
    # Mosaic wants a fifth, which it then leaves
    assert set(found) == {("one", 1, 1), ("Mixup", 2, 2), ("Mosaic", 4, 5)} and ids == {None, *range(10)}
    counts = [sum(kind == name for kind, _, _ in found) / 600 for name in ("Mosaic", "Mixup", "one")]
    np.testing.assert_allclose(counts, [0.5, 0.2, 0.3], atol=0.06)


def test_epochs_are_those_of_the_schedule():
    dataset = data_set({"Mosaic": 0.5, "Mixup": 0.5}, {"Mosaic": {"stop_epoch": 2}, "Mixup": {"start_epoch": 1}})
    kinds = []
    for epoch in range(4):
        dataset._epoch = epoch
        kinds.append({dataset[place].get("made", "one") for place in range(20)})
    assert kinds == [{"Mosaic", "one"}, {"Mosaic", "Mixup"}, {"Mixup", "one"}, {"Mixup", "one"}]


def test_a_fifth_picture_is_read_where_mosaic_mixes_it_in():
    mixer = Mosaic()
    mixer.enable_mixup = True
    dataset = data_set({"Mosaic": 1.0}, transforms=(mixer,))
    assert dataset[0] == {"made": "Mosaic", "pictures": 5} and dataset.read == 5


def test_without_it_ppdet_reads_as_ever():
    assert data_set({})[0] == "ppdet's own"


@pytest.mark.parametrize("reader, words", [
    ({"mixing": {"Mosaic": 0.5}, "sample_transforms": [DECODE]}, "mixing has Mosaic, but sample_transforms does not"),
    ({"mixing": {"Mixup": 0.5}, "sample_transforms": [{"Mixup": {}}, DECODE]}, "put it after Decode"),
    ({"mixing": {"Mixup": 0.5}, "mixup_epoch": 3, "sample_transforms": [DECODE, {"Mixup": {}}]},
     "mixing and mixup_epoch both say"),
])
def test_what_does_not_go_with_it(reader, words):
    with pytest.raises(UserError, match=words):
        reader_checks.check({"TrainReader": reader}, "train")


def test_a_data_set_that_reads_in_its_own_way_is_refused(tmp_path):
    values = data_sets.coco_values(tmp_path)
    values["TrainReader"] = {"mixing": {"Mixup": 0.5}, "sample_transforms": [DECODE, {"Mixup": {}}]}
    reader_checks.check(values, "train")
    values["TrainDataset"]["name"] = "SemiCOCODataSet"
    with pytest.raises(UserError, match="mixing: SemiCOCODataSet reads its pictures in a way of its own"):
        reader_checks.check(values, "train")
