# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Fixtures for tests that register classes or read the log."""
import logging

import pytest
from ppdet.core.workspace import global_config

from ppdet_ext import registry


@pytest.fixture
def clean_registry():
    """ppdet's global config, put back afterwards to the last entry and setting."""
    entries = dict(global_config)
    sections = {name: dict(entry) for name, entry in entries.items() if isinstance(entry, dict)}
    yield global_config
    global_config.clear()
    global_config.update(entries)
    for name, section in sections.items():
        entries[name].clear()
        entries[name].update(section)
    registry.announce_replaced()


@pytest.fixture
def log(caplog):
    """caplog for the package's logger, which does not propagate."""
    logger = logging.getLogger("ppdet_ext")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
