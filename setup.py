# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The one build step that pyproject.toml cannot say: configs and the manifest of weights go into the built package."""
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
# found there by ppdet_ext.files.data_path; in a checkout they stay where they are
DATA = [*sorted((HERE / "configs").rglob("*.yml")), HERE / "weights" / "manifest.yml"]


class BuildWithData(build_py):
    """Copies ``DATA`` below the package, unless the build is an editable one."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for source in DATA:
            target = Path(self.build_lib) / "ppdet_ext" / source.relative_to(HERE)
            self.mkpath(str(target.parent))
            self.copy_file(str(source), str(target))


setup(cmdclass={"build_py": BuildWithData})
