# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What a server is told on its command line: models by name, replicas, the token. Knows neither Ray nor a model."""
from __future__ import annotations

import hmac
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

HOST, PORT = "127.0.0.1", 8000
TOKEN = "PPDET_EXT_SERVE_TOKEN"  # noqa: S105  the name of an environment variable
SHORTEST_TOKEN, LONGEST_TOKEN = 16, 4096
MOST_REPLICAS = 1024
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Replicas:
    """How many copies of each model run: ``least``, and up to ``most`` where requests wait."""

    least: int
    most: int

    @classmethod
    def read(cls, text: str) -> Replicas:
        """Of ``2`` or ``1:4``.

        Raises:
            ValueError: it is neither.
        """
        parts = [int(part) for part in text.split(":")] if re.fullmatch(r"\d{1,4}(:\d{1,4})?", text) else []
        if not parts or not 1 <= parts[0] <= parts[-1] <= MOST_REPLICAS:
            raise ValueError(f"must be a number from 1 to {MOST_REPLICAS}, or LEAST:MOST, not {text[:40]!r}")
        return cls(parts[0], parts[-1])


def named_models(given: Sequence[str]) -> dict[str, str]:
    """{name: path} of ``NAME=PATH`` or ``PATH``, whose name is then the folder's. The first is the one by default.

    Raises:
        UserError: two of one name, or a name that an address cannot hold as it is.
    """
    models: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        # a path with '=' in it, without a name
        if not equals or "/" in name or os.sep in name:
            name, path = _name_of(text), text
        if not _NAME.fullmatch(name):
            raise UserError(f"--model_dir: {name[:80]!r} is no name for a model (letters, digits, '_', '.', '-', at "
                            f"most 64); give it one: NAME={path or 'FOLDER'}")
        if name in models:
            raise UserError(f"--model_dir: two models are called '{name}'; give them names: NAME=FOLDER")
        models[name] = str(Path(path).resolve())  # a replica may run elsewhere
    return models


def _name_of(path: str) -> str:
    place = Path(path).resolve()
    return (place.parent if place.suffix in (".onnx", ".json", ".xml", ".pdmodel") else place).name


def read_token(file: str | None) -> str | None:
    """The token of ``file``, else of the environment variable TOKEN, which is then gone for the processes to come.

    Raises:
        UserError: the file cannot be read, or the token is too short to be one.
    """
    text, place = os.environ.pop(TOKEN, None), TOKEN
    if file is not None:
        place = f"--token_file {file}"
        try:
            with open(file, encoding="utf-8") as source:
                text = source.read(LONGEST_TOKEN + 2)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{place}: cannot be read ({getattr(error, 'strerror', None) or 'no UTF-8'})") from None
    if text is None:
        return None
    token = text.strip()
    if not re.fullmatch(rf"[!-~]{{{SHORTEST_TOKEN},{LONGEST_TOKEN}}}", token):
        raise UserError(f"{place}: a token has {SHORTEST_TOKEN} to {LONGEST_TOKEN} signs, all of ASCII and no space "
                        "among them; make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'")
    return token


def has_token(header: str | None, token: str) -> bool:
    """Whether the header Authorization carries the token; how long that takes does not tell where they differ."""
    scheme, _, given = (header or "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode())
