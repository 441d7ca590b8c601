# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The rules of the house, as text of the code shows them: first lines, annotations, file names."""
import ast
from collections import Counter

import pytest
from support.paths import REPO

PACKAGE = REPO / "ppdet_ext"
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in MODULES]
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def public_functions(tree):
    """(name, node) of public functions of a module and public methods of its public classes."""
    for node in tree.body:
        if isinstance(node, FUNCTIONS) and not node.name.startswith("_"):
            yield node.name, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            for inner in node.body:
                if isinstance(inner, FUNCTIONS) and (inner.name == "__init__" or not inner.name.startswith("_")):
                    yield f"{node.name}.{inner.name}", inner


def unannotated(function):
    """Names of a function's arguments without a type; 'return' where that lacks one."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    missing = [argument.arg for argument in named
               if argument.annotation is None and argument.arg not in ("self", "cls")]
    if function.name != "__init__" and function.returns is None:
        missing.append("return")
    return missing


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_a_module_begins_with_its_idea(path):
    first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n")[0]
    assert len(first) > 15 and first[-1] in ".:?", f"{path}: {first!r}"


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_public_functions_are_annotated(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {name: unannotated(node) for name, node in public_functions(tree)}
    assert {name: missing for name, missing in found.items() if missing} == {}


def test_a_file_name_stands_once():
    names = Counter(path.name for path in MODULES if not path.name.startswith("__"))
    assert {name for name, count in names.items() if count > 1} == set()
