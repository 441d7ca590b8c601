# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Every place where the installed ppdet could run code, unpickle, start a program or download, and what holds it."""
import ast
import re
from pathlib import Path

import ppdet

from ppdet_ext.config import allowed
from ppdet_ext.patches import ledger

ROOT = Path(ppdet.__file__).parent
NAMES = {"eval", "exec", "compile", "__import__", "execfile"}
CALLS = re.compile(r"(^|\.)(pickle|cPickle|joblib|dill|marshal|shelve|torch|paddle|yaml)\.(load|loads|open)$|"
                   r"^(np|numpy)\.(load|fromfile)$|^os\.(system|popen|exec\w*|spawn\w*)$|^subprocess\.\w+$|"
                   r"import_module$|\.import_file$|get_weights_path_from_url$|^requests\.\w+$|urlopen$|urlretrieve$|"
                   r"\.extractall$|cpp_extension\.load$|ctypes\.\w+$")
WORDS = re.compile(r"eval\(|exec\(|load|system|popen|subprocess|import_|requests|url|extractall|ctypes")
# module: call -> what holds it
ROW = {"safe_yaml", "safe_eval", "safe_names", "safe_load", "safe_cache", "safe_download"}
HELD = {
    "core.workspace: yaml.load": "safe_yaml",
    "core.workspace: importlib.import_module": "of classes that are registered already",
    "core.config.schema: importlib.import_module": "of classes that are registered already",
    "core.config.yaml_helpers: importlib.import_module": "!Callable, which is no tag for configs",
    "data.shm_utils: os.popen": "a constant",
    "data.source.mot: os.system": "safe_names",
    "data.transform.operators: pickle.load": "safe_cache",
    "engine.tracker: os.system": "no command of ours makes a tracker",
    "modeling.backbones.vision_transformer: eval": "safe_eval",
    "modeling.backbones.trans_encoder: eval": "safe_eval",
    "modeling.necks.custom_pan: eval": "safe_eval",
    "modeling.reid.pyramidal_embedding: eval": "safe_eval",
    "modeling.reid.resnet_embedding: eval": "safe_eval",
    "optimizer.adamw: eval": "safe_eval",
    "modeling.backbones.vision_transformer: paddle.load": "safe_load",
    "modeling.backbones.swin_transformer: paddle.load": "safe_load",
    "modeling.backbones.convnext: paddle.load": "safe_load",
    "modeling.reid.resnet: paddle.load": "safe_load",
    "utils.checkpoint: paddle.load": "safe_load",
    "modeling.backbones.vision_transformer: paddle.utils.download.get_weights_path_from_url": "safe_download",
    "modeling.backbones.swin_transformer: paddle.utils.download.get_weights_path_from_url": "safe_download",
    "modeling.backbones.convnext: paddle.utils.download.get_weights_path_from_url": "safe_download",
    "slim: yaml.load": "the key slim, which no command of ours reads",
    "utils.cam_utils: exec": "no command of ours draws such maps",
    "utils.cli: yaml.load": "PaddleDetection's own command line",
    "utils.download: requests.get": "safe_download",
    "utils.download: tf.extractall": "safe_download",
    "utils.download: zf.extractall": "safe_download",
}


def dotted(node):
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def calls():
    found = set()
    for path in ROOT.rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).replace(".__init__", "")
        text = path.read_text(encoding="utf-8")
        # ast takes its time: only files in which such a word is
        if "tests" not in path.parts and WORDS.search(text):
            names = {dotted(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}
            found |= {f"{module}: {name}" for name in names if name in NAMES or CALLS.search(name)}
    return found


def test_every_dangerous_call_is_held():
    assert sorted(calls()) == sorted(HELD)
    assert {held for held in HELD.values() if held in ROW} == ROW
    assert {row.name for row in ledger.rows()} >= ROW


def test_every_eval_has_its_names():
    evals = {f"ppdet.{name}" for name in HELD if name.endswith(": eval")}
    assert {f"{name}: eval" for name in allowed.EVALUATED} == evals
    targets = {change.target for row in ledger.rows() if row.name == "safe_eval" for change in row.changes}
    assert targets == {f"{name}:eval" for name in allowed.EVALUATED}
