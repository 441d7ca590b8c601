# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What deploy writes appears whole; a full disk is one line; leftovers of killed processes go."""
import errno
import os

import numpy as np
import pytest

from ppdet_ext import files
from ppdet_ext.deploy import DeployError, media, whole_file

PICTURE = np.full((8, 8, 3), 200, "uint8")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_the_old_picture_stays(tmp_path, monkeypatch, code):
    (tmp_path / "a.png").write_text("old")

    def full(path, content):
        raise OSError(code, os.strerror(code))
    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with pytest.raises(DeployError, match=r"cannot write '.*a\.png' \(.*\): free some space.*kept"):
        media.write_image(tmp_path / "a.png", PICTURE)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"] and (tmp_path / "a.png").read_text() == "old"


def test_a_read_only_folder_is_one_line(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(DeployError, match=r"cannot write to '.*' \(Read-only file system\); name another --output_dir"):
        media.write_image(tmp_path / "a.png", PICTURE)


def test_leftovers_go_but_not_those_of_the_living_and_of_sets(tmp_path):
    for name in (".video.0123abcd.partial.mp4", ".m.0123abcd.partial.pdopt", ".m.0123abcd.complete", ".x.partial"):
        (tmp_path / name).write_text("")
    with files.atomic_path(tmp_path.parent / "alive.png") as alive:
        here = alive.rename(tmp_path / alive.name)
        media.write_image(tmp_path / "a.png", PICTURE)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([
            here.name, ".m.0123abcd.complete", ".m.0123abcd.partial.pdopt", ".x.partial", "a.png"])
        here.rename(alive)


def test_names_are_those_that_the_package_knows(tmp_path):
    with whole_file.whole_file(tmp_path / "a.png") as path:
        assert files.TEMPORARY.fullmatch(path.name)
