# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""From a torch module to a Graph. Needs torch."""
