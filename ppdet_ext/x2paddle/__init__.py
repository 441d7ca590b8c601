# Copyright (c) 2026 ppdet_ext authors. Licensed under the Apache License 2.0.
"""x2paddle for what comes without source code (ONNX, TorchScript). An optional extra."""

SHAPE = (1, 3, 224, 224)  # the image that a file is converted with
