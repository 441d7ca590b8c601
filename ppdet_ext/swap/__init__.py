# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Another backbone under a trained detector: what it learnt after the backbone is kept, and a report says of each row."""
