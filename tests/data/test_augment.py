# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""``augment: NAME``: what it puts into the training reader, what it says, and what it refuses."""
import copy
import random
import types

import numpy as np
import pytest
import yaml
from ppdet.core.workspace import create
from support import data_sets

from ppdet_ext.config import config_file, keys, resolved
from ppdet_ext.config.values import AUGMENT_PRESETS
from ppdet_ext.data import augment, pixel_transforms, reader_checks
from ppdet_ext.data.reading import parse_once, read_places
from ppdet_ext.errors import UserError

SIZE = {"BatchRandomResize": {"target_size": [32, 48, 64], "random_size": True, "random_interp": False,
                              "keep_ratio": False}}
OLD = [{"Decode": {}}, {"RandomCrop": {}}, {"RandomDistort": {}}, {"Resize": {"target_size": [40, 40],
                                                                             "keep_ratio": False}}]


@pytest.fixture(autouse=True)
def without_the_library(monkeypatch):
    monkeypatch.setattr(pixel_transforms, "is_installed", lambda: False)


def config(tmp_path, asked, names=("cat", "dog"), **reader):
    """A loaded config of ten epochs over three pictures."""
    root = tmp_path / "set"
    if not root.exists():
        data_sets.write_coco(root, lambda content: [entry.update(name=name) for entry, name in zip(
            content["categories"], names)])
    values = data_sets.coco_values(root, worker_num=0, epoch=10, **({"augment": asked} if asked else {}))
    values["TrainReader"] = {"sample_transforms": copy.deepcopy(OLD), "batch_size": 1, "collate_batch": False,
                             "batch_transforms": [SIZE, {"Permute": {}}], **reader}
    return data_sets.load(tmp_path, values)


def transforms(cfg):
    return [name for entry in cfg["TrainReader"]["sample_transforms"] for name in entry]


def test_the_table_has_the_presets_and_no_share_is_beyond_one():
    assert tuple(augment.PRESETS) == AUGMENT_PRESETS
    for rows in augment.PRESETS.values():
        assert sum(row.share or 0 for row in rows) <= 1
        assert {row.name for row in rows} <= augment.AUGMENTATIONS


@pytest.mark.parametrize("preset", AUGMENT_PRESETS)
def test_a_preset_stands_after_decode_and_its_reader_is_a_good_one(preset, tmp_path):
    cfg = config(tmp_path, preset)
    line = augment.apply(cfg, {}, {})
    names = [row.name for row in augment.PRESETS[preset] if row.name != "Albumentations"]
    assert transforms(cfg) == ["Decode", *names, "Resize"] and "augment" not in cfg
    keys.check_keys(cfg)
    reader_checks.check(cfg, "train")
    assert f"augment: {preset}" in line and "in place of RandomCrop, RandomDistort" in line and "\n" not in line
    limits = {name: value for entry in cfg["TrainReader"].get("transform_schedulers", ()) for name, value in
              entry.items()}
    assert limits == {name: {"stop_epoch": 9} for name in names if name != "RandomFlip"} or preset == "none"
    sides = [value for entry in cfg["TrainReader"]["sample_transforms"] for settings in entry.values()
             for key, value in settings.items() if key in ("target_dim", "input_dim")]
    assert sides == [side for name in names for side in {"Mosaic": [[48, 48]], "RandomScaledCrop": [48]}.get(name, [])]
    if preset != "none":
        assert "in epochs 0 to 8 of 0 to 9; RandomFlip 50% in all" in line
        assert ("without Albumentations, which is not installed" in line) == (preset == "strong")


def test_a_schedule_of_what_stays_is_kept(tmp_path):
    cfg = config(tmp_path, "none", transform_schedulers=[{"RandomCrop": {"stop_epoch": 3}}, {"Resize": {
        "start_epoch": 1}}])
    augment.apply(cfg, {}, {})
    assert cfg["TrainReader"]["transform_schedulers"] == [{"Resize": {"start_epoch": 1}}]


def test_without_the_key_nothing_changes(tmp_path):
    cfg = config(tmp_path, None)
    before = copy.deepcopy(dict(cfg["TrainReader"]))
    assert augment.apply(cfg, {}, {}) == "" and dict(cfg["TrainReader"]) == before


@pytest.mark.parametrize("asked, names, words", [
    ({"preset": "light", "flip": False}, ("cat", "dog"), "no flips"),
    ({"preset": "light"}, ("7", "dog"), "no flips, as '7' is no longer itself in a mirror (flip: true flips)"),
    ({"preset": "light", "flip": True}, ("7", "dog"), ""),
])
def test_flips_are_one_word_and_follow_the_classes(asked, names, words, tmp_path):
    cfg = config(tmp_path, asked, names)
    line = augment.apply(cfg, {}, {})
    assert words in line and ("RandomFlip" in transforms(cfg)) == (not words)
    assert augment.PRESETS["strong"][1].settings["enable_mixup"] is False, "Mosaic's own Mixup flips pictures"


def test_names_that_a_mirror_changes():
    assert augment.mirrored(["cat", "Z", "stop", "left_turn", "Right", "bright light", "copyright", "10", "左转"]) == [
        "Z", "left_turn", "Right", "左转"]


@pytest.mark.parametrize("last, stop", [(4, 6), (0, 10)])
def test_the_epochs_at_the_end(last, stop, tmp_path):
    cfg = config(tmp_path, {"preset": "light", "stop_epochs": last})
    line = augment.apply(cfg, {}, {})
    assert cfg["TrainReader"]["transform_schedulers"][0] == {"RandomDistort": {"stop_epoch": stop}}
    assert ("in all 10 epochs" in line) == (stop == 10)


def test_a_single_epoch_is_augmented(tmp_path):
    cfg = config(tmp_path, "light")
    cfg["epoch"] = 1
    assert "in all 1 epochs" in augment.apply(cfg, {}, {})


@pytest.mark.parametrize("asked, own, options, words", [
    ({"flip": False}, {}, {}, "it names no preset; write 'augment: {preset: strong, ...}'"),
    ({"preset": "strong", "stop_epochs": 10}, {}, {}, "stop_epochs is 10 of 10 epochs, so nothing would run"),
    ("strong", {"TrainReader": {"sample_transforms": OLD}}, {},
     "the config has RandomCrop, RandomDistort in TrainReader's transforms, and augment: strong has its own"),
    ("strong", {"TrainReader": {"mosaic_epoch": 3}}, {}, "the config has TrainReader.mosaic_epoch, and augment"),
    ("strong", {}, {"augment": "strong", "TrainReader": {"sample_transforms": OLD}}, "-o has RandomCrop, Random"),
])
def test_what_is_refused(asked, own, options, words, tmp_path):
    cfg = config(tmp_path, asked)
    with pytest.raises(UserError) as caught:
        augment.apply(cfg, own, options)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_command_line_goes_before_the_file(tmp_path):
    cfg = config(tmp_path, "light")
    assert "in place of" in augment.apply(cfg, {"TrainReader": {"sample_transforms": OLD}}, {"augment": "light"})


def test_outlines_and_points_are_refused(tmp_path):
    cfg = config(tmp_path, "medium")
    cfg["TrainDataset"]["data_fields"] = ["image", "gt_bbox", "gt_class", "gt_poly"]
    with pytest.raises(UserError, match="augment is for data sets of boxes: TrainDataset.data_fields has gt_poly"):
        augment.apply(cfg, {}, {})


@pytest.mark.parametrize("value", ["heavy", 3, True, {"preset": "light", "mosaic": 1}, {"preset": "light",
                                                                                     "flip": "no"}])
def test_other_values_are_refused(value, tmp_path):
    with pytest.raises(UserError, match="augment is .*light"):
        keys.check_keys(config(tmp_path, value))


def test_the_written_config_repeats_it_and_a_seed_gives_the_same_pictures(tmp_path):
    cfg = config(tmp_path, "strong")
    augment.apply(cfg, {}, {})
    text = resolved.as_yaml(cfg, whole=True)

    def pictures(epoch):
        reader, dataset = create("TrainReader"), create("TrainDataset")()
        parse_once(dataset)
        dataset.set_epoch(epoch)
        for start in (random.seed, np.random.seed):
            start(3)
        return [read_places(reader, dataset, [place % 3])["image"][0] for place in range(12)]

    found = {epoch: pictures(epoch) for epoch in (0, 9)}
    (tmp_path / "again.yml").write_text(text)
    config_file.load(tmp_path / "again.yml")
    assert "augment" not in yaml.safe_load(text)
    for epoch, wanted in found.items():
        again = pictures(epoch)
        assert all(np.array_equal(one, other) for one, other in zip(wanted, again))
    # in the last epoch there are flips alone: each picture in at most two forms, at three sizes
    assert len({one.tobytes() for one in found[9]}) <= len({one.tobytes() for one in found[0]})


def test_a_mosaic_is_not_scaled_again(tmp_path):
    cfg = config(tmp_path, "medium")
    augment.apply(cfg, {}, {})
    reader = create("TrainReader")
    scaled = next(one for one in reader._sample_transforms.transforms_cls
                  if type(getattr(one, "transform", one)).__name__ == "RandomScaledCrop")
    shapes = []
    for reader.mixing.chosen in ("Mosaic", "Mixup", ""):
        shapes.append(scaled({"image": np.zeros((9, 9, 3), np.uint8)})["image"].shape[0])
    assert shapes == [9, 48, 48]


class Kind:
    """As a transform of Albumentations, before release 2."""

    def __init__(self, name, **settings):
        self.name = name

    def __call__(self, image):
        return {"image": image + np.uint8(random.randrange(1, 200))}


def test_the_library_gets_its_chance_from_the_seed(monkeypatch):
    library = types.SimpleNamespace(**{name: lambda name=name, **settings: Kind(name) for name in
                                       pixel_transforms.KINDS})
    monkeypatch.setattr(pixel_transforms.importlib, "import_module", lambda name: library)
    transform = pixel_transforms.Albumentations(prob=0.5)

    def made():
        np.random.seed(1)
        return [int(transform({"image": np.zeros((2, 2, 3), np.uint8)})["image"][0, 0, 0]) for _ in range(20)]

    assert made() == made() and made().count(0) in range(4, 17) and len(set(made())) > 4


def test_a_config_that_names_the_library_needs_it(monkeypatch):
    def missing(name):
        raise ImportError("no such module")
    monkeypatch.setattr(pixel_transforms.importlib, "import_module", missing)
    with pytest.raises(UserError, match="needs the library of that name .*pip install --no-deps albumentations"):
        pixel_transforms.Albumentations()
