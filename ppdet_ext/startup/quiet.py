# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""What the tools leave out: lines of libraries with which nobody can do anything; each is a row, with its reason.

Whatever no row names is shown: errors, new warnings, and all that this package says. A row's line goes into the log
file of the run, where there is one; ``-v`` or PPDET_EXT_VERBOSE=1 shows it. Importing this changes nothing: ``Tool``
does, as long as a tool runs, and ``imports`` for the imports of Paddle and ppdet.

Stands alone (standard library only, and of that as little as --help loads anyway), so that deployment can use it
without the rest of the package.
"""
from __future__ import annotations

import builtins
import os
import re
import sys
import warnings
from collections import deque

TYPE_CHECKING = False  # typing itself would take a fifth of the time of --help
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

VERBOSE = "PPDET_EXT_VERBOSE"
FLAGS = ("-v", "--verbose")

# what is printed: the module that prints it, how the line begins, why nobody needs to read it
PRINTED = (
    ("paddle.base", "WARNING: OMP_NUM_THREADS set to", "setup() sets it: Paddle's 1 leaves the other cores idle"),
    ("paddle.base", "PLEASE USE OMP_NUM_THREADS WISELY", "the same"),
    ("ppdet.modeling.mot", "Warning: Unable to use numba in PP-Tracking", "nothing here tracks objects"),
    ("pycocotools.coco", "loading annotations into memory", "ppdet's 'Load [... samples valid' says it"),
    ("pycocotools.coco", "(Done|DONE) \\(t=", "the seconds of the line before"),
    ("pycocotools.coco", "(creating index|index created)", "a step of what is just being loaded"),
    ("pycocotools.coco", "Loading and preparing results", "ppdet's 'Start evaluate...' says it"),
    ("pycocotools.cocoeval", "(Running per image evaluation|Evaluate annotation type|Accumulating evaluation results)",
     "a step of that evaluation"),
    ("pycocotools.cocoeval", "DONE \\(t=", "the seconds of the line before"),
)
# warnings: the category, whose file it is in, how it begins, why
WARNED = (
    ("UserWarning", "paddle/utils/cpp_extension", "No ccache found", "no C++ is compiled here"),
    ("UserWarning|DeprecationWarning", "", "pkg_resources is deprecated",
     "requirements.check_environment says what to do where it is missing"),
    ("UserWarning", "paddle/nn/layer/norm", "When training, we now always track global mean",
     "that is what training is to do"),
)
# log lines: the logger, how the line begins, why
LOGGED = (
    ("ppdet_ext", "using ppdet_ext's .* in place of ppdet's", "it is so in every run; programs of one's own are told"),
)
# environment variables for what libraries print themselves: name, value, why
ENVIRONMENT = (
    ("GLOG_minloglevel", "2", "Paddle's C++ tells of its executor, device and passes; errors (2) and worse still come"),
)

_lines: deque[str] = deque(maxlen=2000)  # for a log file that is not open yet
_keep: Callable[[str], None] = _lines.append
_tool: Tool | None = None
_hears: Any = None


def verbose() -> bool:
    """Whether the user wants to see all that libraries say."""
    return os.environ.get(VERBOSE, "0").lower() not in ("", "0", "false", "no", "off")


class imports:
    """Context: what PRINTED and WARNED list is not shown; everything else is."""

    def __enter__(self) -> None:
        self._others: tuple[tuple[Any, str, Any, Any], ...] = ()
        if not verbose():
            self._others = (_put(builtins, "print", _print_others), _put(warnings, "showwarning", _show_others))

    def __exit__(self, *_error: object) -> None:
        for module, name, before, own in self._others:
            if getattr(module, name) is own:  # what was imported may have changed it
                setattr(module, name, before)


class Tool(imports):
    """Context in which a tool runs, from before it loads Paddle to its end: all tables hold, unless it is ``-v``."""

    def __enter__(self) -> None:
        global _tool
        if any(flag in sys.argv[1:] for flag in FLAGS):
            os.environ[VERBOSE] = "1"  # processes that the tool starts know it, too
        super().__enter__()
        self._logged: list[tuple[Any, Any]] = []
        _tool = self
        if not verbose():
            for name, value, _reason in ENVIRONMENT:
                os.environ.setdefault(name, value)

    def __exit__(self, *error: object) -> None:
        global _tool
        super().__exit__(*error)
        _tool = None
        if self._logged:
            leave_loggers()
        for logger, own in self._logged:
            logger.removeFilter(own)

    def hold_loggers(self) -> None:
        """See the function of that name."""
        import logging  # --help needs none

        for name, text, _reason in LOGGED:
            def shown(record: logging.LogRecord, text: str = text) -> bool:
                hidden = not verbose() and re.match(text, record.getMessage())
                if hidden:
                    _handler().handle(record)
                return not hidden
            logger = logging.getLogger(name)
            logger.addFilter(shown)
            self._logged.append((logger, shown))


def hold_loggers() -> None:
    """In a tool, once Paddle and ppdet are loaded: LOGGED holds, and log lines are kept, too. Elsewhere nothing."""
    if _tool is not None:
        _tool.hold_loggers()
        hear_loggers()


def hear_loggers() -> None:
    """From here on every line of ppdet's and this package's log is kept, too, as ppdet writes it."""
    for logger in loggers():
        logger.addHandler(_handler())


def leave_loggers() -> None:
    """The end of ``hear_loggers``."""
    for logger in loggers():
        logger.removeHandler(_handler())


def loggers() -> list[Any]:
    """ppdet's and this package's, whose lines do not reach others."""
    import logging

    from ppdet.utils.logger import logger_initialized

    return [logging.getLogger(name) for name in dict.fromkeys(("ppdet", "ppdet_ext", *logger_initialized))]


def _handler():
    global _hears
    if _hears is None:
        import logging

        class Keeps(logging.Handler):
            def emit(self, record):
                _keep(self.format(record))

        _hears = Keeps()
        _hears.setFormatter(logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", "%m/%d %H:%M:%S"))
    return _hears


def keep_with(write: Callable[[str], None] | None) -> None:
    """Where lines that are not shown go, those of before first; None: they wait for a next file."""
    global _keep
    _keep = write or _lines.append
    while write and _lines:
        write(_lines.popleft())


def keep(line: str) -> None:
    """A line for the log file alone."""
    _keep(line)


def _put(module, name, make):
    """Put ``make(what is there)`` into a module; (module, name, what was there, what is there now)."""
    before = getattr(module, name)
    own = make(before)
    setattr(module, name, own)
    return module, name, before, own


def _print_others(shown):
    def print(*values, **settings):
        line = str(values[0]) if values else ""
        if any(re.match(text, line) for _, text, _ in PRINTED):  # most lines need no look at who prints them
            module = sys._getframe(1).f_globals.get("__name__", "")
            if any(_within(module, name) and re.match(text, line) for name, text, _ in PRINTED):
                _keep(" ".join(map(str, values)))
                return
        shown(*values, **settings)
    return print


def _within(module, name):
    return module == name or module.startswith(f"{name}.")


def _show_others(shown):
    def showwarning(message, category, filename, lineno, file=None, line=None):
        for kind, place, text, _ in WARNED:
            if re.fullmatch(kind, category.__name__) and place in filename.replace(os.sep, "/") and \
                    re.match(text, str(message)):
                _keep(f"{category.__name__}: {message}")
                return
        shown(message, category, filename, lineno, file, line)
    return showwarning
