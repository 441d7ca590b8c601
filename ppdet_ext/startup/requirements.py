# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What must be installed, looked at before Paddle loads: each mistake is one line instead of a long traceback."""
from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import sys
from collections.abc import Callable, Sequence

from ..errors import UserError

#: module -> what to do when it is missing
NEEDED = {
    "paddle": 'install it with pip install "ppdet-ext[cpu]" (or [gpu])',
    "sklearn": "paddledet imports it without asking for it; install it with pip install scikit-learn",
    "pkg_resources": 'paddledet imports it, and setuptools 81 and newer lack it; run pip install "setuptools<81"',
    "ppdet": "install it with pip install paddledet==2.6.0",
}
PYTHON = ((3, 9), (3, 11))


def check_environment(version: Sequence[int] = sys.version_info, find: Callable = importlib.util.find_spec,
                      load: Callable = importlib.import_module) -> None:
    """Look for the mistakes that otherwise end in a long traceback, before anything heavy is imported.

    Args:
        version, find, load: what to look at, for tests.

    Raises:
        UserError: wrong Python, a missing package, or a NumPy that the installed OpenCV was not built for.
    """
    if not PYTHON[0] <= tuple(version[:2]) <= PYTHON[1]:
        raise UserError(f"Python {version[0]}.{version[1]} is not supported: paddledet 2.6.0 needs numpy < 1.24, which "
                        "exists for Python 3.9 to 3.11; make an environment with one of these")
    for module, remedy in NEEDED.items():
        if find(module) is None:
            raise UserError(f"the package '{module}' is missing: {remedy}")
    numpy = load("numpy")
    try:
        # NumPy 2 prints a page of its own before an extension made for NumPy 1 fails
        with contextlib.redirect_stderr(io.StringIO()):
            load("cv2")
    except (ImportError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "cannot open shared object" in reason:
            raise UserError(f"OpenCV needs a system library ({reason}); on Debian or Ubuntu run apt-get install libgl1 "
                            "libglib2.0-0") from None
        raise UserError(f"OpenCV does not load with numpy {numpy.__version__} ({reason}); run pip install "
                        '"numpy<1.24" "opencv-python<=4.6.0"') from None


def preload() -> None:
    """Import lap and pyclipper before Paddle.

    Paddle 2.6.2: importing lap 0.5.13 or pyclipper 1.4.0 after it ends the process with SIGSEGV, and ppdet imports
    both.
    """
    for module in ("lap", "pyclipper"):
        if importlib.util.find_spec(module):
            importlib.import_module(module)
