# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""transform_schedulers: transforms that run in some epochs only, also where workers read ahead."""
import pytest
from ppdet.core.workspace import create

from ppdet_ext.config import config_file

SCHEDULE = """
_BASE_: [{base}]
TrainReader:
  batch_size: 2
  shuffle: false
  sample_transforms: [Decode: {{}}, Resize: {{target_size: [32, 32], keep_ratio: false}}]
  batch_transforms:
  - BatchRandomResize: {{target_size: [64], random_size: true, random_interp: false, keep_ratio: false}}
  - Permute: {{}}
  transform_schedulers: [Resize: {{start_epoch: 1}}, BatchRandomResize: {{stop_epoch: 1}}]
"""


@pytest.fixture
def reader(tiny_config):
    path = tiny_config.with_name("scheduled.yml")
    path.write_text(SCHEDULE.format(base=tiny_config))
    config_file.load(path)
    return lambda workers: create("TrainReader")(create("TrainDataset")(), workers)


@pytest.mark.parametrize("workers", [0, 1])
def test_epochs_are_those_of_the_schedule(reader, workers):
    loader = reader(workers)
    sides = [{batch["image"].shape[-1] for batch in loader} for _ in range(3)]
    assert sides == [{64}, {32}, {32}]


def test_a_broken_off_epoch_is_told_by_the_trainer(reader):
    loader = reader(0)
    loader.dataset.set_epoch(5)
    loader.loader = iter(loader.dataloader)  # as Trainer.resume_weights does
    assert {batch["image"].shape[-1] for batch in loader} == {32}
