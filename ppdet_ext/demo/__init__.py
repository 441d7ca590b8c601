# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Pages to look at things: exported models side by side on a picture (Gradio), the runs of a folder (plain HTML)."""
