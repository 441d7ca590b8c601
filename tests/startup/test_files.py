# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Files appear whole, sets of them together, also where the process is killed; a full disk is one line."""
import errno
import os
import subprocess
import sys

import pytest
from support.paths import REPO

from ppdet_ext import files
from ppdet_ext.errors import UserError

SUFFIXES = (".a", ".b", ".c.json")
NEW = f"SUFFIXES = {SUFFIXES}" + """
import os, sys
from ppdet_ext import files
real, left = os.replace, int(sys.argv[2])
def replace(source, target):
    global left
    if left == 0:
        os.kill(os.getpid(), 9)
    left -= 1
    real(source, target)
os.replace = replace
with files.atomic_set(sys.argv[1] + "/set", SUFFIXES) as paths:
    for path in paths.values():
        path.write_text("new")
    if len(sys.argv) > 3:
        os.kill(os.getpid(), 9)
"""


def write(folder, text):
    with files.atomic_set(folder / "set", SUFFIXES) as paths:
        for path in paths.values():
            path.write_text(text)


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def all_of(text):
    return {f"set{suffix}": text for suffix in SUFFIXES}


def killed(folder, *words):
    done = subprocess.run([sys.executable, "-c", NEW, str(folder), *map(str, words)],
                          env={**os.environ, "PYTHONPATH": str(REPO)}, timeout=60)
    assert done.returncode == -9


@pytest.mark.parametrize("renames", range(3))
def test_a_set_killed_between_renames_is_completed(tmp_path, renames):
    write(tmp_path, "old")
    killed(tmp_path, renames)
    assert contents(tmp_path) != all_of("new")
    files.settle(tmp_path)
    assert contents(tmp_path) == all_of("new")


def test_a_set_killed_before_it_was_whole_leaves_the_old_one(tmp_path):
    write(tmp_path, "old")
    killed(tmp_path, 99, "early")
    assert len(contents(tmp_path)) == 6
    files.settle(tmp_path)
    assert contents(tmp_path) == all_of("old")


@pytest.mark.parametrize("renames", range(3))
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_set_broken_off_between_renames_is_of_one_piece(tmp_path, monkeypatch, renames, error):
    write(tmp_path, "old")
    real, left = os.replace, [renames]

    def replace(source, target):
        left[0] -= 1
        if left[0] == -1:
            raise error
        real(source, target)
    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(error):
        write(tmp_path, "new")
    assert contents(tmp_path) == all_of("new")


def test_an_error_while_writing_leaves_the_old_set(tmp_path):
    write(tmp_path, "old")
    with pytest.raises(TypeError):
        write(tmp_path, None)
    assert contents(tmp_path) == all_of("old")


def test_leftovers_of_the_dead_go_and_only_these(tmp_path):
    stay = [".hidden", ".best.partial", ".best.0123abcg.partial", "best.0123abcd.partial", ".best.0123abcd.pdparams"]
    go = [".best.0123abcd.partial.pdparams", ".file--x.0123abcd.partial.safetensors", ".probe.00000000.partial"]
    for name in stay + go:
        (tmp_path / name).write_text("")
    (tmp_path / ".exported.0123abcd.partial").mkdir()
    (tmp_path / ".exported.0123abcd.partial/model.json").write_text("")
    with files.atomic_path(tmp_path / "alive.bin") as path, files.temporary_folder(tmp_path / "folder") as folder:
        files.settle(tmp_path)
        assert path.exists() and folder.exists()
        assert sorted(contents_of_files(tmp_path)) == sorted([*stay, path.name])
    assert not folder.exists()


def contents_of_files(folder):
    return [path.name for path in folder.iterdir() if path.is_file()]


def test_the_first_file_written_to_a_folder_clears_it(tmp_path):
    (tmp_path / ".old.0123abcd.partial.bin").write_text("")
    with files.atomic_path(tmp_path / "new.bin") as path:
        path.write_text("")
    assert list(contents(tmp_path)) == ["new.bin"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("wrapped", [lambda error: error, lambda error: RuntimeError(f"writer: {error.strerror} (28)")])
def test_a_full_disk_is_one_line_and_the_old_file_stays(tmp_path, code, wrapped):
    (tmp_path / "m.bin").write_text("old")

    def fail():
        with files.atomic_path(tmp_path / "m.bin") as path:
            path.write_text("half")
            raise wrapped(OSError(code, os.strerror(code)))
    with pytest.raises(UserError, match=r"cannot write '.*m\.bin' \(.*\); what was there before is kept") as caught:
        fail()
    assert os.strerror(code) in str(caught.value) and "\n" not in str(caught.value)
    assert contents(tmp_path) == {"m.bin": "old"}


def test_other_errors_are_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(FileNotFoundError), files.atomic_path(tmp_path / "m.bin"):
        (tmp_path / "none").read_text()


def test_a_folder_that_cannot_be_written_says_why(tmp_path, monkeypatch):
    real = os.open

    def refuse(path, flags, *rest, **more):
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, flags, *rest, **more)
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(UserError, match=r"cannot write to .*Read-only file system\); name another folder$"):
        files.require_writable(tmp_path)


def test_what_is_written_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with files.atomic_path(tmp_path / "m.bin") as path:
            path.unlink()  # a writer that puts a private file there
            os.close(os.open(path, os.O_CREAT, 0o600))
    finally:
        os.umask(before)
    assert (tmp_path / "m.bin").stat().st_mode & 0o777 == 0o640


def test_a_library_that_hides_a_full_disk_does_not_hide_it(tmp_path):
    """Files of this process may not grow beyond 50 KB: a writer that fails silently is asked about the disk."""
    code = """
import pathlib, resource, sys
from ppdet_ext import errors, files
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
target = pathlib.Path(sys.argv[1]) / "m.bin"
try:
    with files.atomic_path(target) as path:
        raise RuntimeError("unexpected pos 576 vs 534")
except errors.UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env={**os.environ, "PYTHONPATH": str(REPO)},
                          timeout=60, capture_output=True, text=True)
    assert "File too large; free some space" in done.stdout and not list(tmp_path.iterdir()), done.stderr
