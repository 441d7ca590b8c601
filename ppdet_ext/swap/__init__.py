# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""Another backbone under a trained detector, which keeps what it learnt after the backbone; a report says of each row.

swap_plan (rules, on names and shapes) · swapping (the operation) · swap_report (the table).
"""
