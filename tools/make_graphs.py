# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Write ppdet_ext/graph/shipped anew: graphs of much used networks that have no native port; they need no torch.

Only for the package's authors: run it when the tracer or timm changes. ``make_graphs.py NAME ...`` writes these,
new names among them; without names, all that are there.
"""
import sys

import ppdet_ext

ppdet_ext.setup()

from ppdet_ext.graph import graph_file
from ppdet_ext.trace import on_demand


def main():
    for name in sys.argv[1:] or on_demand.shipped():
        made = on_demand.traced(name)
        path = on_demand.SHIPPED / on_demand.file_of(name)
        graph_file.save(made, path)
        limits = made.guards() + (["fixed size"] if made.info["fixed"] else [])
        print(f"{name}: {len(made.nodes)} nodes, {path.stat().st_size} bytes; {len(limits)} limits {limits[:2]}")


if __name__ == "__main__":
    main()
