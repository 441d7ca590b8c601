# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The site of the docs: built with strict links, and no page loads anything from elsewhere (slow)."""
import subprocess
import sys
from html.parser import HTMLParser

import pytest
from support.paths import REPO

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
ONLY_NAMED = {"alternate", "canonical", "next", "prev"}  # links that a browser does not load


class Elsewhere(HTMLParser):
    """Collects what a page loads from another server."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        address = given.get(LOADED.get(tag, ""), "") or ""
        if address.startswith(("http:", "https:", "//")) and given.get("rel") not in ONLY_NAMED:
            self.found.append(address)


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_elsewhere(tmp_path):
    for package in ("material", "mkdocstrings_handlers.python"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'ppdet-ext[docs]'")
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)], cwd=REPO,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-4000:]
    pages = sorted(tmp_path.rglob("*.html"))
    found = {}
    for page in pages:
        reader = Elsewhere()
        reader.feed(page.read_text(encoding="utf-8"))
        found[page.name] = reader.found
    assert {name: addresses for name, addresses in found.items() if addresses} == {} and len(pages) > 60
    chinese = (tmp_path / "docs" / "tutorial_cn.html").read_text(encoding="utf-8")
    assert '<html lang="zh"' in chinese and 'href="tutorial.html" hreflang="en"' in chinese
    for section in ("Parameters", "Returns", "Raises"):  # docstrings were read as what they are
        assert f"{section}:" in (tmp_path / "docs" / "api.html").read_text(encoding="utf-8")
