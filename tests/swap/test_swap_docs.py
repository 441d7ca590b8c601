# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""The page in both languages names every setting of what follows a swap, with the default that it has."""
import pytest
from support.paths import REPO

from ppdet_ext.config import swap_keys

OWN = ("align_", "lr", "ratio_", "distill_weight", "min_score")


@pytest.mark.parametrize("page", ["swap.md", "swap_cn.md"])
def test_settings_stand_there_with_their_defaults(page):
    text = (REPO / "docs" / page).read_text(encoding="utf-8")
    # without line breaks: a sentence may go on
    flat = " ".join(text.split())
    for key, setting in swap_keys.SETTINGS.items():
        if not key.startswith(OWN) or key == "lr":
            continue
        places = [part[:60] for part in flat.split(f"`{key}`")[1:]]
        default = setting.default if isinstance(setting.default, str) else f"{setting.default:g}".lower()
        default = str(setting.default).lower() if isinstance(setting.default, bool) else default
        assert any(default in place for place in places), f"{page}: {key}: {default}"
