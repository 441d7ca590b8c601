# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What ppdet itself reads or fetches, led through the readers and the download of this package.

ppdet's backbones and checkpoints go through paddle.load, which unpickles: a file could run code. Its downloads know no
limits and unpack what they get. The replacements are rows of the ledger (``patches/ppdet.py``). Who calls them decides,
so that a user's own paddle.load stays as it is.
"""
from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .. import limits
from ..errors import UserError
from . import download, readers, safe_pickle


def _calls_from_ppdet(depth=2):
    return str(sys._getframe(depth).f_globals.get("__name__", "")).partition(".")[0] == "ppdet"


def load_safely(load: Callable[..., Any]) -> Callable[..., Any]:
    """For ``paddle.load``: where ppdet calls it, ``readers.read_paddle``, which gives numpy arrays."""
    @functools.wraps(load)
    def safe(path, **configs):
        return _read(path) if _calls_from_ppdet() else load(path, **configs)
    return safe


def fetch_safely(get: Callable[..., str]) -> Callable[..., str]:
    """For ``paddle.utils.download.get_weights_path_from_url``: where ppdet calls it, ``download.fetch``."""
    @functools.wraps(get)
    def safe(url, md5sum=None):
        return str(download.fetch(url)) if _calls_from_ppdet() else get(url, md5sum)
    return safe


def refuse_download(_download: Callable[..., Any]) -> Callable[..., NoReturn]:
    """For ``ppdet.utils.download._download_dist``, which all of ppdet's own downloads go through."""
    def refuse(url: str, path: str, md5sum: str | None = None) -> NoReturn:
        raise UserError(f"ppdet would download {url} and unpack it: do so yourself, and name the file or folder in the "
                        "config")
    return refuse


def load_picture(_load: Callable[..., Any]) -> staticmethod:
    """For ``DecodeCache.load``, which unpickles whatever lies in ``cache_root``: only a picture, [H, W, 3] of uint8."""
    def load(path: str) -> np.ndarray:
        most = limits.tensor_bytes(os.path.getsize(path))
        with open(path, "rb") as file:
            picture = _one_line(lambda: safe_pickle.with_arrays(
                safe_pickle.AllowListUnpickler(file, safe_pickle.NUMPY).load(), most), path)
        if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape[2:] != (3,):
            raise UserError(f"'{path}', in cache_root, is no picture that DecodeCache has kept: delete it")
        return picture
    return staticmethod(load)


def _read(path):
    if not Path(path).is_file():
        raise UserError(f"there is no weight file '{path}'")
    state = _one_line(lambda: readers.read_paddle(path), path)
    state.pop("StructuredToParameterName@@", None)  # paddle.load leaves it out, too
    return state


def _one_line(read, path):
    try:
        return read()
    except limits.TooMuch as error:
        raise limits.TooMuch(f"'{path}': {error}") from None
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"cannot read '{path}': {reason}; it is damaged, of another kind, or not to be "
                        "trusted") from None
