# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The sweep: workers that die, hang or grow, going on after a break, the pages it writes, and the tool itself."""
import contextlib
import csv
import json
import math
import os
import sys

import pytest

from ppdet_ext.errors import UserError
from ppdet_ext.sweep import rows, sweep_report, worker_pool
from ppdet_ext.sweep import run as sweep

# what a worker measures here; each name is what it does
FAKE = '''
import os, sys, time

print("printed while importing")
held, served = [], []

def measure(name, factor=1):
    served.append(name)
    os.write(1, b"printed by a library\\n")
    if name == "dies":
        os.write(2, b"last words\\n  [SignalInfo: ...]\\n")
        os.kill(os.getpid(), 9)
    if name == "dies unless first" and len(served) > 1:
        os._exit(3)
    if name == "hangs":
        time.sleep(600)
    if name == "grows":
        while True:
            held.append(bytearray(b"x" * 2**24))
            time.sleep(0.02)
    if name == "raises":
        raise ValueError("no such thing")
    if name == "exits":
        sys.exit(3)
    return {"name": name, "status": "ok", "reason": "", "forward": [factor * 1e-6], "pid": os.getpid(),
            "threads": os.environ["OMP_NUM_THREADS"]}
'''


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """fake(...) is a Plan whose workers measure with FAKE."""
    (tmp_path / "fake_sweep.py").write_text(FAKE)
    monkeypatch.syspath_prepend(tmp_path)
    return lambda **settings: worker_pool.Plan(measure="fake_sweep:measure", **settings)


def measured(names, plan):
    return {row["name"]: row for row in worker_pool.measure_all(names, plan)}


def gone(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


# ---------------------------------------------------------------- workers
@pytest.mark.slow
@pytest.mark.multiproc
def test_a_lost_worker_costs_one_row(fake):
    plan = fake(settings={"factor": 2}, describe=lambda name: {"family": name[0]})
    found = measured(["dies", "raises", "exits", "dies unless first", "fine"], plan)
    assert {name: row["status"] for name, row in found.items()} == {
        "dies": "failed", "raises": "failed", "exits": "failed", "dies unless first": "ok", "fine": "ok"}
    assert "SIGKILL" in found["dies"]["reason"] and "last words" in found["dies"]["reason"]
    assert found["dies"]["family"] == "d" and found["raises"]["reason"] == "ValueError: no such thing"
    assert found["fine"]["forward"] == [2e-6]
    assert all(gone(row["pid"]) for row in found.values() if "pid" in row)


@pytest.mark.slow
@pytest.mark.multiproc
def test_a_worker_that_hangs_is_replaced(fake):
    found = list(worker_pool.measure_all(["hangs", "hangs"], fake(time_limit=0.5)))
    assert [(row["status"], row["reason"]) for row in found] == [("failed", "takes more than 0.5 s")] * 2


@pytest.mark.slow
@pytest.mark.multiproc
def test_a_worker_that_grows_is_replaced(fake):
    found = measured(["grows", "fine"], fake(memory=0.9))
    assert "needs more than 0.9 GiB" in found["grows"]["reason"] and found["fine"]["status"] == "ok"


@pytest.mark.slow
@pytest.mark.multiproc
def test_jobs_share_the_cores_and_workers_wear_out(fake, monkeypatch):
    monkeypatch.setattr(worker_pool, "RECYCLE", 2)
    monkeypatch.setattr(worker_pool.environment, "cores", lambda: 6)
    found = measured("abcd", fake(jobs=2))
    assert {row["threads"] for row in found.values()} == {"3"}
    assert len({row["pid"] for row in found.values()}) >= 2


@pytest.mark.multiproc
def test_a_worker_that_does_not_start_ends_the_sweep(fake):
    with pytest.raises(UserError, match="does not start.*No module named 'no_such_module'"):
        measured(["a"], worker_pool.Plan(measure="no_such_module:measure"))


# ---------------------------------------------------------------- rows
@pytest.mark.multiproc
def test_a_sweep_goes_on_where_it_was_broken_off(fake, tmp_path):
    path = tmp_path / "out" / "sweep.jsonl"
    plan = fake()
    assert set(sweep.run(["a", "raises"], path, plan)) == {"a", "raises"}
    first = rows.read(path)
    path.write_text(path.read_text() + '{"name": "c", "sta')  # the machine went down here
    found = sweep.run(["a", "b", "raises"], path, plan, resume=True)
    assert found["a"] == first["a"] and found["b"]["pid"] != first["a"]["pid"]
    assert rows.read(path) == found and set(found) == {"a", "b", "raises"}
    assert rows.remaining(["a", "raises", "new"], found) == ["new"]
    assert rows.remaining(["a", "raises", "new"], found, retry=True) == ["raises", "new"]
    sweep.run([], path, plan)
    assert rows.read(path) == {} and rows.read(path.with_suffix(".previous.jsonl")) == found


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "sweep.jsonl").write_text("[1]\n" + json.dumps({"name": "a"}) + "\n")
    with pytest.raises(UserError, match="line 1 is no row"):
        rows.read(tmp_path / "sweep.jsonl")


def test_names_from_a_file(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("# one of each\nresnet18\n\nlevit_128\nresnet18\n")
    assert rows.listed(["levit_128", "resnet18", "vgg11"], path) == ["resnet18", "levit_128"]
    with pytest.raises(UserError, match="did you mean resnet18"):
        rows.listed(["resnet18.a"], path)
    with pytest.raises(UserError, match="cannot be read"):
        rows.listed([], tmp_path / "none.txt")


# ---------------------------------------------------------------- report
def a_row(name, **values):
    return {"name": name, "library": "timm", "family": "net", "parameters": 1.25, "trace_seconds": 0.5, "nodes": 9,
            "guards": [], "sizes": ["128x128", "160x96"], "depth": "full", "forward": [1e-6, 2e-6], "forward64": None,
            "gradient": 1e-5, "gradient64": None, "statistics": None, "export": 0.0, "status": "ok", "reason": "",
            **values}


ROWS = [a_row("a"), a_row("b", guards=["height == 224", "width | 7"], statistics=3e-6, sizes=["224x224"]),
        a_row("c", forward=[2e-4], forward64=4e-13), a_row("d", depth="reduced", family="other"),
        a_row("e", depth="trace only", forward=[], gradient=None, export=None),
        a_row("f", status="falls short", reason="forward 1.0e-02, in float64 2.0e-02"),
        a_row("g", status="falls short", reason="forward 3.5e-02, in float64 4.0e-02", forward=[math.nan]),
        {"name": "h", "library": "torchvision", "status": "failed", "reason": "takes more than 300 s"}]


def test_page_counts_first_and_groups_reasons():
    text = sweep_report.page(ROWS, ["tolerance 1e-4"])
    lines = text.split("\n")
    for line in ("| names | 7 | 1 | 8 |", "| traced | 7 | 0 | 7 |", "| within tolerance | 4 | 0 | 4 |",
                 "| - in float32 | 3 | 0 | 3 |", "| - at reduced depth | 1 | 0 | 1 |",
                 "| traced only, too large to compare | 1 | 0 | 1 |", "| falling short | 2 | 1 | 3 |",
                 "| 2 | forward 1.0e-02, in float64 2.0e-02 | f, g |", "| 1 | takes more than 300 s | h |",
                 "| net | 6 | 2 | nan | 1e-05 | 3e-06 | 0e+00 |", "| ? | 1 | 1 |  |  |  |  |",
                 "| a | 1.2 | 0.50 |  | 128x128, 160x96 | 2e-06 | 1e-05 |  | 0e+00 | full |",
                 "| b | 1.2 | 0.50 | 2 | 224x224 | 2e-06 | 1e-05 | 3e-06 | 0e+00 | full |",
                 r"| c | 1.2 | 0.50 |  | 128x128, 160x96 | 4e-13\* | 1e-05 |  | 0e+00 | full |",
                 "| e | 1.2 | 0.50 |  | 128x128, 160x96 |  |  |  |  | trace only |",
                 "| h |  |  |  |  |  |  |  |  | failed |"):
        assert line in lines, f"{line}\n\n{text}"
    headings = [line for line in lines if line.startswith("## ")]
    assert headings == ["## Summary", "## Falling short", "## Families", "## Models"]
    assert "## Falling short" not in sweep_report.page(ROWS[:3])


def test_csv_has_everything(tmp_path):
    table, page = sweep_report.write(ROWS, tmp_path / "new")
    with open(table, newline="") as file:
        found = {row["name"]: row for row in csv.DictReader(file)}
    assert len(found) == len(ROWS) and page.is_file()
    assert found["b"]["guards"] == "height == 224 | width | 7" and found["c"]["forward64"] == "4e-13"
    assert found["h"]["reason"] == "takes more than 300 s" and found["h"]["forward"] == ""


# ---------------------------------------------------------------- the tool
@pytest.mark.slow
@pytest.mark.torch
def test_tool_measures_real_models(tool, tmp_path, capsys):
    for package in ("torch", "timm", "torchvision"):
        pytest.importorskip(package, reason="the originals")
    names = tmp_path / "names.txt"
    names.write_text("test_resnet\ntorchvision/shufflenet_v2_x0_5\n")
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as done:
        tool("sweep_bridge").main(["--filter", "test_resnet*", "*shufflenet*", "--list", str(names), "--out", str(out)])
    found = rows.read(out / "sweep.jsonl")
    assert done.value.code == 0, found
    assert {row["name"]: row["status"] for row in found.values()} == {
        "test_resnet": "ok", "torchvision/shufflenet_v2_x0_5": "ok"}
    assert "within tolerance: 2" in capsys.readouterr().out
    print({name: [row[error] for error in sweep_report.ERRORS] for name, row in found.items()})


@pytest.mark.torch
@pytest.mark.parametrize("rows_there, code", [(ROWS[:2], 0), (ROWS[:2] + ROWS[5:6], 1)])
def test_exit_code_tells_whether_a_model_falls_short(tool, tmp_path, monkeypatch, rows_there, code):
    module = tool("sweep_bridge")
    for package in ("torch", "timm", "torchvision"):
        pytest.importorskip(package, reason="the sweep's names come from them")
    monkeypatch.setattr("ppdet_ext.sweep.run.run", lambda *args: {row["name"]: row for row in rows_there})
    with pytest.raises(SystemExit) as done:
        module.main(["--filter", "resnet18", "--out", str(tmp_path)])
    assert done.value.code == code


def test_tool_says_what_is_missing(tool, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(UserError, match=r"the sweep needs torch.*ppdet-ext\[torch\]"):
        tool("sweep_bridge").main(["--out", str(tmp_path)])


@pytest.mark.torch
def test_tool_refuses_a_filter_without_names(tool, tmp_path):
    for package in ("torch", "timm", "torchvision"):
        pytest.importorskip(package, reason="the sweep's names come from them")
    with pytest.raises(UserError, match="no name of timm is like nothing_at_all"):
        tool("sweep_bridge").main(["--library", "timm", "--filter", "nothing_at_all", "--out", str(tmp_path)])
