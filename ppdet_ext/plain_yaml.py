# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""YAML that is data: plain values only, no key twice, and never more work than its text is long."""
from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import ComposerError

MERGE = "tag:yaml.org,2002:merge"
NUMBERS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp"))


@dataclass(frozen=True)
class Limits:
    """What a YAML file, or a config with all its bases, may ask for.

    Args:
        size: bytes.
        nodes: keys and values; what an alias (``*name``) stands for counts each time.
        depth: lists and mappings within each other.
        digits: characters of a number: PyYAML needs hours for one of a megabyte.
        files: of a config, with all its bases.
    """

    size: int = 1 << 20
    nodes: int = 20_000
    depth: int = 50
    digits: int = 100
    files: int = 50


LIMITS = Limits()


class PlainLoader(yaml.SafeLoader):
    """YAML's safe types within ``limits``; a key that a mapping holds twice is an error.

    Attributes:
        nodes: how many were read, each alias counted as what it stands for.
    """

    def __init__(self, text: str, limits: Limits = LIMITS) -> None:
        super().__init__(text)
        self.limits = limits
        self.nodes = 0
        self._level = 0
        self._sizes: dict[int, int] = {}  # id of a node that is complete -> its own count of nodes

    def compose_node(self, parent: Any, index: Any) -> Any:
        """PyYAML's, which calls this for every key and value, and counts nothing."""
        is_alias, mark = self.check_event(yaml.AliasEvent), self.peek_event().start_mark
        before, self._level = self.nodes, self._level + 1
        if self._level > self.limits.depth:
            raise ComposerError(None, None, f"lists and mappings lie more than {self.limits.depth} deep", mark)
        if not is_alias:
            self._count(1, mark)
        node = super().compose_node(parent, index)
        if is_alias:
            if id(node) not in self._sizes:
                raise ComposerError(None, None, "an alias (*name) stands inside of what it means", mark)
            self._count(self._sizes[id(node)], mark)
        else:
            self._sizes[id(node)] = self.nodes - before
        self._level -= 1
        return node

    def _count(self, nodes, mark):
        self.nodes += nodes
        if self.nodes > self.limits.nodes:
            raise ComposerError(None, None, f"more than {self.limits.nodes} keys and values, each alias counted as "
                                "what it stands for", mark)

    def compose_scalar_node(self, anchor: Any) -> Any:
        """PyYAML's, with a limit on numbers."""
        node = super().compose_scalar_node(anchor)
        if node.tag in NUMBERS and len(node.value) > self.limits.digits:
            raise ComposerError(None, None, f"a number of more than {self.limits.digits} characters", node.start_mark)
        return node

    def compose_mapping_node(self, anchor: Any) -> Any:
        """PyYAML's, which of two values under one key silently keeps the last."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            name = key.tag, key.value
            if name in lines:
                raise ComposerError(None, None, f"'{key.value:.60}' is written twice, first in line "
                                    f"{lines[name] + 1}, which would be lost: keep one of them", key.start_mark)
            lines[name] = key.start_mark.line
        return node


def load(text: str, limits: Limits = LIMITS) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: not YAML, not plain, a key twice, or beyond ``limits``.
    """
    loader = PlainLoader(text, limits)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def read_text(path: str | os.PathLike[str], limits: Limits = LIMITS) -> str:
    """The text of a small file; a pipe or a device is not opened, as it may never end.

    Raises:
        OSError: it is missing, no regular file, or too large; ``strerror`` says which.
        UnicodeDecodeError: not UTF-8.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        code = errno.EISDIR if Path(path).is_dir() else errno.EINVAL
        raise OSError(code, os.strerror(code) if code == errno.EISDIR else "not a file, but a pipe or a device")
    with open(path, "rb") as file:
        content = file.read(limits.size + 1)
    if len(content) > limits.size:
        raise OSError(errno.EFBIG, f"larger than {limits.size} bytes")
    return content.decode("utf-8")
