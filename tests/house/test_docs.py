# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the docs name is there: commands with their flags, files, pages in both languages and in the site."""
import argparse
import re

import pytest
from support.paths import REPO, TOOLS

from ppdet_ext.cli.commands import COMMANDS

PAGES = sorted([*(REPO / "docs").glob("*.md"), *REPO.glob("README*.md"), *REPO.glob("CONTRIBUTING*.md"),
                REPO / "SECURITY.md", REPO / "CHANGELOG.md"])
# up to the end of the line, of the code span, or the next command; group 1 a file of tools/, group 2 a command's name
COMMAND = re.compile(r"(?:python tools/(\w+)\.py|(?<![\w/'\"\[-])ppdet-ext ([a-z][a-z-]*))([^`\n|&;#]*)")
FLAG = re.compile(r"(?<=[ (])--[a-z][\w-]*")
# a code span that is a path of the repository; mkdocs looks at links
PATH = re.compile(r"`((?:ppdet_ext|tests|tools|configs|benchmarks|docs)/[\w/.-]+\.\w+)`")
PLACEHOLDER = re.compile(r"NAME|/my_")
FILES = {command.name: command.tool for command in COMMANDS}


def text_of(path):
    return path.read_text(encoding="utf-8").replace("\\\n", " ")


def option_strings(parser):
    """All flags of a parser and of its sub-commands."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from option_strings(each)


@pytest.fixture
def flags_of(monkeypatch, tool):
    """``flags_of("train")``: the flags of tools/train.py."""
    class Stopped(Exception):
        pass

    def stop(parser, *_):
        raise Stopped(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    known = {}

    def find(name):
        if name not in known:
            with pytest.raises(Stopped) as stopped:
                tool(name).parse_args([])
            known[name] = set(option_strings(stopped.value.args[0]))
        return known[name]
    return find


def test_commands_of_the_docs_exist_with_their_flags(flags_of):
    seen, wrong = 0, []
    for path in PAGES:
        for file, command, rest in COMMAND.findall(text_of(path)):
            name, seen = file or FILES.get(command, ""), seen + 1
            if not (TOOLS / f"{name}.py").is_file():
                wrong.append(f"{path.name}: no command '{file or command}'")
            elif name in FILES.values():
                wrong += [f"{path.name}: {name} has no {flag}" for flag in set(FLAG.findall(rest)) - flags_of(name)]
    assert wrong == [] and seen > 150


def test_files_that_the_docs_name_exist():
    named = {(path.name, name) for path in PAGES for name in PATH.findall(text_of(path))}
    absent = [each for each in sorted(named) if not PLACEHOLDER.search(each[1]) and not (REPO / each[1]).exists()]
    assert absent == [] and len(named) > 50


def test_each_page_has_both_languages_and_a_place_in_the_site():
    pages = {path.name for path in (REPO / "docs").glob("*.md")}
    english = {name for name in pages if not name.endswith("_cn.md")}
    assert pages - english == {name.replace(".md", "_cn.md") for name in english}
    listed = re.findall(r"- docs/(\w+\.md)$", (REPO / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(pages)
