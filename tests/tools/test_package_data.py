# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Configs are found by name in any folder; a wheel holds them, and trains outside the checkout."""
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from support.paths import CONFIGS, REPO

import ppdet_ext
from ppdet_ext import files
from ppdet_ext.checkpoints import models
from ppdet_ext.config import config_file
from ppdet_ext.errors import UserError


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---------------------------------------------------------------- by name
@pytest.mark.parametrize("name", ["rtdetr_cspresnet.yml", "configs/rtdetr_cspresnet.yml",
                                  "rtdetr/rtdetr_r18vd_6x_coco.yml",
                                  "configs/rtdetrv2/rtdetrv2_r18vd_120e_coco.yml"])
def test_a_config_is_found_by_name(elsewhere, name):
    own = CONFIGS / name.replace("configs/", "")
    assert config_file.find(name) == own
    assert config_file.read(name).keys() == config_file.read(own).keys()
    assert config_file.load(name)["filename"] == own.stem


def test_the_working_directorys_own_file_comes_first(elsewhere):
    (elsewhere / "configs").mkdir()
    for name in ("rtdetr_cspresnet.yml", "configs/rtdetr_cspresnet.yml"):
        (elsewhere / name).write_text("epoch: 77\n")
        assert config_file.read(name) == {"epoch": 77}


def test_a_base_is_found_by_name(elsewhere):
    (elsewhere / "own").mkdir()
    (elsewhere / "own" / "mine.yml").write_text("_BASE_: [rtdetr_cspresnet.yml]\nepoch: 77\n")
    mine, whole = config_file.read("own/mine.yml"), config_file.read(CONFIGS / "rtdetr_cspresnet.yml")
    assert mine.keys() == whole.keys() and mine["TimmBackbone"] == whole["TimmBackbone"]
    assert mine["epoch"] == 77 != whole["epoch"]


@pytest.mark.parametrize("name", ["none.yml", "configs/none.yml", "../pyproject.yml", "tests/none.yml"])
def test_what_is_nowhere_keeps_its_own_name(elsewhere, name):
    with pytest.raises(UserError, match=f"cannot read config '{name}' .No such file"):
        config_file.read(name)


def test_data_lies_beside_a_checkout_and_inside_an_installed_package(tmp_path, monkeypatch):
    assert files.data_path("configs") == CONFIGS
    assert files.data_path("weights/manifest.yml") == REPO / "weights" / "manifest.yml"
    package = tmp_path / "ppdet_ext"
    (package / "configs").mkdir(parents=True)
    (tmp_path / "configs").mkdir()  # some other package's
    monkeypatch.setattr(files, "__file__", str(package / "files.py"))
    assert files.data_path("configs") == package / "configs"


def test_a_models_config_is_among_them():
    assert models.find("rtdetr_r50vd") == CONFIGS / "rtdetr" / "rtdetr_r50vd_6x_coco.yml"


# ---------------------------------------------------------------- the wheel
@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The package as ``pip install .`` builds it, from a copy of what a build reads."""
    source = tmp_path_factory.mktemp("source")
    for name in ("ppdet_ext", "configs"):
        shutil.copytree(REPO / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "weights").mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "rt_detr_paddle.py",
                 "weights/manifest.yml"):
        shutil.copy(REPO / name, source / name)
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder,
                    source], check=True, timeout=300)
    return next(folder.glob("*.whl"))


def test_a_wheel_holds_all_that_the_package_reads(wheel):
    there = set(zipfile.ZipFile(wheel).namelist())
    read = {f"ppdet_ext/configs/{path.relative_to(CONFIGS)}" for path in CONFIGS.rglob("*.yml")}
    read |= {str(path.relative_to(REPO)) for path in (REPO / "ppdet_ext").rglob("*")
             if path.suffix in (".py", ".gz", ".typed")}
    read |= {"ppdet_ext/weights/manifest.yml", "rt_detr_paddle.py"}
    assert len(read) > 200 and read <= there, sorted(read - there)
    assert wheel.name.startswith(f"ppdet_ext-{ppdet_ext.__version__}-")
    assert not {name.split("/")[0] for name in there} - {"ppdet_ext", "rt_detr_paddle.py",
                                                         f"ppdet_ext-{ppdet_ext.__version__}.dist-info"}


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """bin/ of a fresh environment that has the wheel, and this environment's packages for everything else."""
    venv = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=120)
    site = next(venv.glob("lib*/python*/site-packages"))
    # pip is one of them. A checkout that is installed here in editable form does not come in: a .pth of its own puts
    # it on the path, and those of a folder that another .pth names are not read
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    subprocess.run([venv / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
                    "--ignore-installed", wheel], check=True, timeout=120)
    return venv / "bin"


def run(folder, *words):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PPDET_EXT_HOME")}
    return subprocess.run([str(word) for word in words], cwd=folder, env=environment, capture_output=True, text=True,
                          timeout=600)


def test_the_installed_command_is_the_wheels(installed, tmp_path):
    done = run(tmp_path, installed / "ppdet-ext", "--version")
    assert (done.returncode, done.stdout) == (0, f"ppdet-ext {ppdet_ext.__version__}\n"), done.stderr
    where = run(tmp_path, installed / "python", "-c", "import ppdet_ext, rt_detr_paddle; print(ppdet_ext.__file__)")
    assert Path(where.stdout.splitlines()[-1]).is_relative_to(installed.parent), where.stdout + where.stderr


@pytest.mark.slow
def test_an_installed_package_trains_from_an_empty_folder(installed, tmp_path):
    tiny = ["TimmBackbone.pretrained=false", "epoch=1", "worker_num=0", "TrainReader.batch_size=4",
            "RTDETRTransformer.num_queries=20", "RTDETRTransformer.num_decoder_layers=1",
            "DETRPostProcess.num_top_queries=20"]
    made = run(tmp_path, installed / "ppdet-ext", "sample-data", "--train", "8", "--val", "4", "--size", "128")
    assert made.returncode == 0, made.stderr
    done = run(tmp_path, installed / "ppdet-ext", "train", "-c", "rtdetr_cspresnet.yml", "-o", *tiny)
    assert done.returncode == 0, done.stderr[-3000:]
    output = tmp_path / "output" / "rtdetr_cspresnet"
    assert (output / "model_final.pdparams").is_file() and (output / "report.json").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset", "output"]
    assert "ppdet-ext eval -c rtdetr_cspresnet.yml" in done.stdout + done.stderr


# ---------------------------------------------------------------- the version
def test_the_version_is_one():
    citation = (REPO / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {ppdet_ext.__version__}\n" in citation
    newest = re.search(r"^## \[(\d.*?)\]", (REPO / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest.group(1) == ppdet_ext.__version__
