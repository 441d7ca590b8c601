# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Prints the ledger as ``ppdet_ext.setup()`` and ``kernels.enabled()`` apply it: ``python -m ppdet_ext.patches``."""
import importlib
import textwrap

from . import ledger


def main() -> None:
    """Print a paragraph for each row."""
    # by name, as what the rows put in place: those rooms lie above this one
    importlib.import_module("ppdet_ext").setup()
    with importlib.import_module("ppdet_ext.kernels").enabled():
        rows = ledger.listing()
    for row in rows:
        print(f"{row.pop('name')}: {row.pop('state')}")
        for key, text in row.items():
            print(textwrap.fill(text, 110, initial_indent=f"  {key + ':':<10}", subsequent_indent=" " * 12,
                                break_long_words=False, break_on_hyphens=False))


if __name__ == "__main__":
    main()
