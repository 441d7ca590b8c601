#!/usr/bin/env python
# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Detect with an exported model: pictures, a folder, a video or a camera.

Takes the flags of PaddleDetection's deploy/python/infer.py that concern a detector. Needs numpy, opencv,
pyyaml and the engine's package only: ppdet, torch and the rest of ppdet_ext are not imported.
"""
import contextlib
import importlib.util
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "ppdet_ext"
STARTUP = PACKAGE / "startup"


def load_by_path(name, path):
    """Import a module or package from its file, without its parent package."""
    folders = [str(path.parent)] if path.name == "__init__.py" else None
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=folders)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_deploy():
    """The folder ppdet_ext/deploy as the package ``ppdet_ext_deploy``."""
    return sys.modules.get("ppdet_ext_deploy") or load_by_path("ppdet_ext_deploy", PACKAGE / "deploy" / "__init__.py")


parse_args = load_by_path("ppdet_ext_deploy_command_line", PACKAGE / "deploy" / "command_line.py").parse_args


def load_startup(name):
    """ppdet_ext/startup/NAME.py; None where the folder deploy/ was copied alone."""
    path = STARTUP / f"{name}.py"
    return load_by_path(f"ppdet_ext_{name}", path) if path.is_file() else None


def main(argv=None):
    args = parse_args(argv)
    environment, quiet = load_startup("environment"), load_startup("quiet")
    if environment:
        environment.setup()
    load_deploy()
    from ppdet_ext_deploy import session
    with quiet.Tool() if quiet else contextlib.nullcontext():
        session.run(args)


def run(main):
    """Call ``main()`` and leave the process: 2 after ``error: ...`` for a user's mistake, 130 for Ctrl-C."""
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if not isinstance(error, load_deploy().DeployError):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    run(main)
