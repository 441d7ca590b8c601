# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the tests of this room share."""
import json

import pytest


@pytest.fixture
def coco_folder(tmp_path):
    """A data set's folder in COCO's layout, with pictures that nobody reads."""
    folder = tmp_path / "data"
    (folder / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        (folder / split).mkdir()
        for number in range(16):
            (folder / split / f"{number}.jpg").touch()
        images = [{"id": number, "file_name": f"{number}.jpg", "height": 8, "width": 8} for number in range(16)]
        (folder / "annotations" / f"{split}.json").write_text(json.dumps({
            "images": images, "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]}))
    return folder
