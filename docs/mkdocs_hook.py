# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The site lies as the repository does, so that a link means the same in both; each page speaks its own language."""
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[1]
#: what pages link to outside of docs/: pages too, and files that open as they are
BESIDE = ("*.md", "LICENSE", "configs/**/*.yml", "benchmarks/*.py", "ppdet_ext/**/*.py")
CHINESE = "_cn.md"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """docs/NAME instead of NAME for the files of docs/, and ``BESIDE`` beside them; README.md is the front page."""
    own = [file for file in files if file.src_dir == config.docs_dir]
    paths = [REPOSITORY / "docs" / file.src_uri for file in own]
    for file in own:
        files.remove(file)
    for path in [*paths, *(path for pattern in BESIDE for path in sorted(REPOSITORY.glob(pattern)))]:
        files.append(File.generated(config, path.relative_to(REPOSITORY).as_posix(), abs_src_path=str(path)))
    return files


def on_page_context(context: dict[str, Any], page: Page, config: MkDocsConfig, **_: Any) -> dict[str, Any]:
    """The theme's own words in the page's language, and its switch of languages leads to the same page in the other."""
    name = page.file.src_uri
    chinese = name.endswith(CHINESE)
    uris = {file.src_uri: file.url for file in context["pages"]}
    english = name[:-len(CHINESE)] + ".md" if chinese else name
    config.theme["language"] = "zh" if chinese else "en"
    config.extra["alternate"] = [
        {"name": "English", "lang": "en", "link": uris.get(english, uris["README.md"])},
        {"name": "中文", "lang": "zh", "link": uris.get(english[:-len(".md")] + CHINESE, uris["README_cn.md"])}]
    return context
